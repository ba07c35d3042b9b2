/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QPs and PDs that are shared or have something beside their PD: XRC, parent
 * domains, imported contexts.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "gate/gate_pd.h"
#include "gate_fake.h"
#include "unit.h"

#define LONG_NS (60 * 1000000000LL)

static struct fake_cq cq;
static struct fake_qp qp;
static struct gate *gate;
static pthread_t device;
static _Atomic bool is_over;
static enum gate_left why;

static int64_t later(void)
{
	return clock_now_ns() + LONG_NS;
}

static void *work(void *arg)
{
	while (!is_over) {
		fake_run(&qp, 1);
		sched_yield();
	}
	return arg;
}

static int set_up(void **state)
{
	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH / 2);
	is_over = false;
	return gate_attach(&fake_context.context, &fake_verbs);
}

static int tear_down(void **state)
{
	(void)state;
	is_over = true;
	pthread_join(device, NULL);
	gate_open(gate);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qp)), 0);
	gate_context_closing(&fake_context.context);
	return 0;
}

static void note(void *arg, uint32_t qp_num, enum gate_left left)
{
	(void)arg;
	if (fake_ibv(&qp)->qp_num == qp_num)
		why = left;
}

static int drain(void)
{
	assert_int_equal(pthread_create(&device, NULL, work, NULL), 0);
	why = GATE_DRAINED;
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	return gate_drain(gate, later(), note, NULL, NULL);
}

/* As ibv_open_qp() makes it: of nothing but its context. */
static void xrc_qp_that_was_opened__has_nothing_to_drain(void **state)
{
	struct ibv_qp *ibqp = fake_ibv(&qp);

	(void)state;
	fake_qp_init(&qp, NULL, &cq, IBV_QPT_XRC_RECV);
	qp.depth = 8;
	ibqp->send_cq = ibqp->recv_cq = NULL;
	assert_int_equal(drain(), 0);
	assert_int_equal(qp.tail, 0);
	assert_int_equal(gate_sever(gate, false), 0);
	assert_int_equal(ibqp->state, IBV_QPS_RTS);
	/* where all go it goes too: it may reach any PD's regions */
	assert_int_equal(gate_sever(gate, true), 1);
}

static void xrc_qp_that_sends__is_drained(void **state)
{
	(void)state;
	fake_qp_init(&qp, &fake_pds[0], &cq, IBV_QPT_XRC_SEND);
	qp.depth = 8;
	fake_ibv(&qp)->recv_cq = NULL;
	for (uint64_t wr_id = 0; wr_id < 4; wr_id++)
		assert_int_equal(fake_post(&qp, wr_id, 0), 0);
	assert_int_equal(drain(), 0);
	assert_int_equal(qp.posted, qp.done);
	assert_int_equal(qp.head, 5); /* and the marker */
	assert_int_equal(gate_sever(gate, false), 0);
}

/* Its work would not fit with the marker into the one CQ that it has. */
static void xrc_qp_that_sends__its_cq_is_enlarged(void **state)
{
	(void)state;
	fake_qp_init(&qp, &fake_pds[0], &cq, IBV_QPT_XRC_SEND);
	qp.depth = 8;
	fake_ibv(&qp)->recv_cq = NULL;
	cq.cq.cqe = 8;
	assert_int_equal(drain(), 0);
	assert_int_equal(cq.cq.cqe, 9);
}

/*
 * What completes there of an XRC SRQ no QP tells of: all of the CQ may be the
 * program's. Once is enough, until the program itself gives it another size.
 */
static void xrc_qp_that_sends__its_cq_has_room_beside_what_it_had(void **state)
{
	(void)state;
	fake_qp_init(&qp, &fake_pds[0], &cq, IBV_QPT_XRC_SEND);
	qp.depth = 8;
	fake_ibv(&qp)->recv_cq = NULL;
	cq.cq.cqe = 20;
	assert_int_equal(drain(), 0);
	assert_int_equal(cq.cq.cqe, 21);
	assert_int_equal(gate_drain(gate, later(), note, NULL, NULL), 0);
	assert_int_equal(cq.cq.cqe, 21);
	assert_int_equal(fake_verbs.resize_cq(&cq.cq, 30), 0);
	assert_int_equal(gate_drain(gate, later(), note, NULL, NULL), 0);
	assert_int_equal(cq.cq.cqe, 31);
}

/* As large as the device has them. */
static void xrc_qp_that_sends__is_left_where_its_cq_stays(void **state)
{
	(void)state;
	fake_qp_init(&qp, &fake_pds[0], &cq, IBV_QPT_XRC_SEND);
	qp.depth = 8;
	fake_ibv(&qp)->recv_cq = NULL;
	cq.cq.cqe = FAKE_DEPTH;
	assert_int_equal(drain(), 1);
	assert_int_equal(why, GATE_LEFT_CQ);
	assert_int_equal(qp.tail, 0);
}

static void parent_domain__has_the_qps_of_its_pd(void **state)
{
	struct ibv_pd parent = fake_pds[0];

	(void)state;
	fake_qp_init(&qp, &parent, &cq, IBV_QPT_RC);
	qp.depth = 8;
	assert_int_equal(fake_post(&qp, 1, 0), 0);
	assert_int_equal(drain(), 0);
	assert_int_equal(qp.posted, qp.done);
	assert_int_equal(qp.head, 2);
	assert_int_equal(gate_sever(gate, true), 1);
}

