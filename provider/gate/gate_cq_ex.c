/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gate_cq_ex.h"
#include "gate_mark.h"
#include "gate_qp.h"

enum poll_state {
	POLL_NONE, /* of ours: if any is there, the provider's has begun it */
	POLL_OPEN,
	POLL_SPENT, /* the next was not there: nothing but its end is due */
};

enum {
	FREE,
	TAKEN,
	WAITED_FOR
};

struct gate_cq_ex {
	struct ibv_cq_ex original; /* its functions alone */
	_Atomic bool is_sure;
	/* One poll at a time; a task may begin it here and end it elsewhere. */
	_Atomic uint32_t taken;
	/* Of who has taken it, and what the program reads. */
	_Atomic enum poll_state state;
	void *_Atomic by; /* the thread that was last seen at it */
	struct ibv_wc current;
};

/*
 * The last CQ that this thread has polled. Records stay as long as none was
 * unlinked. Written with signals blocked.
 */
static __thread struct {
	struct gate_cq *record;
	const struct ibv_cq_ex *cq;
	uint64_t unlinked;
} last __attribute__((tls_model("initial-exec")));

static void futex(_Atomic uint32_t *word, int what, uint32_t value)
{
	int saved_errno = errno;

	syscall(SYS_futex, word, what, value, NULL, NULL, 0);
	errno = saved_errno;
}

static void take(struct gate_cq_ex *ex)
{
	uint32_t seen = FREE;

	if (atomic_compare_exchange_strong(&ex->taken, &seen, TAKEN))
		return;
	while (atomic_exchange(&ex->taken, WAITED_FOR) != FREE)
		futex(&ex->taken, FUTEX_WAIT_PRIVATE, WAITED_FOR);
}

static void give(struct gate_cq_ex *ex)
{
	if (atomic_exchange(&ex->taken, FREE) == WAITED_FOR)
		futex(&ex->taken, FUTEX_WAKE_PRIVATE, 1);
}

/* False: there is no poll of ours. */
static bool end(struct gate_cq_ex *ex)
{
	if (atomic_exchange(&ex->state, POLL_NONE) == POLL_NONE)
		return false;
	give(ex);
	return true;
}

/* NULL: it is being destroyed. */
static struct gate_cq *find(const struct ibv_cq_ex *cq)
{
	struct gate_locked locked;
	struct gate_cq *record;

	gate_lock(&locked);
	gate_mark_link_locked();
	gate_mark_polled_locked();
	record = gate_cq_find_locked((const struct ibv_cq *)cq);
	last.cq = record ? cq : NULL;
	last.record = record;
	last.unlinked = gate_cq_unlinked();
	gate_unlock(&locked);
	return record;
}

static struct gate_cq *record_of(const struct ibv_cq_ex *cq)
{
	struct gate_cq *record = last.record;

	/* a handler's poll may have come in between */
	atomic_signal_fence(memory_order_seq_cst);
	if (last.cq == cq && last.unlinked == gate_cq_unlinked())
		return record;
	return find(cq);
}

bool gate_cq_ex_is_sure_locked(const struct gate_cq *record)
{
	return record->kind == GATE_CQ_PLAIN ||
	       (record->kind == GATE_CQ_READ && record->ex->is_sure);
}

/* Not with the record's lock: a poll of the provider's may be in the way. */
static int poll_first(struct gate_cq *record, gate_poll_cq_fn poll_cq)
{
	int n = gate_poll_cq_original(poll_cq)(record->cq, 1,
					       &record->ex->current);

	record->ex->is_sure = true;
	return n;
}

static int fetch(struct gate_cq *record)
{
	gate_poll_cq_fn poll_cq = __atomic_load_n(&record->context->ops.poll_cq,
						  __ATOMIC_ACQUIRE);
	struct ibv_cq_ex *cq = (struct ibv_cq_ex *)record->cq;
	struct ibv_wc *current = &record->ex->current;
	int n;

	n = record->ex->is_sure ? poll_cq(record->cq, 1, current)
				: poll_first(record, poll_cq);
	if (n <= 0)
		return n ? EINVAL : ENOENT;
	cq->wr_id = current->wr_id;
	cq->status = current->status;
	return 0;
}

static int start_poll(struct ibv_cq_ex *cq, struct ibv_poll_cq_attr *attr)
{
	/* a drain asks which threads have polled through ours */
	struct gate_cq *record =
		gate_mark.poll_attention ? find(cq) : record_of(cq);
	struct gate_cq_ex *ex;
	int r;

	if ((attr && attr->comp_mask) || !record)
		return EINVAL;
	ex = record->ex;
	/* rxe's own needs no end where the next was not there */
	if (ex->state == POLL_SPENT && ex->by == &last)
		end(ex);
	take(ex);
	r = fetch(record);
	if (r) {
		give(ex);
		return r;
	}
	ex->by = &last;
	ex->state = POLL_OPEN;
	return 0;
}

