/* SPDX-License-Identifier: BSD-2-Clause */
/* The drain against a device that is not there: what is waited for, and what
 * the program sees of it, which is nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "gate_fake.h"
#include "unit.h"

#define QPS	4
#define ROUNDS	200
#define LONG_NS (60 * 1000000000LL)
/* Too short for what is never done, and enough for all before it. */
#define SHORT_NS (LONG_NS / 60)

#ifdef __SANITIZE_THREAD__
#define SEES_TABLES_CHANGE true
#else
#define SEES_TABLES_CHANGE false
#endif

static struct fake_cq cq;
static struct fake_qp qps[QPS];
static struct gate *gate;
static pthread_t device;
static bool has_device;
static _Atomic bool is_over;

static int64_t later(void)
{
	return clock_now_ns() + LONG_NS;
}

static int set_up(void **state)
{
	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH / 2);
	for (int i = 0; i < QPS; i++) {
		fake_qp_init(&qps[i], &fake_pds[0], &cq, IBV_QPT_RC);
		qps[i].depth = 8;
	}
	is_over = false;
	has_device = false;
	gate = NULL;
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	return 0;
}

/* Of the one QP, or of all. */
static void *work(void *arg)
{
	while (!is_over) {
		for (int i = 0; i < QPS; i++)
			if (!arg || arg == &qps[i])
				fake_run(&qps[i], 3);
		sched_yield();
	}
	return NULL;
}

static void start_device_of(struct fake_qp *qp)
{
	assert_int_equal(pthread_create(&device, NULL, work, qp), 0);
	has_device = true;
}

static void start_device(void)
{
	start_device_of(NULL);
}

static int tear_down(void **state)
{
	(void)state;
	is_over = true;
	if (has_device)
		pthread_join(device, NULL);
	if (gate)
		gate_open(gate);
	gate_context_closing(&fake_context.context);
	return 0;
}

static void close_gate(void)
{
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
}

static void open_gate(void)
{
	gate_open(gate);
	gate = NULL;
}

static enum gate_left why[QPS];

static void note(void *arg, uint32_t qp_num, enum gate_left left)
{
	(void)arg;
	for (int i = 0; i < QPS; i++)
		if (fake_ibv(&qps[i])->qp_num == qp_num)
			why[i] = left;
}

static int drain_until(int64_t deadline_ns)
{
	memset(why, 0, sizeof(why));
	return gate_drain(gate, deadline_ns, note, NULL, NULL);
}

static int drain(void)
{
	return drain_until(later());
}

static void post(struct fake_qp *qp, uint64_t wr_id, unsigned int flags)
{
	assert_int_equal(fake_post(qp, wr_id, flags), 0);
}

static void expect(uint64_t wr_id)
{
	struct ibv_wc wc;

	assert_int_equal(ibv_poll_cq(&cq.cq, 1, &wc), 1);
	assert_int_equal(wc.wr_id, wr_id);
	assert_int_not_equal(wc.opcode, IBV_WC_BIND_MW);
}

static void expect_nothing(void)
{
	struct ibv_wc wc[4];

	assert_int_equal(ibv_poll_cq(&cq.cq, 4, wc), 0);
}

static bool is_done(const struct fake_qp *qp)
{
	return qp->head == qp->tail;
}

static void drained__all_is_done_and_completions_come_in_order(void **state)
{
	(void)state;
	fake_receive(&qps[0], 100);
	for (uint64_t i = 0; i < 7; i++)
		post(&qps[i % 2], i, i > 3 ? IBV_SEND_SIGNALED : 0);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	assert_true(is_done(&qps[0]) && is_done(&qps[1]));
	fake_receive(&qps[0], 101);
	open_gate();
	expect(100);
	for (int n = 0, seen[2] = {4, 5}; n < 3; n++) {
		struct ibv_wc wc;
		int from;

		assert_int_equal(ibv_poll_cq(&cq.cq, 1, &wc), 1);
		from = wc.qp_num == fake_ibv(&qps[1])->qp_num;
		assert_int_equal(wc.wr_id, seen[from]);
		seen[from] += 2;
	}
	expect(101);
	expect_nothing();
	assert_int_equal(fake_windows, 0);
	assert_false(cq.has_overrun);
}