static void parent_domain__its_regions_are_those_of_its_pd(void **state)
{
	struct ibv_pd parent = fake_pds[0];
	struct gate *of_parent;

	(void)state;
	fake_qp_init(&qp, &fake_pds[0], &cq, IBV_QPT_RC);
	qp.depth = 8;
	assert_int_equal(fake_post(&qp, 1, 0), 0);
	assert_int_equal(drain(), 0);
	assert_int_equal(gate_close(&parent, later(), &of_parent), 0);
	assert_int_equal(gate_drain(of_parent, later(), note, NULL, NULL), 0);
	assert_int_equal(qp.head, 3); /* a marker each */
	gate_open(of_parent);
}

/* On the same PD, but what it posts nobody holds up. */
static void qp_of_an_imported_context__is_left_alone(void **state)
{
	struct verbs_context imported = fake_context;
	struct ibv_pd pd = fake_pds[0];

	(void)state;
	pd.context = &imported.context;
	fake_qp_init(&qp, &pd, &cq, IBV_QPT_RC);
	qp.depth = 8;
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qp)), 0);
	fake_ibv(&qp)->context = &imported.context;
	gate_qp_modified(fake_ibv(&qp), IBV_QPS_RTS);
	assert_int_equal(drain(), 0);
	assert_int_equal(qp.tail, 0);
	assert_int_equal(gate_sever(gate, true), 0);
	gate_context_closing(&imported.context);
	assert_int_equal(fake_post(&qp, 1, 0), 0);
}

static void imported_pd__is_known_until_it_goes(void **state)
{
	(void)state;
	assert_false(gate_pd_is_imported(&fake_pds[0]));
	gate_pd_imported(&fake_pds[0]);
	gate_pd_imported(&fake_pds[1]);
	assert_true(gate_pd_is_imported(&fake_pds[0]));
	assert_true(gate_pd_going(&fake_pds[0]));
	assert_false(gate_pd_is_imported(&fake_pds[0]));
	assert_true(gate_pd_is_imported(&fake_pds[1]));
	assert_false(gate_pd_going(&fake_pds[0]));
}

/* It is another struct, with the same handle. */
static void imported_pd__its_parent_domain_is_one_too(void **state)
{
	struct verbs_context elsewhere = fake_context;
	struct ibv_pd parent = fake_pds[1], stranger = fake_pds[1];

	(void)state;
	stranger.context = &elsewhere.context;
	gate_pd_imported(&fake_pds[1]);
	assert_true(gate_pd_is_imported(&parent));
	assert_false(gate_pd_is_imported(&stranger));
	/* that one going takes nothing away */
	assert_false(gate_pd_going(&parent));
	assert_true(gate_pd_is_imported(&fake_pds[1]));
	assert_true(gate_pd_going(&fake_pds[1]));
	assert_false(gate_pd_is_imported(&parent));
}

static void imported_context__is_closed_with_its_pds(void **state)
{
	(void)state;
	gate_pd_imported(&fake_pds[0]);
	gate_pd_imported(&fake_pds[1]);
	gate_context_closing(&fake_context.context);
	assert_false(gate_pd_is_imported(&fake_pds[0]));
	assert_false(gate_pd_is_imported(&fake_pds[1]));
}

static _Atomic bool ends;

static void *import_and_unimport(void *arg)
{
	while (!ends) {
		gate_pd_imported(arg);
		gate_pd_going(arg);
	}
	return NULL;
}

/* The lock is nobody's there. */
static void imported_pd__child_can_ask(void **state)
{
	pthread_t thread;
	int status;
	pid_t pid;

	(void)state;
	ends = false;
	gate_pd_imported(&fake_pds[1]);
	assert_int_equal(pthread_create(&thread, NULL, import_and_unimport,
					&fake_pds[0]),
			 0);
	for (int i = 0; i < 50; i++) {
		pid = fork();
		if (pid == 0) {
			alarm(60);
			_exit(!gate_pd_is_imported(&fake_pds[1]));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	ends = true;
	pthread_join(thread, NULL);
	assert_true(gate_pd_going(&fake_pds[1]));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(xrc_qp_that_was_opened__has_nothing_to_drain),
		CASE(xrc_qp_that_sends__is_drained),
		CASE(xrc_qp_that_sends__its_cq_is_enlarged),
		CASE(xrc_qp_that_sends__its_cq_has_room_beside_what_it_had),
		CASE(xrc_qp_that_sends__is_left_where_its_cq_stays),
		CASE(parent_domain__has_the_qps_of_its_pd),
		CASE(parent_domain__its_regions_are_those_of_its_pd),
		CASE(qp_of_an_imported_context__is_left_alone),
		cmocka_unit_test(imported_pd__is_known_until_it_goes),
		cmocka_unit_test(imported_context__is_closed_with_its_pds),
		cmocka_unit_test(imported_pd__its_parent_domain_is_one_too),
		cmocka_unit_test(imported_pd__child_can_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
