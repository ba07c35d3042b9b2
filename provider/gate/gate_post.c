/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "gate.h"
#include "gate_bind.h"
#include "gate_keys.h"
#include "gate_mark.h"
#include "gate_post.h"

/*
 * Words that others read or write atomically, each as one operand of an
 * instruction: GCC puts what is atomic into a register first. Between compiler
 * barriers; this processor keeps loads in their order, and stores.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define READ(type, x) (*(type const *)&(x))
#define ADD(x, n)     (*(uint32_t *)&(x) += (n))
#else
#define READ(type, x) atomic_load_explicit(&(x), memory_order_acquire)
#define ADD(x, n)                                                              \
	atomic_store_explicit(                                                 \
		&(x), atomic_load_explicit(&(x), memory_order_relaxed) + (n),  \
		memory_order_release)
#endif

/* A slot is filled with the lock, before its functions are handed out. */
static gate_post_send_fn post_sends[GATE_SLOTS];
/* What ours call: the provider's, or what translates lkeys before it. */
static gate_post_send_fn _Atomic targets[GATE_SLOTS];
static struct batch {
	gate_wr_fn start;
	gate_wr_complete_fn complete;
	gate_wr_fn abort;
	gate_set_sge_fn set_sge;
	gate_set_sge_list_fn set_sge_list;
	gate_wr_bind_mw_fn bind_mw;
} batches[GATE_SLOTS];

/* Inside already: the outer one is who the closer waits for. */
static __attribute__((noinline)) int post_asked(size_t slot, struct ibv_qp *qp,
						struct ibv_send_wr *wr,
						struct ibv_send_wr **bad_wr)
{
	int r;

	ADD(gate_mark.inside, -GATE_POST);
	if (gate_mark.inside)
		return targets[slot](qp, wr, bad_wr);
	gate_mark_enter(qp, GATE_POST);
	r = targets[slot](qp, wr, bad_wr);
	gate_mark_leave(GATE_POST);
	return r;
}

/*
 * What every post of an attached context pays for: tests/bench/gate_post
 * counts it. The target is read inside, so that one who has closed the gate can
 * change it.
 */
static inline __attribute__((always_inline)) int
post(size_t slot, struct ibv_qp *qp, struct ibv_send_wr *wr,
     struct ibv_send_wr **bad_wr)
{
	struct gate_mark *mark = &gate_mark;
	int r;

	ADD(mark->inside, GATE_POST);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(READ(uint32_t, mark->attention), 0))
		return post_asked(slot, qp, wr, bad_wr);
	atomic_signal_fence(memory_order_seq_cst);
	r = READ(gate_post_send_fn, targets[slot])(qp, wr, bad_wr);
	atomic_signal_fence(memory_order_seq_cst);
	ADD(mark->inside, -GATE_POST);
	return r;
}

static void batch_start(const struct batch *batch, struct ibv_qp_ex *qp)
{
	struct gate_mark *mark = &gate_mark;
	uint32_t inside =
		atomic_load_explicit(&mark->inside, memory_order_relaxed);

	atomic_store_explicit(&mark->inside, inside + GATE_BATCH,
			      memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (!inside &&
	    atomic_load_explicit(&mark->attention, memory_order_acquire)) {
		atomic_store_explicit(&mark->inside, 0, memory_order_release);
		gate_mark_enter(&qp->qp_base, GATE_BATCH);
	}
	batch->start(qp);
}

/* A batch that was begun before the patch was not counted. */
static void batch_end(void)
{
	if (atomic_load_explicit(&gate_mark.inside, memory_order_relaxed) >=
	    GATE_BATCH)
		gate_mark_leave(GATE_BATCH);
}

static int batch_complete(const struct batch *batch, struct ibv_qp_ex *qp)
{
	int r = batch->complete(qp);

	batch_end();
	return r;
}

static void batch_abort(const struct batch *batch, struct ibv_qp_ex *qp)
{
	batch->abort(qp);
	batch_end();
}

#define FOR_EACH_SLOT(do)                                                      \
	do                                                                     \
	(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)

#define FUNCTIONS(n)                                                           \
	static int post_send_##n(struct ibv_qp *qp, struct ibv_send_wr *wr,    \
				 struct ibv_send_wr **bad_wr)                  \
	{                                                                      \
		return post(n, qp, wr, bad_wr);                                \
	}                                                                      \
	static int translated_##n(struct ibv_qp *qp, struct ibv_send_wr *wr,   \
				  struct ibv_send_wr **bad_wr)                 \
	{                                                                      \
		return gate_send_translated(post_sends[n], qp, wr, bad_wr);    \
	}                                                                      \
	static void batch_set_sge_##n(struct ibv_qp_ex *qp, uint32_t lkey,     \
				      uint64_t addr, uint32_t length)          \
	{                                                                      \
		batches[n].set_sge(qp,                                         \
				   gate_key_actual(qp->qp_base.context, lkey), \
				   addr, length);                              \
	}                                                                      \
	static void batch_set_sge_list_##n(struct ibv_qp_ex *qp, size_t count, \
					   const struct ibv_sge *sges)         \
	{                                                                      \
		gate_set_sge_list_translated(batches[n].set_sge_list, qp,      \
					     count, sges);                     \
	}                                                                      \
	static void batch_bind_##n(struct ibv_qp_ex *qp, struct ibv_mw *mw,    \
				   uint32_t rkey,                              \
				   const struct ibv_mw_bind_info *info)        \
	{                                                                      \
		gate_batch_bind(batches[n].bind_mw, qp, mw, rkey, info);       \
	}                                                                      \
	static void batch_start_##n(struct ibv_qp_ex *qp)                      \
	{                                                                      \
		batch_start(&batches[n], qp);                                  \
	}                                                                      \
	static int batch_complete_##n(struct ibv_qp_ex *qp)                    \
	{                                                                      \
		return batch_complete(&batches[n], qp);                        \
	}                                                                      \
	static void batch_abort_##n(struct ibv_qp_ex *qp)                      \
	{                                                                      \
		batch_abort(&batches[n], qp);                                  \
	}