static void nothing_posted__nothing_left(void **state)
{
	(void)state;
	start_device();
	for (int i = 0; i < 3; i++) {
		close_gate();
		assert_int_equal(drain(), 0);
		open_gate();
		expect_nothing();
	}
}

/* Room for exactly what the QPs may have outstanding. */
static void exact_cq__is_enlarged_and_not_overrun(void **state)
{
	(void)state;
	cq.cq.cqe = QPS * 8;
	for (int i = 0; i < QPS; i++)
		for (uint64_t n = 0; n < 8; n++)
			post(&qps[i], n, IBV_SEND_SIGNALED);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	open_gate();
	assert_int_equal(cq.cq.cqe, QPS * 8 + QPS);
	assert_false(cq.has_overrun);
	for (int n = 0; n < QPS * 8; n++) {
		struct ibv_wc wc;

		assert_int_equal(ibv_poll_cq(&cq.cq, 1, &wc), 1);
		assert_int_equal(wc.opcode, IBV_WC_RDMA_WRITE);
	}
	expect_nothing();
}

static void small_cq__is_left_and_severed(void **state)
{
	(void)state;
	qps[0].depth = FAKE_DEPTH; /* more than it can be enlarged for */
	post(&qps[0], 1, IBV_SEND_SIGNALED);
	close_gate();
	assert_int_equal(drain(), QPS);
	for (int i = 0; i < QPS; i++)
		assert_int_equal(why[i], GATE_LEFT_CQ);
	assert_int_equal(qps[0].tail, 1); /* no marker */
	assert_int_equal(gate_sever(gate, false), QPS);
	open_gate();
}

static void full_queue__marker_waits_for_room(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 8; n++)
		post(&qps[0], n, 0);
	assert_int_equal(fake_post(&qps[0], 9, 0), ENOMEM);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	assert_true(is_done(&qps[0]));
	open_gate();
	expect_nothing();
}

/* A peer that does not answer. */
static void late__severed_and_its_marker_stays_unseen(void **state)
{
	(void)state;
	post(&qps[0], 1, IBV_SEND_SIGNALED);
	close_gate();
	for (int i = 1; i < QPS; i++)
		fake_ibv(&qps[i])->state = IBV_QPS_INIT;
	assert_int_equal(drain_until(clock_now_ns() + SHORT_NS), 1);
	assert_int_equal(why[0], GATE_LEFT_LATE);
	assert_int_equal(gate_sever(gate, false), 1);
	assert_int_equal(fake_ibv(&qps[0])->state, IBV_QPS_ERR);
	open_gate();
	expect_nothing();
	fake_run(&qps[0], FAKE_DEPTH);
	post(&qps[0], 2, IBV_SEND_SIGNALED);
	fake_run(&qps[0], FAKE_DEPTH);
	expect(1);
	expect(2);
	expect_nothing();
}

static int nested_left;

/* Another drain of the same gate, that has less time; then the work is done. */
static void drain_too(void *arg)
{
	if (nested_left < 0)
		nested_left = gate_drain(gate, clock_now_ns() + SHORT_NS, NULL,
					 NULL, NULL);
	else
		fake_run(arg, 1);
}

static void
drained_meanwhile__each_has_its_markers_and_its_deadline(void **state)
{
	(void)state;
	for (int i = 1; i < QPS; i++)
		gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[i])), 0);
	cq.cq.cqe = 8; /* as deep as the queue */
	for (uint64_t wr_id = 0; wr_id < 6; wr_id++)
		post(&qps[0], wr_id, IBV_SEND_SIGNALED);
	nested_left = -1;
	close_gate();
	assert_int_equal(gate_drain(gate, later(), NULL, drain_too, &qps[0]),
			 0);
	assert_int_equal(nested_left, 1);
	assert_true(qps[0].head >= 7);
	assert_int_equal(cq.cq.cqe, 8 + 2);
	open_gate();
	fake_run(&qps[0], FAKE_DEPTH);
	for (uint64_t wr_id = 0; wr_id < 6; wr_id++)
		expect(wr_id);
	expect_nothing();
}

