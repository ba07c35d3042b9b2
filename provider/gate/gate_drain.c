/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The drain: a marker behind all that was posted, on every QP that can have
 * something outstanding. What it does is told in gate.h.
 *
 *     collect the gate's QPs -> which need one -> room in their CQs
 *         -> poll_cq is ours, nobody is inside the provider's
 *         -> markers posted -> those of UD QPs, for which the kernel may look
 *            for neighbours -> CQs reaped until all are seen
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "gate_context.h"
#include "gate_cq_ex.h"
#include "gate_datagram.h"
#include "gate_grace.h"
#include "gate_mark.h"
#include "gate_qp.h"
#include "raw.h"
#include "stats.h"

struct drained {
	struct gate_qp *record; /* a reference */
	uint32_t resets;	/* when it was collected */
	enum gate_left left;
	bool is_used;
	bool is_direct; /* the program works its rings itself */
	bool is_over;	/* nothing more to wait for */
	struct ibv_cq *send_cq;
	struct gate_cq *cq; /* a reference */
	struct ibv_mw *window;
	uint8_t port; /* of a UD QP; and its Q_Key */
	uint32_t qkey;
	struct ibv_ah *ah; /* the port's */
	struct gate_marker *marker;
};

struct drain {
	struct gate *gate;
	int64_t deadline_ns;
	struct ibv_mr *mr; /* what windows are bound to nothing of */
	void *page;
	struct gate_address *addresses; /* what datagrams are sent to */
	struct drained *qps;
	size_t count;
	void (*meanwhile)(void *arg);
	void *arg;
};

const char *gate_left_name(enum gate_left left)
{
	static const char *const names[] = {
		[GATE_DRAINED] = "drained",
		[GATE_LEFT_LATE] = "its work was not done in time",
		[GATE_LEFT_KIND] = "its kind cannot be drained",
		[GATE_LEFT_STATE] = "its state does not let it drain",
		[GATE_LEFT_CQ] = "its completion queue cannot take a marker",
		[GATE_LEFT_POLL] =
			"a thread may have been polling all the time",
		[GATE_LEFT_POST] = "the device refused the marker",
		[GATE_LEFT_DIRECT] =
			"the program works its queues itself, by direct verbs",
	};

	return names[left];
}

/* Direct verbs: it may have come to RTS by calls that nobody sees. */
static bool has_sent_nothing_locked(const struct gate_qp *record)
{
	return record->type == IBV_QPT_XRC_RECV ||
	       (!record->was_ready && !record->directs);
}

static int collect(struct drain *drain)
{
	struct gate_locked locked;
	struct gate_qp *record;
	size_t count = 0;

	gate_lock(&locked);
	for (record = gate_qp_first_locked(); record; record = record->next)
		count += gate_has_qp_locked(drain->gate, record);
	drain->qps = calloc(count + 1, sizeof(*drain->qps));
	record = drain->qps ? gate_qp_first_locked() : NULL;
	for (; record; record = record->next)
		if (gate_has_qp_locked(drain->gate, record))
			drain->qps[drain->count++] = (struct drained){
				.record = gate_qp_get_locked(record),
				.resets = record->resets,
				.is_over = has_sent_nothing_locked(record),
			};
	gate_unlock(&locked);
	return drain->qps ? 0 : -ENOMEM;
}

static void leave(struct drained *qp, enum gate_left why)
{
	qp->left = why;
	qp->is_over = true;
}

static bool is_there_locked(const struct drained *qp)
{
	return !qp->record->is_going && qp->record->resets == qp->resets;
}

/* False: it is destroyed or reset by now, and its work gone with that. */
static bool use(struct drained *qp)
{
	struct gate_locked locked;
	bool is_there;

	gate_lock(&locked);
	is_there = is_there_locked(qp);
	if (is_there)
		gate_qp_use_locked(qp->record);
	qp->is_direct = is_there && qp->record->directs;
	gate_unlock(&locked);
	if (!is_there)
		qp->is_over = true;
	return is_there;
}

/* The program does not get at its rings any more (gate_direct.h), or has. */
static bool use_to_mark(struct drained *qp)
{
	struct gate_locked locked;
	bool is_there, can_mark;

	gate_lock(&locked);
	is_there = is_there_locked(qp);
	qp->is_direct = is_there && qp->record->directs;
	can_mark = is_there && !qp->is_direct;
	if (can_mark) {
		qp->record->is_marked = true;
		gate_qp_use_locked(qp->record);
	}
	gate_unlock(&locked);
	return can_mark;
}

