/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls of drivers' libraries that let a program at the rings of
 * its QPs and CQs, which the engine is told (gate/gate_direct.h). Under the
 * libraries' own version nodes, as hooks.c has it for verbs.
 *
 * They are alike: an object of pairs, one of each kind, each of what is asked
 * about and where the answer is to go; which ones are meant is in a mask. QPs
 * are first, then CQs, with the same bits everywhere. SRQs and receive queues
 * are not looked at: no receive is gated.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "dl_hooks.h"
#include "dv_real.h"
#include "engine.h"

#define EXPORT __attribute__((visibility("default")))

/* What mlx5dv_obj, mlx4dv_obj and manadv_obj begin with; of OBJ_CQ: cq. */
struct dv_obj {
	struct {
		struct ibv_qp *in;
		void *out;
	} qp;
	struct {
		struct ibv_cq *in;
		void *out;
	} cq;
};
#define OBJ_QP 1u
#define OBJ_CQ 2u

typedef int init_obj_fn(struct dv_obj *obj, uint64_t type);

static const struct engine *engine(void)
{
	return daxmr_private_engine(DAXMR_ENGINE_VERSION);
}

/* 0, or a positive errno, as theirs. */
static int ask(enum dv_call call, struct dv_obj *obj, uint64_t type)
{
	int saved_errno = errno, r;
	init_obj_fn *real = (init_obj_fn *)dv_real(call);
	struct ibv_qp *qp = type & OBJ_QP ? obj->qp.in : NULL;
	struct ibv_cq *cq = type & OBJ_CQ ? obj->cq.in : NULL;

	errno = saved_errno;
	if (!real)
		return ENOSYS;
	if (!engine() || (!qp && !cq))
		return real(obj, type);
	r = engine()->direct_begin(qp, cq);
	if (r)
		return -r;
	r = real(obj, type);
	if (r)
		engine()->direct_undo(qp, cq);
	return r;
}

/* Theirs are no cancellation points; what is logged here would be one. */
static int init_obj(enum dv_call call, struct dv_obj *obj, uint64_t type)
{
	int cancel_state, r;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	r = ask(call, obj, type);
	pthread_setcancelstate(cancel_state, NULL);
	return r;
}

EXPORT init_obj_fn hook_mlx5dv_init_obj __asm__("mlx5dv_init_obj");

int hook_mlx5dv_init_obj(struct dv_obj *obj, uint64_t type)
{
	return init_obj(DV_mlx5dv_init_obj, obj, type);
}

/* What a program got that was linked with rdma-core before 15. */
init_obj_fn hook_old_mlx5dv_init_obj;

EXPORT int hook_old_mlx5dv_init_obj(struct dv_obj *obj, uint64_t type)
{
	return init_obj(DV_OLD_mlx5dv_init_obj, obj, type);
}
__asm__(".symver hook_old_mlx5dv_init_obj, mlx5dv_init_obj@MLX5_1.0, local");

EXPORT init_obj_fn hook_mlx4dv_init_obj __asm__("mlx4dv_init_obj");

int hook_mlx4dv_init_obj(struct dv_obj *obj, uint64_t type)
{
	return init_obj(DV_mlx4dv_init_obj, obj, type);
}

EXPORT init_obj_fn hook_manadv_init_obj __asm__("manadv_init_obj");

int hook_manadv_init_obj(struct dv_obj *obj, uint64_t type)
{
	return init_obj(DV_manadv_init_obj, obj, type);
}

/* For programs that look them up by themselves: dl_hooks.c. */
const struct dl_hook dl_hooks_dv[] = {
#define DAXMR_DV(name, version, what) {#name, #version, (void *)hook_##name},
#define DAXMR_DV_OLD(name, version)   {#name, #version, (void *)hook_old_##name},
#include "hooks.def"
	{NULL, NULL, NULL},
};
