/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a gate has cost those who use its device, as another process would read
 * it: closings, posts that waited, queue pairs that were drained or not.
 */
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "gate_fake.h"
#include "list.h"
#include "unit.h"

#define QPS	4
#define LONG_NS (60 * 1000000000LL)

static struct fake_cq cq;
static struct fake_qp qps[QPS];
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
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gate_context_closing(&fake_context.context);
	return 0;
}

/* Of the device that there is; zeroes before anything was counted. */
static struct list_device look(void)
{
	struct list_device device = {.name = ""};
	pid_t pid = getpid();
	struct list list;

	assert_int_equal(list_find(&pid, 1, &list), 0);
	for (size_t i = 0; list.count && i < list.process->devices; i++)
		if (!strcmp(list.process->device[i].name,
			    fake_context.context.device->name))
			device = list.process->device[i];
	list_free(&list);
	return device;
}

static uint64_t more(const struct list_device *before, unsigned int what)
{
	return look().count[what] - before->count[what];
}

/* Once by itself, and once as a batch. */
static void *post_two(void *arg)
{
	struct fake_qp *qp = arg;

	if (fake_post(qp, 1, 0))
		return arg;
	ibv_wr_start(&qp->ex);
	ibv_wr_rdma_write(&qp->ex, 0, 0);
	return ibv_wr_complete(&qp->ex) ? arg : NULL;
}

static void open_gate__nothing_is_counted(void **state)
{
	struct list_device before = look();

	(void)state;
	assert_null(post_two(&qps[0]));
	for (unsigned int i = 0; i < STATS_DEVICE_COUNTS; i++)
		assert_int_equal(more(&before, i), 0);
}

static void closed_gate__posts_that_wait_are_counted(void **state)
{
	struct list_device before = look();
	struct gate *gate;
	pthread_t thread;
	void *failed;

	(void)state;
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	assert_int_equal(more(&before, STATS_GATE_CLOSINGS), 1);
	assert_int_equal(more(&before, STATS_WAITS), 0);
	assert_int_equal(pthread_create(&thread, NULL, post_two, &qps[0]), 0);
	/* It is counted as soon as it waits. */
	for (int64_t until_ns = later();
	     !more(&before, STATS_WAITS) && clock_now_ns() < until_ns;)
		usleep(1000);
	assert_int_equal(more(&before, STATS_WAITS), 1);
	assert_int_equal(more(&before, STATS_WAITED_NS), 0);
	gate_open(gate);
	pthread_join(thread, &failed);
	assert_null(failed);
	/* The second one met an open gate. */
	assert_int_equal(more(&before, STATS_WAITS), 1);
	assert_true(more(&before, STATS_WAITED_NS) > 0);
	assert_true(more(&before, STATS_GATE_NS) > 0);
}

static void *work(void *arg)
{
	while (!is_over) {
		fake_run(arg, 3);
		sched_yield();
	}
	return NULL;
}

static void drain__qps_are_counted_by_what_became_of_them(void **state)
{
	struct list_device before = look();
	struct gate *gate;
	pthread_t device;

	(void)state;
	assert_int_equal(fake_post(&qps[0], 1, 0), 0);
	fake_ibv(&qps[1])->state = IBV_QPS_ERR;
	fake_ibv(&qps[2])->state = IBV_QPS_SQD;
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[3])), 0);
	fake_qp_init(&qps[3], &fake_pds[0], &cq, IBV_QPT_RAW_PACKET);
	qps[3].depth = 8;
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	assert_int_equal(pthread_create(&device, NULL, work, &qps[0]), 0);
	assert_int_equal(gate_drain(gate, later(), NULL, NULL, NULL), 2);
	assert_int_equal(gate_sever(gate, false), 2);
	is_over = true;
	pthread_join(device, NULL);
	gate_open(gate);
	/* The one that is in ERR had nothing to drain. */
	assert_int_equal(more(&before, STATS_DRAINED), 1);
	assert_int_equal(more(&before, STATS_DRAINED + GATE_LEFT_STATE), 1);
	assert_int_equal(more(&before, STATS_DRAINED + GATE_LEFT_KIND), 1);
	assert_int_equal(more(&before, STATS_DRAINED + GATE_LEFT_LATE), 0);
	assert_int_equal(more(&before, STATS_SEVERED), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(open_gate__nothing_is_counted),
		TEST(closed_gate__posts_that_wait_are_counted),
		TEST(drain__qps_are_counted_by_what_became_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
