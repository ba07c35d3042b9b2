/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "gate_bind.h"
#include "gate_context.h"
#include "gate_mark.h"

/* A slot is filled with the lock, before its functions are handed out. */
static struct binders {
	gate_bind_mw_fn bind_mw;
	gate_dealloc_mw_fn dealloc_mw;
} originals[GATE_SLOTS];

/* From within another post, or a batch, it is let through as a post is. */
static int bind_mw(size_t slot, struct ibv_qp *qp, struct ibv_mw *mw,
		   struct ibv_mw_bind *bind)
{
	bool is_outer = !gate_mark.inside;
	struct ibv_mw_bind copy = *bind;
	struct gate_binding binding;
	int saved_errno = errno, r;

	if (is_outer)
		gate_mark_enter(qp, GATE_POST);
	r = gate_binding_begin(&binding, &bind->bind_info);
	if (!r) {
		copy.bind_info = binding.info;
		errno = saved_errno;
		r = originals[slot].bind_mw(qp, mw, &copy);
		saved_errno = errno;
		gate_binding_end(&binding, mw, !r);
	}
	if (is_outer)
		gate_mark_leave(GATE_POST);
	errno = saved_errno;
	return r;
}

/*
 * No bind may be without a record: without memory it is one to an MR that
 * nobody has, which the device refuses.
 */
void gate_batch_bind(gate_wr_bind_mw_fn original, struct ibv_qp_ex *qp,
		     struct ibv_mw *mw, uint32_t rkey,
		     const struct ibv_mw_bind_info *info)
{
	/* providers have more behind theirs */
	union {
		struct ibv_mr mr;
		char room[512];
	} nobodys = {.room = {0}};
	struct gate_binding binding;

	if (!gate_binding_begin(&binding, info)) {
		original(qp, mw, rkey, &binding.info);
		gate_binding_end(&binding, mw, true);
		return;
	}
	nobodys.mr.context = info->mr->context;
	nobodys.mr.pd = info->mr->pd;
	binding.info.mr = &nobodys.mr;
	original(qp, mw, rkey, &binding.info);
}

#define FOR_EACH_SLOT(do)                                                      \
	do                                                                     \
	(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#define FUNCTIONS(n)                                                           \
	static int bind_mw_##n(struct ibv_qp *qp, struct ibv_mw *mw,           \
			       struct ibv_mw_bind *bind)                       \
	{                                                                      \
		return bind_mw(n, qp, mw, bind);                               \
	}                                                                      \
	static int dealloc_mw_##n(struct ibv_mw *mw)                           \
	{                                                                      \
		return gate_window_dealloc(originals[n].dealloc_mw, mw);       \
	}
FOR_EACH_SLOT(FUNCTIONS)

#define BINDERS(n) {bind_mw_##n, dealloc_mw_##n},
static const struct binders ours[] = {FOR_EACH_SLOT(BINDERS)};
_Static_assert(sizeof(ours) / sizeof(ours[0]) == GATE_SLOTS,
	       "a function for each slot");

/* GATE_SLOTS: it is not ours. */
static size_t patched_slot(const struct ibv_context_ops *ops)
{
	size_t i = 0;

	while (i < GATE_SLOTS && ops->bind_mw != ours[i].bind_mw)
		i++;
	return i;
}

static size_t slot_of(const struct ibv_context_ops *ops)
{
	size_t i = 0;

	for (; i < GATE_SLOTS && originals[i].bind_mw; i++)
		if (originals[i].bind_mw == ops->bind_mw &&
		    originals[i].dealloc_mw == ops->dealloc_mw)
			return i;
	if (i < GATE_SLOTS)
		originals[i] = (struct binders){ops->bind_mw, ops->dealloc_mw};
	return i;
}

int gate_bind_patch_locked(struct gate_context *context)
{
	struct ibv_context_ops *ops = &context->context->ops;
	size_t i;

	context->bind_mw = ops->bind_mw;
	if (!ops->bind_mw || !ops->dealloc_mw)
		return 0;
	i = slot_of(ops);
	if (i == GATE_SLOTS)
		return -ENOSPC;
	__atomic_store_n(&ops->dealloc_mw, ours[i].dealloc_mw,
			 __ATOMIC_RELEASE);
	__atomic_store_n(&ops->bind_mw, ours[i].bind_mw, __ATOMIC_RELEASE);
	return 0;
}

/* Not where somebody else has put himself before us: he calls ours. */
void gate_bind_unpatch_locked(struct ibv_context *context)
{
	struct ibv_context_ops *ops = &context->ops;
	size_t i = patched_slot(ops);

	if (i == GATE_SLOTS)
		return;
	__atomic_store_n(&ops->bind_mw, originals[i].bind_mw, __ATOMIC_RELEASE);
	if (ops->dealloc_mw == ours[i].dealloc_mw)
		__atomic_store_n(&ops->dealloc_mw, originals[i].dealloc_mw,
				 __ATOMIC_RELEASE);
}