static int next_poll(struct ibv_cq_ex *cq)
{
	struct gate_cq *record = record_of(cq);
	int r;

	if (!record)
		return EINVAL;
	if (record->ex->state == POLL_NONE)
		return record->ex->original.next_poll(cq);
	r = fetch(record);
	record->ex->by = &last;
	record->ex->state = r ? POLL_SPENT : POLL_OPEN;
	return r;
}

static void end_poll(struct ibv_cq_ex *cq)
{
	struct gate_cq *record = record_of(cq);

	if (record && !end(record->ex))
		record->ex->original.end_poll(cq);
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
		const struct gate_cq *record = record_of(cq);                  \
                                                                               \
		if (!record)                                                   \
			return (type)0;                                        \
		return record->ex->state == POLL_NONE                          \
			       ? record->ex->original.name(cq)                 \
			       : record->ex->current.member;                   \
	}
READERS(FUNCTION)

/*
 * What ibv_create_cq() makes is larger than struct ibv_cq in all providers, and
 * what lies behind it is not told apart by anything but itself: functions of
 * the provider's library where ibv_start_poll() would look for them.
 */
static bool is_extended(const struct ibv_cq *cq, Dl_info *ret_provider)
{
	const struct ibv_cq_ex *ex = (const struct ibv_cq_ex *)cq;
	void *poll_cq = (void *)gate_poll_cq_original(cq->context->ops.poll_cq);
	Dl_info start, end;

	return ex->start_poll && ex->end_poll &&
	       dladdr(poll_cq, ret_provider) &&
	       dladdr((void *)ex->start_poll, &start) &&
	       dladdr((void *)ex->end_poll, &end) &&
	       start.dli_fbase == ret_provider->dli_fbase &&
	       end.dli_fbase == ret_provider->dli_fbase;
}

static bool tells_more(const struct ibv_cq_ex *cq, const Dl_info *provider)
{
	const char *library = strrchr(provider->dli_fname, '/');

	/* efadv_wc_read_sgid() and the like look into its own CQ */
	if (!strncmp(library ? library : "", "/libefa", strlen("/libefa")))
		return true;
	return cq->read_completion_ts || cq->read_completion_wallclock_ns ||
	       cq->read_cvlan || cq->read_flow_tag || cq->read_tm_info;
}

static enum gate_cq_kind kind_of(const struct ibv_cq *cq)
{
	Dl_info provider;

	/* its record is gone: a context that could not be closed */
	if (((const struct ibv_cq_ex *)cq)->start_poll == start_poll)
		return GATE_CQ_OWN;
	if (!is_extended(cq, &provider))
		return GATE_CQ_PLAIN;
	return tells_more((const struct ibv_cq_ex *)cq, &provider)
		       ? GATE_CQ_OWN
		       : GATE_CQ_READ;
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

void gate_cq_ex_patch(struct ibv_cq *ibcq)
{
	struct ibv_cq_ex *cq = (struct ibv_cq_ex *)ibcq;
	struct gate_cq_ex *ex = NULL;
	enum gate_cq_kind kind;
	struct gate_locked locked;
	struct gate_cq *record = gate_cq_get(ibcq);
	bool is_new;

	if (!record)
		return; /* a drain leaves it */
	gate_lock(&locked);
	is_new = record->kind == GATE_CQ_UNKNOWN;
	gate_unlock(&locked);
	kind = is_new ? kind_of(ibcq) : GATE_CQ_UNKNOWN;
	if (kind == GATE_CQ_READ)
		ex = calloc(1, sizeof(*ex));
	gate_lock(&locked);
	/* another thread may have been faster: what it saw then is ours */
	if (is_new && record->kind == GATE_CQ_UNKNOWN &&
	    (ex || kind != GATE_CQ_READ)) {
		record->kind = kind;
		record->ex = ex;
		if (ex) {
			ex->original = *cq;
			ex->is_sure = gate_qp_has_had_none_live_locked(ibcq);
			patch(cq);
		}
		ex = NULL;
	}
	gate_unlock(&locked);
	free(ex);
	gate_cq_put(record);
}

enum gate_left gate_cq_ex_left(const struct gate_cq *record)
{
	enum gate_cq_kind kind;
	struct gate_locked locked;
	bool is_sure;

	gate_lock(&locked);
	kind = record->kind;
	is_sure = gate_cq_ex_is_sure_locked(record);
	gate_unlock(&locked);
	if (kind == GATE_CQ_READ && !is_sure)
		return GATE_LEFT_POLL;
	return is_sure ? GATE_DRAINED : GATE_LEFT_CQ;
}

void gate_cq_ex_free(struct gate_cq_ex *ex)
{
	free(ex);
}
