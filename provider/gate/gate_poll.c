/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What takes the place of a provider's poll_cq with the first drain. As a post
 * does (gate_post.c) it marks its thread and looks at an attention of its
 * own, which is set while a gate is closed or a record has something to give.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "gate_cq_ex.h"
#include "gate_mark.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)

static gate_poll_cq_fn poll_cqs[GATE_SLOTS];

static __attribute__((noinline)) int poll_asked(gate_poll_cq_fn original,
						struct ibv_cq *cq, int count,
						struct ibv_wc *wc)
{
	struct gate_mark *mark = &gate_mark;
	struct gate_locked locked;
	struct gate_cq *record;
	bool is_idle, is_drained;
	int r;

	mark->polling = 0;
	gate_lock(&locked);
	gate_mark_link_locked();
	gate_mark_polled_locked();
	record = gate_cq_find_locked(cq);
	is_drained = record && gate_cq_ex_is_sure_locked(record);
	if (is_drained)
		gate_cq_ref_locked(record);
	/* a drain that comes now waits for it */
	if (!is_drained)
		gate_mark_poll_enter_locked();
	gate_unlock(&locked);
	if (!is_drained) {
		r = original(cq, count, wc);
		gate_mark_poll_leave();
		return r;
	}
	r = gate_cq_poll(record, original, count, wc, &is_idle);
	gate_cq_put(record);
	if (is_idle)
		gate_update_poll_attention();
	return r;
}

static inline __attribute__((always_inline)) int
poll(gate_poll_cq_fn const *original, struct ibv_cq *cq, int count,
     struct ibv_wc *wc)
{
	struct gate_mark *mark = &gate_mark;
	int r;

	/* a handler's, within another: a drain waits for that one */
	if (!LIKELY(!atomic_load_explicit(&mark->polling,
					  memory_order_relaxed)))
		return (*original)(cq, count, wc);
	atomic_store_explicit(&mark->polling, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (!LIKELY(!atomic_load_explicit(&mark->poll_attention,
					  memory_order_acquire)))
		return poll_asked(*original, cq, count, wc);
	r = (*original)(cq, count, wc);
	atomic_store_explicit(&mark->polling, 0, memory_order_release);
	return r;
}

#define FOR_EACH_SLOT(do)                                                      \
	do                                                                     \
	(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#define FUNCTION(n)                                                            \
	static int poll_cq_##n(struct ibv_cq *cq, int count,                   \
			       struct ibv_wc *wc)                              \
	{                                                                      \
		return poll(&poll_cqs[n], cq, count, wc);                      \
	}
FOR_EACH_SLOT(FUNCTION)

#define POLL_CQ(n) poll_cq_##n,
static gate_poll_cq_fn const ours[] = {FOR_EACH_SLOT(POLL_CQ)};
_Static_assert(sizeof(ours) / sizeof(ours[0]) == GATE_SLOTS,
	       "a function for each slot");

gate_poll_cq_fn gate_poll_cq_original(gate_poll_cq_fn fn)
{
	for (size_t i = 0; i < GATE_SLOTS; i++)
		if (fn == ours[i])
			return poll_cqs[i];
	return fn;
}

gate_poll_cq_fn gate_poll_cq_for_locked(gate_poll_cq_fn original)
{
	for (size_t i = 0; i < GATE_SLOTS; i++) {
		if (!poll_cqs[i])
			poll_cqs[i] = original;
		if (poll_cqs[i] == original)
			return ours[i];
	}
	return NULL;
}
