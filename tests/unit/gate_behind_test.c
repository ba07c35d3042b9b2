/* SPDX-License-Identifier: BSD-2-Clause */
/* Somebody else puts himself before us in a context, and is there when we come
 * again: his functions call ours, ours call his. */
#include <unistd.h>

#include "clock.h"
#include "gate_fake.h"
#include "unit.h"

#define QPS	2
#define LONG_NS (60 * 1000000000LL)

static struct fake_cq cq;
static struct fake_qp qps[QPS];
static struct gate *gate;
static struct ibv_context_ops behind;
static unsigned int seen_elsewhere;

static int set_up(void **state)
{
	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH / 2);
	for (int i = 0; i < QPS; i++) {
		fake_qp_init(&qps[i], &fake_pds[0], &cq, IBV_QPT_RC);
		qps[i].depth = 8;
	}
	seen_elsewhere = 0;
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	alarm(120); /* else it would be for ever */
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	alarm(0);
	gate_context_closing(&fake_context.context);
	return 0;
}

static void run_device(void *arg)
{
	(void)arg;
	for (int i = 0; i < QPS; i++)
		fake_run(&qps[i], 3);
}

static void close_and_drain(void)
{
	int64_t deadline_ns = clock_now_ns() + LONG_NS;

	assert_int_equal(gate_close(&fake_pds[0], deadline_ns, &gate), 0);
	assert_int_equal(gate_drain(gate, deadline_ns, NULL, run_device, NULL),
			 0);
}

static int post_elsewhere(struct ibv_qp *qp, struct ibv_send_wr *wr,
			  struct ibv_send_wr **bad_wr)
{
	seen_elsewhere++;
	return behind.post_send(qp, wr, bad_wr);
}

static int bind_elsewhere(struct ibv_qp *qp, struct ibv_mw *mw,
			  struct ibv_mw_bind *bind)
{
	seen_elsewhere++;
	return behind.bind_mw(qp, mw, bind);
}

static int poll_elsewhere(struct ibv_cq *of, int count, struct ibv_wc *wc)
{
	seen_elsewhere++;
	return behind.poll_cq(of, count, wc);
}

static void expect_one(uint64_t wr_id)
{
	struct ibv_wc wc[4];

	assert_int_equal(ibv_poll_cq(&cq.cq, 4, wc), 1);
	assert_int_equal(wc[0].wr_id, wr_id);
}

static void posts__the_drain_waits_for_no_gate(void **state)
{
	struct ibv_send_wr wr = {.wr_id = 77}, *bad_wr;

	(void)state;
	behind = fake_context.context.ops;
	fake_context.context.ops.post_send = post_elsewhere;
	fake_context.context.ops.bind_mw = bind_elsewhere;
	gate_detach(&fake_context.context);
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	assert_int_equal(fake_post(&qps[0], 0, IBV_SEND_SIGNALED), 0);
	assert_int_equal(seen_elsewhere, 1);
	close_and_drain();
	assert_int_equal(gate_post_past(NULL, fake_ibv(&qps[1]), &wr, &bad_wr),
			 0);
	assert_true(seen_elsewhere >= 3);
	gate_open(gate);
	expect_one(0);
}

/* Ours stays where the first drain has put it. */
static void
polls__neither_a_drain_nor_the_program_waits_for_itself(void **state)
{
	(void)state;
	close_and_drain();
	gate_open(gate);
	behind = fake_context.context.ops;
	fake_context.context.ops.poll_cq = poll_elsewhere;
	for (uint64_t wr_id = 1; wr_id < 4; wr_id++) {
		assert_int_equal(fake_post(&qps[0], wr_id, IBV_SEND_SIGNALED),
				 0);
		close_and_drain();
		assert_true(seen_elsewhere);
		seen_elsewhere = 0;
		expect_one(wr_id); /* and asks the device for more */
		assert_true(seen_elsewhere);
		gate_open(gate);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(posts__the_drain_waits_for_no_gate),
		TEST(polls__neither_a_drain_nor_the_program_waits_for_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
