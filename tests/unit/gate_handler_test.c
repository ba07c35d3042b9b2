/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A signal handler that posts within a poll, around a drain: its post is in the
 * drain, or waits. The device is one that is not there.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "gate_fake.h"
#include "unit.h"

#define LONG_NS	 (60 * 1000000000LL)
#define SHORT_NS (LONG_NS / 60)

static struct fake_cq cq;
/* One that has sent, and one that may not send yet. */
static struct fake_qp ready, unready;
static struct fake_qp *handlers_qp;
static struct gate *gate;
static pthread_t device, poller;
static _Atomic bool is_over, is_in_poll, is_to_post;
static _Atomic pid_t poller_tid;
static int polled;

static int64_t in(int64_t ns)
{
	return clock_now_ns() + ns;
}

static void close_gate(void)
{
	assert_int_equal(gate_close(&fake_pds[0], in(LONG_NS), &gate), 0);
}

static int drain(int64_t ns)
{
	return gate_drain(gate, in(ns), NULL, NULL, NULL);
}

static unsigned long posted_to(struct fake_qp *qp)
{
	unsigned long posted;

	pthread_mutex_lock(&qp->lock);
	posted = qp->posted;
	pthread_mutex_unlock(&qp->lock);
	return posted;
}

static void *work(void *arg)
{
	(void)arg;
	while (!is_over) {
		fake_run(&ready, 3);
		sched_yield();
	}
	return NULL;
}

/* In the middle of a poll. */
static void handler(void)
{
	is_in_poll = true;
	while (!is_to_post)
		sched_yield();
	fake_post(handlers_qp, 7, IBV_SEND_SIGNALED);
}

static void *poll_interrupted(void *arg)
{
	struct ibv_wc wc;

	(void)arg;
	poller_tid = (pid_t)syscall(SYS_gettid);
	/* a thread's first poll asks, with signals blocked */
	polled = ibv_poll_cq(&cq.cq, 1, &wc);
	fake_in_poll = handler;
	polled += ibv_poll_cq(&cq.cq, 1, &wc);
	return NULL;
}

/* The first drain of a context makes polls seen. */
static int set_up(void **state)
{
	struct ibv_wc wc;

	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH);
	fake_qp_init(&ready, &fake_pds[0], &cq, IBV_QPT_RC);
	fake_qp_init(&unready, &fake_pds[0], &cq, IBV_QPT_RC);
	/* so that a marker has room in the CQ */
	ready.depth = unready.depth = 8;
	is_over = is_in_poll = is_to_post = false;
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	fake_ibv(&unready)->state = IBV_QPS_INIT;
	pthread_create(&device, NULL, work, NULL);
	close_gate();
	assert_int_equal(drain(LONG_NS), 0);
	gate_open(gate);
	assert_int_equal(ibv_poll_cq(&cq.cq, 1, &wc), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	is_over = true;
	pthread_join(device, NULL);
	gate_context_closing(&fake_context.context);
	return 0;
}

static void start_poll_that_posts_to(struct fake_qp *qp)
{
	handlers_qp = qp;
	pthread_create(&poller, NULL, poll_interrupted, NULL);
	while (!is_in_poll)
		sched_yield();
}

static bool poller_sleeps(void)
{
	char path[64], text[512] = "";
	const char *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
		 (int)poller_tid);
	file = fopen(path, "re");
	assert_non_null(file);
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	state = strrchr(text, ')');
	return state && state[1] && state[2] == 'S';
}

/* The handler goes on, up to the gate. */
static void let_post_and_wait(void)
{
	is_to_post = true;
	while (!poller_sleeps())
		sched_yield();
}

/* With the gate open: the handler's completion is the only one. */
static void expect_one(void)
{
	struct ibv_wc wc;

	pthread_join(poller, NULL);
	is_over = true;
	pthread_join(device, NULL);
	pthread_create(&device, NULL, work, NULL);
	fake_run(&ready, FAKE_DEPTH);
	assert_int_equal(polled + ibv_poll_cq(&cq.cq, 1, &wc), 1);
	assert_int_equal(ibv_poll_cq(&cq.cq, 1, &wc), 0);
}

static void during_the_drain__is_in_it(void **state)
{
	unsigned long before;
	int left;

	(void)state;
	start_poll_that_posts_to(&ready);
	close_gate();
	is_to_post = true;
	left = drain(LONG_NS / 6);
	before = posted_to(&ready);
	gate_open(gate);
	expect_one();
	assert_int_equal(left, 0);
	assert_int_equal(posted_to(&ready), before);
}

static void before_the_drain__waits_for_it_and_is_in_it(void **state)
{
	unsigned long before, waiting;
	int left;

	(void)state;
	start_poll_that_posts_to(&ready);
	close_gate();
	before = posted_to(&ready);
	let_post_and_wait();
	waiting = posted_to(&ready);
	left = drain(LONG_NS / 6);
	gate_open(gate);
	expect_one();
	assert_int_equal(waiting, before);
	assert_int_equal(left, 0);
	assert_int_equal(posted_to(&ready), before + 1);
}

/* As where an MR has just been exchanged. */
static void without_a_drain__waits_until_open(void **state)
{
	unsigned long before, waiting;

	(void)state;
	start_poll_that_posts_to(&ready);
	close_gate();
	before = posted_to(&ready);
	let_post_and_wait();
	waiting = posted_to(&ready);
	gate_open(gate);
	expect_one();
	assert_int_equal(waiting, before);
	assert_int_equal(posted_to(&ready), before + 1);
}

/* Work that no marker comes behind would be told as drained. */
static void to_a_qp_without_marker__waits_until_open(void **state)
{
	unsigned long before;
	int left;

	(void)state;
	start_poll_that_posts_to(&unready);
	close_gate();
	is_to_post = true;
	left = drain(SHORT_NS);
	before = posted_to(&unready);
	gate_open(gate);
	pthread_join(poller, NULL);
	assert_int_equal(left, 1); /* its poll did not end */
	assert_int_equal(before, 0);
	assert_int_equal(posted_to(&unready), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(during_the_drain__is_in_it),
		TEST(before_the_drain__waits_for_it_and_is_in_it),
		TEST(without_a_drain__waits_until_open),
		TEST(to_a_qp_without_marker__waits_until_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