FOR_EACH_SLOT(FUNCTIONS)

#define POST_SEND(n)  post_send_##n,
#define TRANSLATED(n) translated_##n,
#define BATCH(n)                                                               \
	{batch_start_##n,   batch_complete_##n,	    batch_abort_##n,           \
	 batch_set_sge_##n, batch_set_sge_list_##n, batch_bind_##n},
static gate_post_send_fn const our_post_sends[] = {FOR_EACH_SLOT(POST_SEND)};
_Static_assert(sizeof(our_post_sends) / sizeof(our_post_sends[0]) == GATE_SLOTS,
	       "a function for each slot");
static gate_post_send_fn const translated[] = {FOR_EACH_SLOT(TRANSLATED)};
static const struct batch our_batches[] = {FOR_EACH_SLOT(BATCH)};

gate_post_send_fn gate_post_send_for_locked(gate_post_send_fn original)
{
	for (size_t i = 0; i < GATE_SLOTS; i++) {
		if (!post_sends[i]) {
			targets[i] = original;
			post_sends[i] = original;
		}
		if (post_sends[i] == original)
			return our_post_sends[i];
	}
	return NULL;
}

void gate_post_send_translate_locked(gate_post_send_fn original,
				     bool is_translated)
{
	for (size_t i = 0; i < GATE_SLOTS; i++)
		if (post_sends[i] == original)
			targets[i] = is_translated ? translated[i] : original;
}

/* By its end, which stays ours: a batch may be open. GATE_SLOTS: none. */
static size_t patched_slot(const struct ibv_qp_ex *qp)
{
	size_t i = 0;

	while (i < GATE_SLOTS && qp->wr_complete != our_batches[i].complete)
		i++;
	return i;
}

/* The slot of a provider's functions, found or made. */
static size_t batch_slot(const struct ibv_qp_ex *qp)
{
	const struct batch batch = {qp->wr_start,	 qp->wr_complete,
				    qp->wr_abort,	 qp->wr_set_sge,
				    qp->wr_set_sge_list, qp->wr_bind_mw};
	size_t i = 0;

	for (; i < GATE_SLOTS && batches[i].start; i++)
		if (!memcmp(&batches[i], &batch, sizeof(batch)))
			return i;
	if (i < GATE_SLOTS)
		batches[i] = batch;
	return i;
}

#define SET(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

int gate_batch_patch_locked(struct ibv_qp_ex *qp)
{
	size_t i = patched_slot(qp);

	if (i == GATE_SLOTS)
		i = batch_slot(qp);
	if (i == GATE_SLOTS)
		return -ENOSPC;
	/* the end first: who is counted by its start is by its end */
	SET(qp->wr_complete, our_batches[i].complete);
	SET(qp->wr_abort, our_batches[i].abort);
	SET(qp->wr_start, our_batches[i].start);
	if (batches[i].set_sge)
		SET(qp->wr_set_sge, our_batches[i].set_sge);
	if (batches[i].set_sge_list)
		SET(qp->wr_set_sge_list, our_batches[i].set_sge_list);
	if (batches[i].bind_mw)
		SET(qp->wr_bind_mw, our_batches[i].bind_mw);
	return 0;
}

void gate_batch_unpatch_locked(struct ibv_qp_ex *qp)
{
	size_t i = patched_slot(qp);

	if (i == GATE_SLOTS)
		return;
	SET(qp->wr_start, batches[i].start);
	SET(qp->wr_set_sge, batches[i].set_sge);
	SET(qp->wr_set_sge_list, batches[i].set_sge_list);
	SET(qp->wr_bind_mw, batches[i].bind_mw);
}