static void states_and_kinds__told_apart(void **state)
{
	(void)state;
	fake_ibv(&qps[0])->state = IBV_QPS_INIT;
	fake_ibv(&qps[1])->state = IBV_QPS_ERR;
	fake_ibv(&qps[2])->state = IBV_QPS_SQD;
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[3])), 0);
	fake_qp_init(&qps[3], &fake_pds[0], &cq, IBV_QPT_RAW_PACKET);
	close_gate();
	assert_int_equal(drain(), 2);
	assert_int_equal(why[0], GATE_DRAINED);
	assert_int_equal(why[1], GATE_DRAINED);
	assert_int_equal(why[2], GATE_LEFT_STATE);
	assert_int_equal(why[3], GATE_LEFT_KIND);
	for (int i = 0; i < QPS; i++)
		assert_int_equal(qps[i].tail, 0);
	open_gate();
}

static void set_others_idle(void)
{
	for (int i = 1; i < QPS; i++)
		fake_ibv(&qps[i])->state = IBV_QPS_INIT;
}

static void expect_flushed(uint64_t wr_id)
{
	struct ibv_wc wc;

	assert_int_equal(ibv_poll_cq(&cq.cq, 1, &wc), 1);
	assert_int_equal(wc.wr_id, wr_id);
	assert_int_equal(wc.status, IBV_WC_WR_FLUSH_ERR);
}

static struct fake_cq extended;

/* The first QP again, with an extended CQ. */
static void extend(void)
{
	set_others_idle();
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	fake_cq_ex_init(&extended, FAKE_DEPTH / 2);
	fake_qp_init(&qps[0], &fake_pds[0], &extended, IBV_QPT_RC);
	qps[0].depth = 8;
}

static struct ibv_poll_cq_attr no_attr;

static void expect_read(int r, uint64_t wr_id, enum ibv_wc_status status)
{
	assert_int_equal(r, 0);
	assert_int_equal(extended.ex.wr_id, wr_id);
	assert_int_equal(extended.ex.status, status);
	assert_int_equal(ibv_wc_read_opcode(&extended.ex), IBV_WC_RDMA_WRITE);
	assert_int_equal(ibv_wc_read_qp_num(&extended.ex),
			 fake_ibv(&qps[0])->qp_num);
}

static int start_poll(void)
{
	return ibv_start_poll(&extended.ex, &no_attr);
}

static int next_poll(void)
{
	return ibv_next_poll(&extended.ex);
}

