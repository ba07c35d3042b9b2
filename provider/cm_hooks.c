/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls of librdmacm, which tell the engine which connection a QP
 * belongs to (gate/gate_cm.h). Under librdmacm's own version node, as hooks.c
 * has it for verbs.
 *
 * librdmacm calls its own functions through its PLT: rdma_create_qp(),
 * rdma_create_ep(), rdma_get_request() and rsockets all come by
 * rdma_create_qp_ex(), and all that end an id by rdma_destroy_id().
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "cm_real.h"
#include "dl_hooks.h"
#include "engine.h"

#define EXPORT __attribute__((visibility("default")))

typedef int create_qp_fn(struct cm_id *id, void *attr);
typedef int destroy_id_fn(struct cm_id *id);
typedef void *create_channel_fn(void);
typedef void destroy_channel_fn(void *channel);

static const struct engine *engine(void)
{
	return daxmr_private_engine(DAXMR_ENGINE_VERSION);
}

EXPORT create_qp_fn hook_rdma_create_qp_ex __asm__("rdma_create_qp_ex");

int hook_rdma_create_qp_ex(struct cm_id *id, void *attr)
{
	create_qp_fn *real = (create_qp_fn *)cm_real(CM_rdma_create_qp_ex);
	gate_disconnect_fn *disconnect;
	int r = real ? real(id, attr) : -1, saved_errno = errno;

	if (r || !engine())
		return r;
	disconnect = (gate_disconnect_fn *)cm_real(CM_rdma_disconnect);
	if (disconnect && id->qp)
		engine()->cm_qp_made(id, disconnect);
	errno = saved_errno;
	return r;
}

EXPORT destroy_id_fn hook_rdma_destroy_id __asm__("rdma_destroy_id");

int hook_rdma_destroy_id(struct cm_id *id)
{
	destroy_id_fn *real = (destroy_id_fn *)cm_real(CM_rdma_destroy_id);

	if (real && engine())
		engine()->cm_id_going(id);
	return real ? real(id) : -1;
}

/* A synchronous id's own channel is made by librdmacm. */
static bool is_of_library(void *address, void *function)
{
	Dl_info caller, library;

	return dladdr(address, &caller) && dladdr(function, &library) &&
	       caller.dli_fbase == library.dli_fbase;
}

EXPORT create_channel_fn
	hook_rdma_create_event_channel __asm__("rdma_create_event_channel");

void *hook_rdma_create_event_channel(void)
{
	create_channel_fn *real =
		(create_channel_fn *)cm_real(CM_rdma_create_event_channel);
	void *disconnect, *channel = real ? real() : NULL;
	int saved_errno = errno;

	disconnect = channel ? cm_real(CM_rdma_disconnect) : NULL;
	if (disconnect && engine() &&
	    !is_of_library(__builtin_return_address(0), disconnect))
		engine()->cm_channel_made(channel);
	errno = saved_errno;
	return channel;
}

EXPORT destroy_channel_fn
	hook_rdma_destroy_event_channel __asm__("rdma_destroy_event_channel");

void hook_rdma_destroy_event_channel(void *channel)
{
	destroy_channel_fn *real =
		(destroy_channel_fn *)cm_real(CM_rdma_destroy_event_channel);

	if (real && engine())
		engine()->cm_channel_going(channel);
	if (real)
		real(channel);
}

/* For programs that look them up by themselves: dl_hooks.c. */
const struct dl_hook dl_hooks_cm[] = {
#define DAXMR_CM(name, version, what) {#name, #version, (void *)hook_##name},
#include "hooks.def"
	{NULL, NULL, NULL},
};
