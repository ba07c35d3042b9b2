/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QPs and CQs that the program drives by direct verbs: nothing is posted to
 * the ones or taken from the others, and who cannot be drained is severed.
 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "gate/gate_cm.h"
#include "gate/gate_direct.h"
#include "gate_fake.h"
#include "unit.h"

#define QPS	3
#define ROUNDS	100
#define LONG_NS (60 * 1000000000LL)

static struct fake_cq cq, other_cq;
static struct fake_qp qps[QPS]; /* the last one has a CQ of its own */
static struct gate *gate;
static pthread_t device;
static _Atomic bool is_over;
static enum gate_left why[QPS];

static int64_t later(void)
{
	return clock_now_ns() + LONG_NS;
}

static void *work(void *arg)
{
	while (!is_over) {
		for (int i = 0; i < QPS; i++)
			fake_run(&qps[i], 3);
		sched_yield();
	}
	return arg;
}

static int set_up(void **state)
{
	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH / 2);
	fake_cq_init(&other_cq, FAKE_DEPTH / 2);
	for (int i = 0; i < QPS; i++) {
		fake_qp_init(&qps[i], &fake_pds[0],
			     i < QPS - 1 ? &cq : &other_cq, IBV_QPT_RC);
		qps[i].depth = 8;
	}
	is_over = false;
	gate = NULL;
	return pthread_create(&device, NULL, work, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	is_over = true;
	pthread_join(device, NULL);
	if (gate)
		gate_open(gate);
	gate_context_closing(&fake_context.context);
	return 0;
}

static void attach(void)
{
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
}

static void note(void *arg, uint32_t qp_num, enum gate_left left)
{
	(void)arg;
	for (int i = 0; i < QPS; i++)
		if (fake_ibv(&qps[i])->qp_num == qp_num)
			why[i] = left;
}

/* Closes the gate. How many were left. */
static int drain(void)
{
	memset(why, 0, sizeof(why));
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	return gate_drain(gate, later(), note, NULL, NULL);
}

static void open_gate(void)
{
	gate_open(gate);
	gate = NULL;
}

static unsigned int posted(struct fake_qp *qp)
{
	unsigned int tail;

	pthread_mutex_lock(&qp->lock);
	tail = qp->tail;
	pthread_mutex_unlock(&qp->lock);
	return tail;
}

static enum ibv_qp_state state_of(struct fake_qp *qp)
{
	enum ibv_qp_state now;

	pthread_mutex_lock(&qp->lock);
	now = fake_ibv(qp)->state;
	pthread_mutex_unlock(&qp->lock);
	return now;
}

/* It alone is left, with nothing of ours in its ring, and goes. */
static void expect_severed(int at)
{
	assert_int_equal(drain(), 1);
	assert_int_equal(why[at], GATE_LEFT_DIRECT);
	assert_int_equal(posted(&qps[at]), 0);
	for (int i = 0; i < QPS; i++)
		assert_int_equal(posted(&qps[i]), i != at);
	assert_int_equal(gate_sever(gate, false), 1);
	for (int i = 0; i < QPS; i++)
		assert_int_equal(state_of(&qps[i]),
				 i == at ? IBV_QPS_ERR : IBV_QPS_RTS);
	open_gate();
}

static void qp__is_severed_without_a_marker(void **state)
{
	(void)state;
	attach();
	other_cq.cq.cqe = 8;
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[2]), NULL), 0);
	expect_severed(2);
	/* and no room was made for one */
	assert_int_equal(other_cq.cq.cqe, 8);
}

static void qp_before_the_context_is_attached__is_known(void **state)
{
	(void)state;
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[1]), NULL), 0);
	attach();
	expect_severed(1);
}

/* The program takes it to RTS by a call that nobody sees (DevX). */
static void qp_that_nobody_has_modified__is_known(void **state)
{
	(void)state;
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), NULL), 0);
	attach();
	expect_severed(0);
}