static void extended_cq__drained_and_read_in_order(void **state)
{
	(void)state;
	extend();
	assert_int_equal(start_poll(), ENOENT);
	for (uint64_t wr_id = 0; wr_id < 6; wr_id++)
		post(&qps[0], wr_id, wr_id == 3 ? 0 : IBV_SEND_SIGNALED);
	fake_run(&qps[0], 2);
	expect_read(start_poll(), 0, IBV_WC_SUCCESS);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	assert_true(is_done(&qps[0]));
	/* what it is reading is as it was */
	expect_read(0, 0, IBV_WC_SUCCESS);
	open_gate();
	expect_read(next_poll(), 1, IBV_WC_SUCCESS);
	expect_read(next_poll(), 2, IBV_WC_SUCCESS);
	ibv_end_poll(&extended.ex);
	expect_read(start_poll(), 4, IBV_WC_SUCCESS);
	expect_read(next_poll(), 5, IBV_WC_SUCCESS);
	assert_int_equal(next_poll(), ENOENT);
	ibv_end_poll(&extended.ex);
	assert_int_equal(start_poll(), ENOENT);
	assert_int_equal(extended.polls, 0); /* none has held its lock */
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

/* Before the first poll too; and each way of polling finds what is due. */
static void extended_cq__never_polled_is_drained(void **state)
{
	struct ibv_wc wc;

	(void)state;
	extend();
	for (uint64_t wr_id = 0; wr_id < 4; wr_id++)
		post(&qps[0], wr_id, IBV_SEND_SIGNALED);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	open_gate();
	expect_read(start_poll(), 0, IBV_WC_SUCCESS);
	ibv_end_poll(&extended.ex);
	assert_int_equal(ibv_poll_cq(&extended.cq, 1, &wc), 1);
	assert_int_equal(wc.wr_id, 1);
	expect_read(start_poll(), 2, IBV_WC_SUCCESS);
	expect_read(next_poll(), 3, IBV_WC_SUCCESS);
	assert_int_equal(next_poll(), ENOENT);
	ibv_end_poll(&extended.ex);
	assert_int_equal(ibv_poll_cq(&extended.cq, 1, &wc), 0);
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

static _Atomic bool is_reading_over, is_posting;

/* Posts more with each completion that it reads, as programs do, in one poll.
 */
static void *read_and_post(void *arg)
{
	uint64_t wr_id = 0;
	int r;

	(void)arg;
	do
		r = start_poll();
	while (r);
	while (!is_reading_over) {
		expect_read(r, wr_id++, IBV_WC_SUCCESS);
		is_posting = true;
		post(&qps[0], wr_id, IBV_SEND_SIGNALED);
		is_posting = false;
		do
			r = next_poll();
		while (r);
	}
	ibv_end_poll(&extended.ex);
	return NULL;
}

static void
extended_cq__post_in_a_poll_waits_and_the_drain_does_not(void **state)
{
	pthread_t thread;

	(void)state;
	extend();
	is_reading_over = is_posting = false;
	post(&qps[0], 0, IBV_SEND_SIGNALED);
	start_device();
	pthread_create(&thread, NULL, read_and_post, NULL);
	for (int round = 0; round < 10; round++) {
		close_gate();
		assert_int_equal(drain(), 0);
		assert_true(is_done(&qps[0]));
		/* it reads what was drained, then it waits in its poll */
		while (!is_posting)
			sched_yield();
		assert_int_equal(drain(), 0);
		while (!is_posting)
			sched_yield();
		if (round == 9)
			is_reading_over = true;
		open_gate();
	}
	pthread_join(thread, NULL);
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

static void *end_in_thread(void *arg)
{
	(void)arg;
	expect_read(0, 0, IBV_WC_SUCCESS);
	expect_read(next_poll(), 1, IBV_WC_SUCCESS);
	ibv_end_poll(&extended.ex);
	return NULL;
}

static _Atomic int started;

static void *start_in_thread(void *arg)
{
	*(int *)arg = start_poll();
	started++;
	return NULL;
}

/* Tasks go from thread to thread; another waits for the end all the same. */
static void extended_cq__poll_ends_in_another_thread(void **state)
{
	int r = -1, second = -1;
	pthread_t thread, waiter;

	(void)state;
	extend();
	for (uint64_t wr_id = 0; wr_id < 4; wr_id++)
		post(&qps[0], wr_id, IBV_SEND_SIGNALED);
	fake_run(&qps[0], 4);
	assert_int_equal(extended.polls, 0);
	r = start_poll();
	expect_read(r, 0, IBV_WC_SUCCESS);
	pthread_create(&thread, NULL, end_in_thread, NULL);
	pthread_join(thread, NULL);
	expect_read(start_poll(), 2, IBV_WC_SUCCESS);
	started = 0;
	pthread_create(&waiter, NULL, start_in_thread, &second);
	pthread_create(&thread, NULL, start_in_thread, &r);
	usleep(20000);
	assert_int_equal(started, 0);
	expect_read(0, 2, IBV_WC_SUCCESS);
	ibv_end_poll(&extended.ex);
	while (!started)
		sched_yield();
	usleep(20000);
	assert_int_equal(started, 1); /* the other waits for its end */
	expect_read(0, 3, IBV_WC_SUCCESS);
	ibv_end_poll(&extended.ex);
	pthread_join(waiter, NULL);
	pthread_join(thread, NULL);
	assert_int_equal(r + second, ENOENT); /* one found the last */
	assert_int_equal(extended.polls, 0);
	assert_false(extended.is_polled); /* nor ended one of the provider's */
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

/* Once a receive CQ alone, of a QP that is gone, and its poll is not. */
static void extended_cq__once_of_a_qp_that_is_gone__is_left(void **state)
{
	(void)state;
	set_others_idle();
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	fake_cq_ex_init(&extended, FAKE_DEPTH / 2);
	fake_ibv(&qps[0])->recv_cq = &extended.cq;
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RTS);
	fake_receive(&qps[0], 7);
	assert_int_equal(start_poll(), 0);
	assert_int_equal(extended.polls, 1);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	fake_qp_init(&qps[0], &fake_pds[0], &extended, IBV_QPT_RC);
	qps[0].depth = 8;
	close_gate();
	assert_int_equal(drain_until(clock_now_ns() + SHORT_NS), 1);
	assert_int_equal(why[0], GATE_LEFT_POLL);
	open_gate();
	ibv_end_poll(&extended.ex);
	assert_false(extended.is_polled);
	assert_int_equal(start_poll(), ENOENT);
	start_device();
	close_gate();
	assert_int_equal(drain(), 0);
	open_gate();
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

/* A poll begun before: its thread may keep the provider's lock as it likes. */
static void extended_cq__in_use_before_is_left_until_polled_again(void **state)
{
	(void)state;
	gate_detach(&fake_context.context);
	extend();
	for (uint64_t wr_id = 0; wr_id < 3; wr_id++)
		post(&qps[0], wr_id, IBV_SEND_SIGNALED);
	fake_run(&qps[0], 2);
	expect_read(start_poll(), 0, IBV_WC_SUCCESS);
	assert_int_equal(extended.polls, 1);
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	close_gate();
	assert_int_equal(drain(), 1);
	assert_int_equal(why[0], GATE_LEFT_POLL);
	open_gate();
	expect_read(0, 0, IBV_WC_SUCCESS);
	expect_read(next_poll(), 1, IBV_WC_SUCCESS);
	assert_int_equal(next_poll(), ENOENT);
	ibv_end_poll(&extended.ex);
	assert_int_equal(start_poll(), ENOENT);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	open_gate();
	expect_read(start_poll(), 2, IBV_WC_SUCCESS);
	ibv_end_poll(&extended.ex);
	assert_int_equal(extended.polls, 1);
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

static uint64_t read_completion_ts(struct ibv_cq_ex *ex)
{
	(void)ex;
	return 0;
}

/* Nobody but the program reads such a CQ, so nothing of it is waited for. */
static void extended_cq_that_tells_more__is_left_and_keeps_its_own(void **state)
{
	(void)state;
	extend();
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
	fake_cq_ex_init(&extended, FAKE_DEPTH / 2);
	extended.ex.read_completion_ts = read_completion_ts;
	fake_qp_init(&qps[0], &fake_pds[0], &extended, IBV_QPT_RC);
	post(&qps[0], 1, IBV_SEND_SIGNALED);
	fake_run(&qps[0], 1);
	post(&qps[0], 2, IBV_SEND_SIGNALED);
	close_gate();
	assert_int_equal(drain(), 1);
	assert_int_equal(why[0], GATE_LEFT_CQ);
	assert_int_equal(gate_sever(gate, false), 1);
	open_gate();
	post(&qps[0], 3, 0);
	fake_run(&qps[0], FAKE_DEPTH);
	expect_read(start_poll(), 1, IBV_WC_SUCCESS);
	assert_int_equal(extended.polls, 1);
	expect_read(next_poll(), 2, IBV_WC_WR_FLUSH_ERR);
	expect_read(next_poll(), 3, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(next_poll(), ENOENT);
	ibv_end_poll(&extended.ex);
	gate_cq_destroyed(gate_cq_destroying(&extended.cq), 0);
}

static void make_datagrams(struct fake_qp *qp, uint32_t qkey)
{
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(qp)), 0);
	fake_qp_init(qp, &fake_pds[0], &cq, IBV_QPT_UD);
	qp->depth = 8;
	qp->qkey = qkey;
}

/* The last of them, unsignaled, tells nothing by itself. */
static void datagrams__drained_and_completions_come_in_order(void **state)
{
	(void)state;
	set_others_idle();
	make_datagrams(&qps[0], 0x11111111);
	for (uint64_t i = 0; i < 7; i++)
		post(&qps[0], i, i % 3 == 1 ? IBV_SEND_SIGNALED : 0);
	close_gate();
	start_device();
	assert_int_equal(drain(), 0);
	assert_true(is_done(&qps[0]));
	open_gate();
	expect(1);
	expect(4);
	expect_nothing();
	assert_int_equal(fake_windows, 0);
	post(&qps[0], 8, IBV_SEND_SIGNALED);
}

/* A program's receive is not for it. */
static void datagrams__marker_reaches_nobody(void **state)
{
	static const uint32_t qkeys[] = {0, 0x11111111, 0x80010000, UINT32_MAX};

	(void)state;
	set_others_idle();
	for (size_t i = 0; i < sizeof(qkeys) / sizeof(*qkeys); i++) {
		const struct ibv_send_wr *marker = qps[0].queue;

		make_datagrams(&qps[0], qkeys[i]);
		close_gate();
		assert_int_equal(drain_until(clock_now_ns() + SHORT_NS), 1);
		open_gate();
		assert_int_equal(qps[0].tail, 1);
		assert_int_equal(marker->opcode, IBV_WR_SEND);
		assert_int_equal(marker->num_sge, 0);
		assert_int_equal(marker->wr.ud.remote_qpn,
				 fake_ibv(&qps[0])->qp_num);
		assert_int_not_equal(marker->wr.ud.remote_qkey, qkeys[i]);
		assert_false(marker->wr.ud.remote_qkey & 0x80000000);
		fake_run(&qps[0], 1);
		expect_nothing();
	}
	assert_int_equal(fake_windows, 0);
}

/* The kernel looks for a neighbour, and others are done meanwhile. */
static void datagrams_with_slow_address__nobody_else_is_late(void **state)
{
	(void)state;
	for (int i = 0; i < QPS; i++)
		if (i != 2)
			fake_ibv(&qps[i])->state = IBV_QPS_INIT;
	start_device_of(&qps[2]);
	/* the first drain of a context waits for more */
	close_gate();
	assert_int_equal(drain(), 0);
	open_gate();
	make_datagrams(&qps[0], 1);
	make_datagrams(&qps[1], 1);
	fake_address_ns = 2 * SHORT_NS;
	post(&qps[2], 1, IBV_SEND_SIGNALED);
	close_gate();
	assert_int_equal(drain_until(clock_now_ns() + SHORT_NS), 2);
	assert_int_equal(why[2], GATE_DRAINED);
	assert_int_equal(why[0], GATE_LEFT_LATE);
	assert_int_equal(why[1], GATE_LEFT_LATE);
	assert_int_equal(fake_addresses_made, 1);
	open_gate();
	expect(1);
	expect_nothing();
	assert_int_equal(fake_windows, 0);
}

/* In one CQ with a QP that is drained. */
static void datagrams_without_address__left_and_completions_come(void **state)
{
	fake_gids = 0;
	(void)state;
	for (int i = 1; i < QPS; i++)
		gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[i])), 0);
	fake_qp_init(&qps[1], &fake_pds[0], &cq, IBV_QPT_UD);
	post(&qps[1], 1, IBV_SEND_SIGNALED);
	fake_run(&qps[1], 1);
	post(&qps[1], 2, IBV_SEND_SIGNALED);
	cq.cq.cqe = FAKE_DEPTH;
	qps[1].depth = 8;
	close_gate();
	start_device_of(&qps[0]);
	assert_int_equal(drain(), 1);
	assert_int_equal(why[0], GATE_DRAINED);
	assert_int_equal(why[1], GATE_LEFT_KIND);
	assert_int_equal(gate_sever(gate, false), 1);
	open_gate();
	fake_receive(&qps[0], 50);
	post(&qps[1], 3, IBV_SEND_SIGNALED);
	fake_run(&qps[1], FAKE_DEPTH);
	expect(1);
	expect(50);
	expect_flushed(2);
	expect_flushed(3);
	expect_nothing();
}

static void *drain_in_thread(void *arg)
{
	*(int *)arg = drain();
	return NULL;
}

/* Until the marker is behind what was posted. */
static void wait_for_marker(struct fake_qp *qp, unsigned int tail)
{
	bool is_there = false;

	while (!is_there) {
		pthread_mutex_lock(&qp->lock);
		is_there = qp->tail >= tail;
		pthread_mutex_unlock(&qp->lock);
		sched_yield();
	}
}

static void destroyed_meanwhile__its_completions_go_with_it(void **state)
{
	pthread_t thread;
	int left = -1;

	(void)state;
	set_others_idle();
	post(&qps[0], 1, IBV_SEND_SIGNALED);
	post(&qps[0], 2, IBV_SEND_SIGNALED);
	fake_receive(&qps[1], 50);
	close_gate();
	pthread_create(&thread, NULL, drain_in_thread, &left);
	wait_for_marker(&qps[0], 3);
	fake_run(&qps[0], 1);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	pthread_join(thread, NULL);
	assert_int_equal(left, 0);
	open_gate();
	expect(50);
	expect_nothing();
	assert_int_equal(fake_windows, 0);
}

static void reset_meanwhile__its_completions_go_with_it(void **state)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
	pthread_t thread;
	int left = -1;

	(void)state;
	set_others_idle();
	post(&qps[0], 1, IBV_SEND_SIGNALED);
	close_gate();
	pthread_create(&thread, NULL, drain_in_thread, &left);
	wait_for_marker(&qps[0], 2);
	fake_verbs.modify_qp(fake_ibv(&qps[0]), &attr, IBV_QP_STATE);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RESET);
	pthread_join(thread, NULL);
	assert_int_equal(left, 0);
	open_gate();
	expect_nothing();
	attr.qp_state = IBV_QPS_RTS;
	fake_verbs.modify_qp(fake_ibv(&qps[0]), &attr, IBV_QP_STATE);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RTS);
	post(&qps[0], 7, IBV_SEND_SIGNALED);
	fake_run(&qps[0], 1);
	expect(7);
}

