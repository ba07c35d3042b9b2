/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "gate_cq_ex.h"
#include "gate_mark.h"

struct gate_cq_ex {
	struct ibv_cq_ex original; /* its functions alone */
	_Atomic bool is_sure;
	pthread_mutex_t poll;
	/* With that: what the program reads, and the poll around this one. */
	struct ibv_wc current;
	struct gate_cq *outer;
};

/* What this thread is inside of, the last one first; a reference each. */
static __thread struct gate_cq *polls
	__attribute__((tls_model("initial-exec")));

static struct gate_cq *poll_of(const struct ibv_cq_ex *cq)
{
	struct gate_cq *record = polls;

	while (record && record->cq != (const struct ibv_cq *)cq)
		record = record->ex->outer;
	return record;
}

static struct gate_cq *find(const struct ibv_cq_ex *cq)
{
	struct gate_locked locked;
	struct gate_cq *record;

	gate_lock(&locked);
	gate_mark_link_locked();
	gate_mark_polled_locked();
	record = gate_cq_find_locked((const struct ibv_cq *)cq);
	gate_unlock(&locked);
	return record;
}

/* For a poll that was begun by the provider's. */
static struct ibv_cq_ex original_of(const struct ibv_cq_ex *cq)
{
	struct gate_cq *record = find(cq);
	struct ibv_cq_ex original = record->ex->original;

	gate_cq_put(record);
	return original;
}

bool gate_cq_ex_is_sure(const struct gate_cq *record)
{
	const struct gate_cq_ex *ex =
		__atomic_load_n(&record->ex, __ATOMIC_ACQUIRE);

	return !ex || ex->is_sure;
}

/* Not with the record's lock: a poll of the provider's may be in the way. */
static int poll_first(struct gate_cq *record, gate_poll_cq_fn original)
{
	int n = original(record->cq, 1, &record->ex->current);

	record->ex->is_sure = true;
	return n;
}

static int fetch(struct gate_cq *record)
{
	gate_poll_cq_fn original =
		gate_poll_cq_original(record->context->ops.poll_cq);
	struct ibv_cq_ex *cq = (struct ibv_cq_ex *)record->cq;
	struct ibv_wc *current = &record->ex->current;
	bool is_idle = false;
	int n;

	n = record->ex->is_sure
		    ? gate_cq_poll(record, original, 1, current, &is_idle)
		    : poll_first(record, original);
	if (is_idle && atomic_load_explicit(&gate_mark.poll_attention,
					    memory_order_relaxed))
		gate_update_poll_attention();
	if (n <= 0)
		return n ? EINVAL : ENOENT;
	cq->wr_id = current->wr_id;
	cq->status = current->status;
	return 0;
}

static void leave(struct gate_cq *record)
{
	struct gate_cq **at = &polls;

	while (*at != record)
		at = &(*at)->ex->outer;
	*at = record->ex->outer;
	pthread_mutex_unlock(&record->ex->poll);
	gate_cq_put(record);
}

static int start_poll(struct ibv_cq_ex *cq, struct ibv_poll_cq_attr *attr)
{
	struct gate_cq *record = poll_of(cq);
	int r;

	if (attr && attr->comp_mask)
		return EINVAL;
	/* rxe's own needs no end where the next was not there */
	if (record)
		leave(record);
	record = find(cq);
	if (!record)
		return EINVAL; /* it is being destroyed */
	pthread_mutex_lock(&record->ex->poll);
	r = fetch(record);
	if (r) {
		pthread_mutex_unlock(&record->ex->poll);
		gate_cq_put(record);
		return r;
	}
	record->ex->outer = polls;
	polls = record;
	return 0;
}

static int next_poll(struct ibv_cq_ex *cq)
{
	struct gate_cq *record = poll_of(cq);

	return record ? fetch(record) : original_of(cq).next_poll(cq);
}

static void end_poll(struct ibv_cq_ex *cq)
{
	struct gate_cq *record = poll_of(cq);

	if (record)
		leave(record);
	else
		original_of(cq).end_poll(cq);
}