static bool is_datagrams(const struct drained *qp)
{
	return qp->record->type == IBV_QPT_UD;
}

/*
 * What the device does behind other work, and completes after it. The requester
 * of an XRC QP is one of RC in all of this.
 */
static bool is_in_order(const struct drained *qp)
{
	return qp->record->type == IBV_QPT_RC ||
	       qp->record->type == IBV_QPT_UC ||
	       qp->record->type == IBV_QPT_XRC_SEND;
}

static void look_at(struct drain *drain, struct drained *qp)
{
	int mask = is_datagrams(qp) ? IBV_QP_STATE | IBV_QP_PORT | IBV_QP_QKEY
				    : IBV_QP_STATE;
	struct ibv_qp *ibqp = qp->record->qp;
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	enum gate_left why;

	if (drain->gate->verbs.query_qp(ibqp, &attr, mask, &init))
		return leave(qp, GATE_LEFT_STATE);
	switch (attr.qp_state) {
	case IBV_QPS_RESET:
	case IBV_QPS_INIT:
	case IBV_QPS_RTR:
	case IBV_QPS_ERR: /* what is outstanding is flushed */
	case IBV_QPS_SQE:
		qp->is_over = true;
		return;
	case IBV_QPS_RTS:
		break;
	default:
		return leave(qp, GATE_LEFT_STATE);
	}
	if (qp->is_direct)
		return leave(qp, GATE_LEFT_DIRECT);
	if (!is_in_order(qp) && !is_datagrams(qp))
		return leave(qp, GATE_LEFT_KIND);
	if (is_datagrams(qp)) {
		qp->port = attr.port_num;
		qp->qkey = attr.qkey;
	}
	qp->send_cq = ibqp->send_cq;
	qp->cq = gate_cq_get(qp->send_cq);
	why = qp->cq ? gate_cq_ex_left(qp->cq) : GATE_LEFT_CQ;
	if (qp->cq && gate_cq_is_direct(qp->cq))
		why = GATE_LEFT_DIRECT;
	if (why != GATE_DRAINED)
		leave(qp, why);
}

/* How many completions the QP can have in the CQ at one time; -1: unknown. */
static long completions(const struct gate *gate, struct ibv_qp *qp,
			const struct ibv_cq *cq, const struct ibv_srq **srqs)
{
	struct ibv_qp_init_attr init;
	struct ibv_srq_attr shared;
	struct ibv_qp_attr attr;
	long count = 0;

	if (gate->verbs.query_qp(qp, &attr, IBV_QP_CAP, &init))
		return -1;
	if (qp->send_cq == cq)
		count += init.cap.max_send_wr;
	if (qp->recv_cq != cq)
		return count;
	if (!qp->srq)
		return count + init.cap.max_recv_wr;
	while (*srqs && *srqs != qp->srq)
		srqs++;
	if (*srqs) /* counted with another QP */
		return count;
	*srqs = qp->srq;
	return gate->verbs.query_srq(qp->srq, &shared)
		       ? -1
		       : count + (long)shared.max_wr;
}

/* All QPs of the context that could complete there, whatever their PD. */
static struct gate_qp **users_of(const struct drain *drain,
				 const struct ibv_cq *cq, size_t *ret_count)
{
	struct gate_qp *record, **users;
	struct gate_locked locked;
	size_t count = 0;

	gate_lock(&locked);
	for (record = gate_qp_first_locked(); record; record = record->next)
		count++;
	users = calloc(count + 1, sizeof(struct gate_qp *));
	count = 0;
	record = users ? gate_qp_first_locked() : NULL;
	for (; record; record = record->next) {
		if (record->context != drain->gate->context ||
		    record->is_going ||
		    (record->qp->send_cq != cq && record->qp->recv_cq != cq))
			continue;
		gate_qp_use_locked(record);
		users[count++] = gate_qp_get_locked(record);
	}
	gate_unlock(&locked);
	*ret_count = count;
	return users;
}

/*
 * An XRC SRQ completes in a CQ of its own, whatever QP it is reached by: no QP
 * tells how many can be there. Who sends by XRC may well receive by it, too.
 */
static bool may_have_others(const struct gate_qp *user, const struct ibv_cq *cq)
{
	return user->type == IBV_QPT_XRC_SEND && user->qp->send_cq == cq;
}