/* The same QP with another; as when it is made. */
static void send_to(struct fake_qp *qp, struct fake_cq *send_cq)
{
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(qp)), 0);
	fake_ibv(qp)->send_cq = &send_cq->cq;
	gate_qp_modified(fake_ibv(qp), IBV_QPS_RTS);
}

static void destroyed_cq__its_record_goes(void **state)
{
	struct fake_cq other;

	(void)state;
	fake_cq_init(&other, 16);
	for (int i = 0; i < QPS; i++)
		send_to(&qps[i], &other);
	cq.cq.cqe = 1; /* nobody completes there but receives */
	other.cq.cqe = FAKE_DEPTH;
	start_device();
	close_gate();
	assert_int_equal(drain(), 0);
	open_gate();
	gate_cq_destroyed(gate_cq_destroying(&other.cq), EBUSY);
	close_gate();
	assert_int_equal(drain(), 0);
	open_gate();
	gate_cq_destroyed(gate_cq_destroying(&other.cq), 0);
	assert_null(gate_cq_destroying(&other.cq));
}

/* A program: one QP and CQ for each thread. */
struct user {
	struct fake_qp *qp;
	struct fake_cq cq;
	unsigned long completed;
	const char *failed;
};

/* By whatever its CQ is for. */
static int poll_some(struct user *user, int count, struct ibv_wc *wc)
{
	struct ibv_cq_ex *ex = &user->cq.ex;
	int n = 0, r;

	if (!ex->start_poll)
		return ibv_poll_cq(&user->cq.cq, count, wc);
	for (r = ibv_start_poll(ex, &no_attr); !r; r = ibv_next_poll(ex)) {
		wc[n++] = (struct ibv_wc){.wr_id = ex->wr_id,
					  .status = ex->status,
					  .opcode = ibv_wc_read_opcode(ex)};
		if (n == count)
			break;
	}
	if (n)
		ibv_end_poll(ex);
	return n;
}