static void cq__its_qps_are_severed_and_nothing_is_taken(void **state)
{
	(void)state;
	attach();
	other_cq.cq.cqe = 8;
	assert_int_equal(gate_direct_begin(NULL, &other_cq.cq), 0);
	assert_int_equal(fake_post(&qps[2], 1, IBV_SEND_SIGNALED), 0);
	assert_int_equal(drain(), 1);
	assert_int_equal(why[2], GATE_LEFT_DIRECT);
	assert_int_equal(posted(&qps[2]), 1);
	assert_int_equal(gate_sever(gate, false), 1);
	assert_int_equal(state_of(&qps[2]), IBV_QPS_ERR);
	open_gate();
	while (!qps[2].done)
		sched_yield();
	pthread_mutex_lock(&other_cq.lock);
	assert_int_equal(other_cq.cq.cqe, 8);
	assert_int_equal(other_cq.head, 0);
	assert_int_equal(other_cq.tail, 1);
	pthread_mutex_unlock(&other_cq.lock);
}

/* Receives are not waited for. */
static void cq_for_receives__does_not_matter(void **state)
{
	(void)state;
	attach();
	fake_ibv(&qps[0])->recv_cq = &other_cq.cq;
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[2])), 0);
	assert_int_equal(gate_direct_begin(NULL, &other_cq.cq), 0);
	assert_int_equal(drain(), 0);
	assert_int_equal(posted(&qps[0]), 1);
}

static void qp_that_cannot_send__is_not_severed(void **state)
{
	(void)state;
	attach();
	for (int i = 0; i < QPS; i++)
		assert_int_equal(gate_direct_begin(fake_ibv(&qps[i]), NULL), 0);
	fake_ibv(&qps[0])->state = IBV_QPS_INIT;
	fake_ibv(&qps[1])->state = IBV_QPS_RTR;
	fake_ibv(&qps[2])->state = IBV_QPS_ERR;
	assert_int_equal(drain(), 0);
}

static void asked_in_vain__is_drained_as_ever(void **state)
{
	(void)state;
	attach();
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), &other_cq.cq), 0);
	gate_direct_undo(fake_ibv(&qps[0]), &other_cq.cq);
	assert_int_equal(drain(), 0);
	for (int i = 0; i < QPS; i++)
		assert_int_equal(posted(&qps[i]), 1);
}

/* A second question that fails takes nothing back. */
static void asked_again_in_vain__is_severed_all_the_same(void **state)
{
	(void)state;
	attach();
	for (int i = 0; i < 2; i++)
		assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), NULL), 0);
	gate_direct_undo(fake_ibv(&qps[0]), NULL);
	expect_severed(0);
}

/* What its driver knows of the ring is not what the program thinks. */
static void drained_before__is_refused(void **state)
{
	(void)state;
	attach();
	assert_int_equal(drain(), 0);
	open_gate();
	errno = 0;
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), NULL), -EBUSY);
	assert_int_equal(gate_direct_begin(NULL, &cq.cq), -EBUSY);
	assert_int_equal(errno, 0);
	/* and drained again */
	assert_int_equal(drain(), 0);
	open_gate();
	/* a reset empties a QP's ring, not a CQ's */
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RESET);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RTS);
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), &cq.cq), -EBUSY);
	assert_int_equal(drain(), 0);
	open_gate();
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RESET);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RTS);
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), NULL), 0);
	assert_int_equal(drain(), 1);
	assert_int_equal(why[0], GATE_LEFT_DIRECT);
}

static void reset__the_program_still_knows_the_ring(void **state)
{
	(void)state;
	attach();
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), NULL), 0);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RESET);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RTS);
	expect_severed(0);
}

/* Another object lies where it did. */
static void destroyed__next_one_is_drained(void **state)
{
	(void)state;
	attach();
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[2]), &other_cq.cq), 0);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[2])), 0);
	gate_cq_destroyed(gate_cq_destroying(&other_cq.cq), 0);
	gate_qp_modified(fake_ibv(&qps[2]), IBV_QPS_RTS);
	assert_int_equal(drain(), 0);
	assert_int_equal(posted(&qps[2]), 1);
}

static unsigned int disconnected;

static int disconnect(struct cm_id *id)
{
	disconnected += id->qp == fake_ibv(&qps[0]);
	return 0;
}

static void qp_of_librdmacm__its_connection_is_ended(void **state)
{
	static char channel;
	struct cm_id id = {.verbs = &fake_context.context,
			   .channel = &channel,
			   .qp = fake_ibv(&qps[0])};

	(void)state;
	attach();
	disconnected = 0;
	gate_cm_channel_made(&channel);
	gate_cm_qp_made(&id, disconnect);
	assert_int_equal(gate_direct_begin(fake_ibv(&qps[0]), NULL), 0);
	expect_severed(0);
	assert_int_equal(gate_disconnect(), 1);
	assert_int_equal(disconnected, 1);
	gate_cm_channel_going(&channel);
}