static bool has_room(struct drain *drain, struct gate_cq *record, long markers)
{
	struct ibv_cq *cq = record->cq;
	const struct ibv_srq **srqs;
	struct gate_qp **users;
	bool is_known = true, is_shared = false;
	long need = markers;
	size_t count;

	users = users_of(drain, cq, &count);
	srqs = calloc(count + 1, sizeof(struct ibv_srq *));
	for (size_t i = 0; i < count; i++) {
		long more = srqs && is_known
				    ? completions(drain->gate, users[i]->qp, cq,
						  srqs)
				    : -1;
		struct gate_locked locked;

		is_known = more >= 0;
		need += more;
		is_shared = is_shared || may_have_others(users[i], cq);
		gate_qp_unuse(users[i]);
		gate_lock(&locked);
		gate_qp_put_locked(users[i]);
		gate_unlock(&locked);
	}
	is_known = is_known && users && srqs;
	free(users);
	free(srqs);
	if (is_shared)
		return gate_cq_widen(record, &drain->gate->verbs, markers);
	return is_known && (need <= cq->cqe ||
			    !drain->gate->verbs.resize_cq(cq, (int)need));
}

static bool is_first_of_its_cq(const struct drain *drain, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (drain->qps[i].send_cq == drain->qps[at].send_cq)
			return false;
	return drain->qps[at].send_cq && !drain->qps[at].is_over;
}

static void find_room(struct drain *drain)
{
	for (size_t i = 0; i < drain->count; i++) {
		struct ibv_cq *cq = drain->qps[i].send_cq;
		long markers = 0;

		if (!is_first_of_its_cq(drain, i))
			continue;
		for (size_t j = i; j < drain->count; j++)
			markers += !drain->qps[j].is_over &&
				   drain->qps[j].send_cq == cq;
		/* and those of another drain, or that came too late for it */
		markers += gate_cq_expected(drain->qps[i].cq);
		if (has_room(drain, drain->qps[i].cq, markers))
			continue;
		for (size_t j = i; j < drain->count; j++)
			if (!drain->qps[j].is_over &&
			    drain->qps[j].send_cq == cq)
				leave(&drain->qps[j], GATE_LEFT_CQ);
	}
}

bool gate_drain_is_to_come_locked(const struct gate *gate,
				  const struct ibv_qp *qp)
{
	const struct drain *drain = gate->drain;
	size_t at = 0;

	while (drain && at < drain->count &&
	       (drain->qps[at].is_over || !is_there_locked(&drain->qps[at]) ||
		drain->qps[at].record->qp != qp))
		at++;
	return drain && at < drain->count;
}

/* Handlers that wait with a post within a poll look again. */
static void let_polls_post(struct drain *drain)
{
	struct gate_locked locked;

	gate_lock(&locked);
	drain->gate->drain = drain;
	gate_mark_set_attention_locked(true);
	gate_unlock(&locked);
}

/* False: a poll has begun since the last look, and may have a post in it. */
static bool let_none_post(struct drain *drain, bool is_late)
{
	struct gate_locked locked;
	bool is_over;

	gate_lock(&locked);
	is_over = is_late || !gate_mark_is_anybody_polling_locked();
	if (is_over)
		drain->gate->drain = NULL;
	gate_unlock(&locked);
	return is_over;
}

static int wait_for_polls(struct drain *drain)
{
	int r;

	let_polls_post(drain);
	do
		r = gate_mark_wait_not_polling(drain->deadline_ns);
	while (!let_none_post(drain, r));
	return r;
}

/* Polls go through ours from now on, and wait for what is being reaped. */
static int take_polls(struct drain *drain)
{
	struct ibv_context *context = drain->gate->context;
	gate_poll_cq_fn original, ours;
	struct gate_locked locked;
	bool is_new;

	gate_lock(&locked);
	original = gate_poll_cq_original(context->ops.poll_cq);
	ours = gate_poll_cq_for_locked(original);
	is_new = ours && context->ops.poll_cq != ours;
	gate_mark_set_poll_attention_locked(true);
	if (is_new)
		__atomic_store_n(&context->ops.poll_cq, ours, __ATOMIC_RELEASE);
	gate_unlock(&locked);
	if (!ours)
		return -ENOSPC;
	if (is_new && gate_grace(drain->deadline_ns)) {
		__atomic_store_n(&context->ops.poll_cq, original,
				 __ATOMIC_RELEASE);
		return -ETIMEDOUT;
	}
	return wait_for_polls(drain);
}