static void *use(void *arg)
{
	struct user *user = arg;
	uint64_t next = 0, seen = 0;
	struct ibv_wc wc[4];

	while ((!is_over || seen < next) && !user->failed) {
		int n;

		if (!is_over && next - seen < 8 &&
		    !fake_post(user->qp, next, IBV_SEND_SIGNALED))
			next++;
		n = poll_some(user, 4, wc);
		for (int i = 0; i < n; i++)
			if (wc[i].wr_id != seen++ || wc[i].status ||
			    wc[i].opcode != IBV_WC_RDMA_WRITE)
				user->failed = "not the completion that is due";
		if (!n)
			sched_yield();
	}
	user->completed = seen;
	return NULL;
}

static _Atomic bool is_device_over;

static void *work_to_the_end(void *arg)
{
	(void)arg;
	while (!is_device_over) {
		for (int i = 0; i < QPS; i++)
			fake_run(&qps[i], 3);
		sched_yield();
	}
	return NULL;
}

static void storm__every_completion_once_and_in_order(void **state)
{
	static struct user users[QPS];
	pthread_t threads[QPS], worker;

	(void)state;
	for (int i = 0; i < QPS; i++) {
		users[i] = (struct user){.qp = &qps[i]};
		fake_cq_init(&users[i].cq, 8);
		if (i == QPS - 1)
			make_datagrams(&qps[i], 1);
		if (i == QPS - 2) {
			fake_cq_ex_init(&users[i].cq, 8);
			gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[i])),
					  0);
			fake_qp_init(&qps[i], &fake_pds[0], &users[i].cq,
				     IBV_QPT_RC);
			qps[i].depth = 8;
		}
		if (i != QPS - 2)
			send_to(&qps[i], &users[i].cq);
		fake_ibv(&qps[i])->recv_cq = &users[i].cq.cq;
	}
	is_device_over = false;
	assert_int_equal(pthread_create(&worker, NULL, work_to_the_end, NULL),
			 0);
	if (SEES_TABLES_CHANGE) {
		close_gate();
		assert_int_equal(drain(), 0);
		open_gate();
	}
	for (int i = 0; i < QPS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, use, &users[i]), 0);
	for (int round = 0; round < ROUNDS; round++) {
		close_gate();
		assert_int_equal(drain(), 0);
		for (int i = 0; i < QPS; i++)
			if (!is_done(&qps[i]))
				fail_msg("not drained");
		open_gate();
	}
	is_over = true;
	for (int i = 0; i < QPS; i++)
		pthread_join(threads[i], NULL);
	is_device_over = true;
	pthread_join(worker, NULL);
	for (int i = 0; i < QPS; i++) {
		if (users[i].failed)
			fail_msg("%s", users[i].failed);
		assert_int_equal(users[i].completed, qps[i].posted);
		assert_false(users[i].cq.has_overrun);
	}
	assert_int_equal(fake_windows, 0);
	gate_cq_destroyed(gate_cq_destroying(&users[QPS - 2].cq.cq), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(drained__all_is_done_and_completions_come_in_order),
		TEST(nothing_posted__nothing_left),
		TEST(exact_cq__is_enlarged_and_not_overrun),
		TEST(small_cq__is_left_and_severed),
		TEST(full_queue__marker_waits_for_room),
		TEST(late__severed_and_its_marker_stays_unseen),
		TEST(drained_meanwhile__each_has_its_markers_and_its_deadline),
		TEST(states_and_kinds__told_apart),
		TEST(extended_cq__drained_and_read_in_order),
		TEST(extended_cq__never_polled_is_drained),
		TEST(extended_cq__post_in_a_poll_waits_and_the_drain_does_not),
		TEST(extended_cq__poll_ends_in_another_thread),
		TEST(extended_cq__in_use_before_is_left_until_polled_again),
		TEST(extended_cq_that_tells_more__is_left_and_keeps_its_own),
		TEST(datagrams__drained_and_completions_come_in_order),
		TEST(datagrams__marker_reaches_nobody),
		TEST(datagrams_with_slow_address__nobody_else_is_late),
		TEST(datagrams_without_address__left_and_completions_come),
		TEST(destroyed_meanwhile__its_completions_go_with_it),
		TEST(reset_meanwhile__its_completions_go_with_it),
		TEST(destroyed_cq__its_record_goes),
		TEST(storm__every_completion_once_and_in_order),
		/* the last: none is taken to be fresh after it */
		TEST(extended_cq__once_of_a_qp_that_is_gone__is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
