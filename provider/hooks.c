/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported verbs: arguments are handed over, nothing else happens here.
 *
 * libibverbs calls its own registration functions through its PLT (ibv_reg_mr()
 * calls ibv_reg_mr_iova2()), and so do other interposers: a hook that is
 * entered again on the same thread goes straight to the original.
 *
 * Each hook_ibv_x is the symbol ibv_x, under rdma-core's own version node
 * (preload.map, made from hooks.def): a program that asks for
 * ibv_reg_mr@IBVERBS_1.1 finds it, one that asks for the IBVERBS_1.0 wrapper
 * with its other structures does not.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "dl_hooks.h"
#include "engine.h"
#include "file_hooks.h"
#include "file_verbs.h"
#include "mr_init_attr.h"
#include "quiet.h"

/* initial-exec: this object is there from the start, no allocation ever */
static __thread unsigned int depth __attribute__((tls_model("initial-exec")));

static const struct engine *engine(void)
{
	return daxmr_private_engine(DAXMR_ENGINE_VERSION);
}

/*
 * The verbs are no cancellation points, so neither are the hooks, which open
 * and write. Costs no system call. False: entered again, or no engine.
 */
static bool enter(int *ret_cancel_state)
{
	if (depth || !engine())
		return false;
	depth++;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, ret_cancel_state);
	return true;
}

static void leave(int cancel_state)
{
	pthread_setcancelstate(cancel_state, NULL);
	depth--;
}

/* The driver of the device is there by now. */
static void find_verbs(void)
{
	if (has_shadows())
		file_verbs_find();
}

/* Registers through the engine, or plainly when entered again. */
static struct ibv_mr *hand_over(const struct region_call *call)
{
	int cancel_state;
	struct ibv_mr *mr;

	if (!enter(&cancel_state))
		return call->original(call, call->access);
	mr = engine()->reg(call);
	find_verbs();
	leave(cancel_state);
	return mr;
}

static struct ibv_mr *original_reg_mr(const struct region_call *call,
				      unsigned int access)
{
	return call->real->reg_mr(call->pd, call->addr, call->length,
				  (int)access);
}

EXPORT struct ibv_mr *hook_ibv_reg_mr(struct ibv_pd *pd, void *addr,
				      size_t length,
				      int access) __asm__("ibv_reg_mr");

struct ibv_mr *hook_ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
			       int access)
{
	const struct region_call call = {
		.real = real_verbs(),
		.pd = pd,
		.addr = addr,
		.length = length,
		.iova = (uintptr_t)addr,
		.access = (unsigned int)access,
		.original = original_reg_mr,
	};

	return call.real ? hand_over(&call) : NULL;
}

static struct ibv_mr *original_reg_mr_iova(const struct region_call *call,
					   unsigned int access)
{
	return call->real->reg_mr_iova(call->pd, call->addr, call->length,
				       call->iova, (int)access);
}

EXPORT struct ibv_mr *
hook_ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length,
		     uint64_t iova, int access) __asm__("ibv_reg_mr_iova");

struct ibv_mr *hook_ibv_reg_mr_iova(struct ibv_pd *pd, void *addr,
				    size_t length, uint64_t iova, int access)
{
	const struct region_call call = {
		.real = real_verbs(),
		.pd = pd,
		.addr = addr,
		.length = length,
		.iova = iova,
		.access = (unsigned int)access,
		.original = original_reg_mr_iova,
	};

	if (call.real && !call.real->reg_mr_iova)
		errno = EOPNOTSUPP; /* a library older than the call */
	return call.real && call.real->reg_mr_iova ? hand_over(&call) : NULL;
}

static struct ibv_mr *original_reg_mr_iova2(const struct region_call *call,
					    unsigned int access)
{
	return call->real->reg_mr_iova2(call->pd, call->addr, call->length,
					call->iova, access);
}

EXPORT struct ibv_mr *
hook_ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length,
		      uint64_t iova,
		      unsigned int access) __asm__("ibv_reg_mr_iova2");

struct ibv_mr *hook_ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr,
				     size_t length, uint64_t iova,
				     unsigned int access)
{
	const struct region_call call = {
		.real = real_verbs(),
		.pd = pd,
		.addr = addr,
		.length = length,
		.iova = iova,
		.access = access,
		.original = original_reg_mr_iova2,
	};

	if (call.real && !call.real->reg_mr_iova2)
		errno = EOPNOTSUPP; /* a library older than the call */
	return call.real && call.real->reg_mr_iova2 ? hand_over(&call) : NULL;
}

/* The caller's attributes may be shared between threads: changed in a copy. */
static struct ibv_mr *original_reg_mr_ex(const struct region_call *call,
					 unsigned int access)
{
	struct ibv_mr_init_attr copy =
		*(const struct ibv_mr_init_attr *)call->attr;

	copy.access = (int)access;
	return call->real->reg_mr_ex(call->pd, &copy);
}

EXPORT struct ibv_mr *
hook_ibv_reg_mr_ex(struct ibv_pd *pd,
		   struct ibv_mr_init_attr *attr) __asm__("ibv_reg_mr_ex");

struct ibv_mr *hook_ibv_reg_mr_ex(struct ibv_pd *pd,
				  struct ibv_mr_init_attr *attr)
{
	const struct real_verbs *real = real_verbs();
	struct region_call call = {
		.real = real,
		.pd = pd,
		.original = original_reg_mr_ex,
		.attr = attr,
	};