static int bind_nothing(struct drain *drain, struct drained *qp)
{
	struct ibv_mw_bind bind = {.wr_id = (uintptr_t)qp->marker,
				   .send_flags = IBV_SEND_SIGNALED,
				   .bind_info.mr = drain->mr};

	return drain->gate->bind_mw(qp->record->qp, qp->window, &bind);
}

static void unmake_marker(struct drained *qp)
{
	free(qp->marker);
	qp->marker = NULL;
	if (qp->is_direct)
		leave(qp, GATE_LEFT_DIRECT);
	qp->is_over = true;
}

/* 0: posted, or over. ENOMEM: the send queue is full. Positive errno. */
static int post_marker(struct drain *drain, struct drained *qp)
{
	int r;

	if (!use_to_mark(qp)) {
		unmake_marker(qp);
		return 0;
	}
	qp->is_direct = !gate_cq_expect(qp->cq, qp->marker);
	if (qp->is_direct) {
		gate_qp_unuse(qp->record);
		unmake_marker(qp);
		return 0;
	}
	gate_mark_pass();
	r = is_datagrams(qp)
		    ? gate_datagram_post(qp->ah, drain->gate->post_send,
					 qp->record->qp, qp->qkey,
					 (uintptr_t)qp->marker)
		    : bind_nothing(drain, qp);
	gate_mark_leave(GATE_POST);
	gate_qp_unuse(qp->record);
	if (r) {
		gate_cq_unexpect(qp->cq, qp->marker, false);
		qp->marker = NULL;
	}
	return r < 0 ? -r : r;
}

static bool has_window(struct drain *drain, struct drained *qp)
{
	const struct ibv_context_ops *ops = &drain->gate->context->ops;

	if (!qp->window && drain->mr && ops->alloc_mw && drain->gate->bind_mw)
		qp->window = ops->alloc_mw(drain->gate->pd, IBV_MW_TYPE_1);
	if (qp->window)
		qp->window->type = IBV_MW_TYPE_1;
	return qp->window;
}

static void try_marker(struct drain *drain, struct drained *qp)
{
	int r;

	if (!is_datagrams(qp) && !has_window(drain, qp))
		return leave(qp, GATE_LEFT_KIND);
	qp->marker = calloc(1, sizeof(*qp->marker));
	if (!qp->marker)
		return leave(qp, GATE_LEFT_POST);
	qp->marker->qp_num = qp->record->qp_num;
	r = post_marker(drain, qp);
	if (r && r != ENOMEM)
		leave(qp, GATE_LEFT_POST);
}

static void reap(struct drained *qp)
{
	int r = gate_cq_reap(qp->cq);

	if (r)
		leave(qp, r == -EBUSY ? GATE_LEFT_DIRECT : GATE_LEFT_CQ);
}

/* One round: markers that found no room before, and what has completed. */
static bool is_all_over(struct drain *drain)
{
	bool is_all = true;

	for (size_t i = 0; i < drain->count; i++) {
		struct drained *qp = &drain->qps[i];

		if (qp->is_over)
			continue;
		if (!qp->marker)
			try_marker(drain, qp);
		if (!qp->is_over)
			reap(qp);
		if (!qp->is_over && qp->marker &&
		    gate_cq_has_seen(qp->cq, qp->marker))
			qp->is_over = true;
		if (!qp->is_over && use(qp))
			gate_qp_unuse(qp->record);
		is_all = is_all && qp->is_over;
	}
	return is_all;
}

static void leave_all(struct drain *drain, enum gate_left why)
{
	for (size_t i = 0; i < drain->count; i++)
		if (!drain->qps[i].is_over)
			leave(&drain->qps[i], why);
}

static void post_markers(struct drain *drain)
{
	for (size_t i = 0; i < drain->count; i++)
		if (!drain->qps[i].is_over && !is_datagrams(&drain->qps[i]))
			try_marker(drain, &drain->qps[i]);
}

/* May take longer than there is time: all other markers are on their way. */
static void find_addresses(struct drain *drain)
{
	for (size_t i = 0; i < drain->count; i++) {
		struct drained *qp = &drain->qps[i];
		const struct gate_address *address;

		if (qp->is_over || !is_datagrams(qp))
			continue;
		address = gate_address_get(&drain->gate->verbs, drain->gate->pd,
					   qp->port, drain->deadline_ns,
					   &drain->addresses);
		if (!address)
			leave(qp, GATE_LEFT_POST);
		else if (!address->ah)
			leave(qp, address->error == -ETIMEDOUT
					  ? GATE_LEFT_LATE
					  : GATE_LEFT_KIND);
		else
			qp->ah = address->ah;
	}
}