static void why__has_a_sentence(void **state)
{
	(void)state;
	assert_non_null(strstr(gate_left_name(GATE_LEFT_DIRECT), "direct"));
}

static struct ibv_mw *(*alloc_mw)(struct ibv_pd *pd, enum ibv_mw_type type);
static struct ibv_qp *asked_qp;
static struct ibv_cq *asked_cq;

/* What a marker needs is there; it is posted next. */
static struct ibv_mw *ask_late(struct ibv_pd *pd, enum ibv_mw_type type)
{
	if (asked_qp || asked_cq)
		assert_int_equal(gate_direct_begin(asked_qp, asked_cq), 0);
	asked_qp = NULL;
	asked_cq = NULL;
	return alloc_mw(pd, type);
}

static void ask_before_the_marker(struct ibv_qp *qp, struct ibv_cq *of)
{
	for (int i = 0; i < QPS - 1; i++)
		gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[i])), 0);
	attach();
	alloc_mw = fake_context.context.ops.alloc_mw;
	fake_context.context.ops.alloc_mw = ask_late;
	asked_qp = qp;
	asked_cq = of;
	assert_int_equal(drain(), 1);
	assert_null(asked_qp);
	assert_null(asked_cq);
	assert_int_equal(why[QPS - 1], GATE_LEFT_DIRECT);
	assert_int_equal(posted(&qps[QPS - 1]), 0);
	fake_context.context.ops.alloc_mw = alloc_mw;
	assert_int_equal(gate_sever(gate, false), 1);
}

static void qp_while_drained__gets_no_marker(void **state)
{
	(void)state;
	ask_before_the_marker(fake_ibv(&qps[QPS - 1]), NULL);
}

static void cq_while_drained__gets_no_marker(void **state)
{
	(void)state;
	ask_before_the_marker(NULL, &other_cq.cq);
}

static _Atomic bool is_asked;
static int answers[QPS];
static int cq_answer;

/* Each QP by itself, and the CQ of the last. */
static void *ask(void *arg)
{
	is_asked = true;
	for (int i = 0; i < QPS; i++)
		answers[i] = gate_direct_begin(fake_ibv(&qps[i]), NULL);
	cq_answer = gate_direct_begin(NULL, &other_cq.cq);
	return arg;
}

/* Nothing of ours is in a ring that the program got at, whoever was first. */
static void asked_while_drained__one_of_them_comes_first(void **state)
{
	pthread_t thread;

	attach();
	for (int round = 0; round < ROUNDS; round++) {
		is_asked = false;
		assert_int_equal(pthread_create(&thread, NULL, ask, NULL), 0);
		while (!is_asked && round % 2)
			;
		drain();
		pthread_join(thread, NULL);
		for (int i = 0; i < QPS; i++) {
			if (!answers[i])
				assert_int_equal(posted(&qps[i]), 0);
			else
				assert_int_equal(answers[i], -EBUSY);
			assert_true(why[i] == GATE_DRAINED ||
				    why[i] == GATE_LEFT_DIRECT);
		}
		if (!cq_answer)
			assert_int_equal(posted(&qps[QPS - 1]), 0);
		tear_down(state);
		set_up(state);
		attach();
	}
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(qp__is_severed_without_a_marker),
		CASE(qp_before_the_context_is_attached__is_known),
		CASE(qp_that_nobody_has_modified__is_known),
		CASE(cq__its_qps_are_severed_and_nothing_is_taken),
		CASE(cq_for_receives__does_not_matter),
		CASE(qp_that_cannot_send__is_not_severed),
		CASE(asked_in_vain__is_drained_as_ever),
		CASE(asked_again_in_vain__is_severed_all_the_same),
		CASE(drained_before__is_refused),
		CASE(reset__the_program_still_knows_the_ring),
		CASE(destroyed__next_one_is_drained),
		CASE(qp_of_librdmacm__its_connection_is_ended),
		CASE(why__has_a_sentence),
		CASE(qp_while_drained__gets_no_marker),
		CASE(cq_while_drained__gets_no_marker),
		CASE(asked_while_drained__one_of_them_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