	if (!real)
		return NULL;
	if (!real->reg_mr_ex) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	if (!mr_init_attr_is_range(attr))
		return real->reg_mr_ex(pd, attr);
	call.addr = attr->addr;
	call.length = attr->length;
	call.iova = attr->comp_mask & MR_INIT_ATTR_IOVA ? attr->iova
							: (uintptr_t)attr->addr;
	call.access = (unsigned int)attr->access;
	return hand_over(&call);
}

EXPORT int hook_ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd,
			     void *addr, size_t length,
			     int access) __asm__("ibv_rereg_mr");

int hook_ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd,
		      void *addr, size_t length, int access)
{
	const struct real_verbs *real = real_verbs();
	int cancel_state, r;

	if (!real)
		return IBV_REREG_MR_ERR_INPUT;
	if (!enter(&cancel_state))
		return real->rereg_mr(mr, flags, pd, addr, length, access);
	r = engine()->rereg(real, mr, flags, pd, addr, length, access);
	find_verbs();
	leave(cancel_state);
	return r;
}

EXPORT int hook_ibv_dereg_mr(struct ibv_mr *mr) __asm__("ibv_dereg_mr");

int hook_ibv_dereg_mr(struct ibv_mr *mr)
{
	const struct real_verbs *real = real_verbs();
	int cancel_state, r;

	if (!real)
		return ENOSYS;
	if (!enter(&cancel_state))
		return real->dereg_mr(mr);
	r = engine()->dereg(real, mr);
	leave(cancel_state);
	return r;
}

EXPORT int hook_ibv_dealloc_pd(struct ibv_pd *pd) __asm__("ibv_dealloc_pd");

int hook_ibv_dealloc_pd(struct ibv_pd *pd)
{
	const struct real_verbs *real = real_verbs();

	bool was_imported;
	int r;

	if (!real || !engine())
		return real ? real->dealloc_pd(pd) : ENOSYS;
	if (engine()->has_pd(pd))
		return EBUSY;
	/* before: the next PD may lie there as soon as it is gone */
	was_imported = engine()->pd_going(pd);
	r = real->dealloc_pd(pd);
	if (r && was_imported)
		engine()->pd_imported(pd);
	return r;
}

EXPORT struct ibv_pd *
hook_ibv_import_pd(struct ibv_context *context,
		   uint32_t handle) __asm__("ibv_import_pd");

struct ibv_pd *hook_ibv_import_pd(struct ibv_context *context, uint32_t handle)
{
	const struct real_verbs *real = real_verbs();
	struct ibv_pd *pd;

	if (!real)
		return NULL;
	if (!real->import_pd) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	pd = real->import_pd(context, handle);
	if (pd && engine())
		engine()->pd_imported(pd);
	return pd;
}

EXPORT void hook_ibv_unimport_pd(struct ibv_pd *pd) __asm__("ibv_unimport_pd");

void hook_ibv_unimport_pd(struct ibv_pd *pd)
{
	const struct real_verbs *real = real_verbs();

	if (real && engine())
		engine()->pd_going(pd);
	if (real && real->unimport_pd)
		real->unimport_pd(pd);
}

EXPORT int hook_ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr,
			      int mask) __asm__("ibv_modify_qp");

int hook_ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	enum ibv_qp_state state =
		mask & IBV_QP_STATE ? attr->qp_state : IBV_QPS_UNKNOWN;
	const struct real_verbs *real = real_verbs();
	int r;

	if (engine())
		engine()->qp_modifying(qp, state);
	r = real ? real->modify_qp(qp, attr, mask) : ENOSYS;
	if (!r && engine())
		engine()->qp_modified(qp, state);
	return r;
}

EXPORT int hook_ibv_destroy_qp(struct ibv_qp *qp) __asm__("ibv_destroy_qp");

int hook_ibv_destroy_qp(struct ibv_qp *qp)
{
	const struct real_verbs *real = real_verbs();
	struct gate_qp *record;
	int r;

	if (!real || !engine())
		return real ? real->destroy_qp(qp) : ENOSYS;
	record = engine()->qp_destroying(qp);
	r = real->destroy_qp(qp);
	engine()->qp_destroyed(record, r);
	return r;
}

EXPORT int hook_ibv_destroy_cq(struct ibv_cq *cq) __asm__("ibv_destroy_cq");

int hook_ibv_destroy_cq(struct ibv_cq *cq)
{
	const struct real_verbs *real = real_verbs();
	struct gate_cq *record;
	int r;

	if (!real || !engine())
		return real ? real->destroy_cq(cq) : ENOSYS;
	record = engine()->cq_destroying(cq);
	r = real->destroy_cq(cq);
	engine()->cq_destroyed(record, r);
	return r;
}

EXPORT int
hook_ibv_close_device(struct ibv_context *context) __asm__("ibv_close_device");

int hook_ibv_close_device(struct ibv_context *context)
{
	const struct real_verbs *real = real_verbs();
	int r, cancel_state;
	struct pinned *left;
	sigset_t signals;

	if (!real || !engine())
		return real ? real->close_device(context) : ENOSYS;
	/* What is left is nobody else's until the device is closed. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	quiet_begin(&signals);
	left = engine()->context_closing(context);
	r = real->close_device(context);
	engine()->context_closed(left);
	quiet_end(&signals);
	pthread_setcancelstate(cancel_state, NULL);
	return r;
}

/* For programs that look verbs up by themselves: dl_hooks.c. */
const struct dl_hook dl_hooks[] = {
#define DAXMR_HOOK(name, version, since) {#name, #version, (void *)hook_##name},
#include "hooks.def"
	{NULL, NULL, NULL},
};