/* Nobody is late who was done when it was looked at. */
static void wait_for_markers(struct drain *drain)
{
	struct timespec pause = {0, 10000};
	bool is_late = false;

	while (!is_all_over(drain)) {
		if (is_late)
			return leave_all(drain, GATE_LEFT_LATE);
		if (drain->meanwhile)
			drain->meanwhile(drain->arg);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		if (pause.tv_nsec < 500000)
			pause.tv_nsec *= 2;
		is_late = clock_now_ns() >= drain->deadline_ns;
	}
}

static bool is_any_waiting(const struct drain *drain)
{
	for (size_t i = 0; i < drain->count; i++)
		if (!drain->qps[i].is_over)
			return true;
	return false;
}

static bool is_any_to_bind(const struct drain *drain)
{
	for (size_t i = 0; i < drain->count; i++)
		if (!drain->qps[i].is_over && !is_datagrams(&drain->qps[i]))
			return true;
	return false;
}

/* What had nothing to drain, or is gone, is neither. */
static void count(const struct drain *drain, const struct drained *qp)
{
	if (qp->left != GATE_DRAINED || qp->marker)
		stats_device_count(drain->gate->context->device->name,
				   STATS_DRAINED + (unsigned int)qp->left, 1);
}

static void give_up(struct drain *drain, struct drained *qp)
{
	struct gate_locked locked;

	if (qp->marker)
		gate_cq_unexpect(qp->cq, qp->marker, true);
	if (qp->window)
		drain->gate->context->ops.dealloc_mw(qp->window);
	if (qp->cq)
		gate_cq_put(qp->cq);
	gate_lock(&locked);
	qp->record->left = qp->left;
	gate_qp_put_locked(qp->record);
	gate_unlock(&locked);
}

/*
 * A bind of nothing needs an MR all the same: rxe's provider looks into it. On
 * a page of its own: registering may take it out of what a child inherits.
 */
static void make_mr(struct drain *drain)
{
	const struct gate_verbs *verbs = &drain->gate->verbs;
	size_t size = (size_t)sysconf(_SC_PAGESIZE);

	if (!verbs->reg_mr_iova2)
		return;
	drain->page = raw_map_memory(size, 0);
	if (drain->page == MAP_FAILED) {
		drain->page = NULL;
		return;
	}
	drain->mr = verbs->reg_mr_iova2(
		drain->gate->pd, drain->page, size, (uintptr_t)drain->page,
		IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
}

static void unmake_mr(struct drain *drain)
{
	if (drain->mr)
		drain->gate->verbs.dereg_mr(drain->mr);
	if (drain->page)
		raw_unmap(drain->page, (size_t)sysconf(_SC_PAGESIZE));
}

/* QPs and CQs stay while their sizes are looked at. */
static void prepare(struct drain *drain)
{
	for (size_t i = 0; i < drain->count; i++) {
		struct drained *qp = &drain->qps[i];

		qp->is_used = !qp->is_over && use(qp);
		if (qp->is_used)
			look_at(drain, qp);
	}
	find_room(drain);
	for (size_t i = 0; i < drain->count; i++)
		if (drain->qps[i].is_used)
			gate_qp_unuse(drain->qps[i].record);
}

int gate_drain(struct gate *gate, int64_t deadline_ns,
	       void (*each)(void *arg, uint32_t qp_num, enum gate_left why),
	       void (*meanwhile)(void *arg), void *arg)
{
	struct drain drain = {.gate = gate,
			      .deadline_ns = deadline_ns,
			      .meanwhile = meanwhile,
			      .arg = arg};
	int r = collect(&drain), left = 0;

	if (r)
		return r;
	prepare(&drain);
	if (is_any_waiting(&drain)) {
		if (is_any_to_bind(&drain))
			make_mr(&drain);
		if (take_polls(&drain))
			leave_all(&drain, GATE_LEFT_POLL);
		post_markers(&drain);
		find_addresses(&drain);
		wait_for_markers(&drain);
	}
	for (size_t i = 0; i < drain.count; i++) {
		const struct drained *qp = &drain.qps[i];

		left += qp->left != GATE_DRAINED;
		if (qp->left != GATE_DRAINED && each)
			each(arg, qp->record->qp_num, qp->left);
		count(&drain, qp);
		give_up(&drain, &drain.qps[i]);
	}
	unmake_mr(&drain);
	gate_addresses_free(&drain.gate->verbs, drain.addresses);
	free(drain.qps);
	return left;
}