#define READERS(do)                                                                                               \
	do                                                                                                        \
	(enum ibv_wc_opcode, read_opcode, opcode) do(uint32_t, read_vendor_err, vendor_err) do(                   \
		uint32_t, read_byte_len,                                                                          \
		byte_len) do(__be32, read_imm_data,                                                               \
			     imm_data) do(uint32_t, read_qp_num,                                                  \
					  qp_num) do(uint32_t, read_src_qp,                                       \
						     src_qp) do(unsigned int,                                     \
								read_wc_flags,                                    \
								wc_flags) do(uint32_t,                            \
									     read_slid,                           \
									     slid) do(uint8_t,                    \
										      read_sl,                    \
										      sl) do(uint8_t,             \
											     read_dlid_path_bits, \
											     dlid_path_bits)

#define FUNCTION(type, name, member)                                           \
	static type name(struct ibv_cq_ex *cq)                                 \
	{                                                                      \
		const struct gate_cq *record = poll_of(cq);                    \
                                                                               \
		return record ? record->ex->current.member                     \
			      : original_of(cq).name(cq);                      \
	}
READERS(FUNCTION)

/*
 * What ibv_create_cq() makes is larger than struct ibv_cq in all providers, and
 * what lies behind it is not told apart by anything but itself: functions of
 * the provider's library where ibv_start_poll() would look for them.
 */
static bool is_extended(const struct ibv_cq *cq)
{
	const struct ibv_cq_ex *ex = (const struct ibv_cq_ex *)cq;
	void *poll_cq = (void *)gate_poll_cq_original(cq->context->ops.poll_cq);
	Dl_info provider, start, end;

	return ex->start_poll && ex->end_poll && dladdr(poll_cq, &provider) &&
	       dladdr((void *)ex->start_poll, &start) &&
	       dladdr((void *)ex->end_poll, &end) &&
	       start.dli_fbase == provider.dli_fbase &&
	       end.dli_fbase == provider.dli_fbase;
}

static bool tells_more(const struct ibv_cq_ex *cq)
{
	return cq->read_completion_ts || cq->read_completion_wallclock_ns ||
	       cq->read_cvlan || cq->read_flow_tag || cq->read_tm_info;
}

#define SET(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define PATCH(type, name, member)                                              \
	if (cq->name)                                                          \
		SET(cq->name, name);

/* What ends a poll first: the provider's ends as well through ours. */
static void patch(struct ibv_cq_ex *cq)
{
	READERS(PATCH)
	SET(cq->end_poll, end_poll);
	SET(cq->next_poll, next_poll);
	SET(cq->start_poll, start_poll);
}

void gate_cq_ex_patch(struct ibv_cq *ibcq, bool is_fresh)
{
	struct ibv_cq_ex *cq = (struct ibv_cq_ex *)ibcq;
	struct gate_locked locked;
	struct gate_cq_ex *ex;
	struct gate_cq *record;

	/* ours is not of the provider's library */
	if (cq->start_poll == start_poll || !is_extended(ibcq) ||
	    tells_more(cq))
		return;
	record = gate_cq_get(ibcq);
	ex = calloc(1, sizeof(*ex));
	if (!record || !ex)
		goto out; /* what is not patched is left by a drain */
	pthread_mutex_init(&ex->poll, NULL);
	ex->original = *cq;
	ex->is_sure = is_fresh;
	gate_lock(&locked);
	if (!record->ex) {
		SET(record->ex, ex);
		patch(cq);
		ex = NULL;
	}
	gate_unlock(&locked);
out:
	free(ex);
	if (record)
		gate_cq_put(record);
}

enum gate_left gate_cq_ex_left(struct gate_cq *record)
{
	if (!gate_cq_ex_is_sure(record))
		return GATE_LEFT_POLL;
	if (__atomic_load_n(&record->ex, __ATOMIC_ACQUIRE))
		return GATE_DRAINED;
	return is_extended(record->cq) ? GATE_LEFT_CQ : GATE_DRAINED;
}

void gate_cq_ex_free(struct gate_cq_ex *ex)
{
	if (ex)
		pthread_mutex_destroy(&ex->poll);
	free(ex);
}
