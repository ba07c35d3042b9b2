/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose connections are ended when QPs are severed, with ids that are the
 * test's own.
 */
#include <stdatomic.h>
#include <time.h>

#include "clock.h"
#include "gate/gate_cm.h"
#include "gate_fake.h"
#include "unit.h"

#define QPS	 3
#define WAIT_SEC 60

static struct fake_cq cq;
static struct fake_qp qps[QPS];
static struct cm_id ids[QPS];
static char channel;
static struct gate *gate;
static atomic_uint disconnected[QPS];
/* One that has begun waits until it is off. */
static atomic_bool hold;

static void wait_until(bool (*is_so)(void))
{
	int64_t until_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;
	const struct timespec pause = {0, 1000000};

	while (!is_so()) {
		assert_true(clock_now_ns() < until_ns);
		nanosleep(&pause, NULL);
	}
}

static bool is_let_go(void)
{
	return !atomic_load(&hold);
}

static int disconnect(struct cm_id *id)
{
	atomic_fetch_add(&disconnected[id - ids], 1);
	wait_until(is_let_go);
	/* of an id whose connection is not there */
	return id->context ? -1 : 0;
}

static int set_up(void **state)
{
	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH / 2);
	hold = false;
	gate_cm_channel_made(&channel);
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
	for (int i = 0; i < QPS; i++) {
		disconnected[i] = 0;
		/* the last one is of another PD */
		fake_qp_init(&qps[i], &fake_pds[i == QPS - 1], &cq, IBV_QPT_RC);
		ids[i] = (struct cm_id){.verbs = &fake_context.context,
					.channel = &channel,
					.qp = fake_ibv(&qps[i])};
		gate_cm_qp_made(&ids[i], disconnect);
	}
	assert_int_equal(gate_close(&fake_pds[0],
				    clock_now_ns() + WAIT_SEC * 1000000000LL,
				    &gate),
			 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gate_open(gate);
	gate_cm_channel_going(&channel);
	gate_context_closing(&fake_context.context);
	return 0;
}

static void severed__its_connection_is_ended_once(void **state)
{
	(void)state;
	assert_int_equal(gate_disconnect(), 0);
	assert_int_equal(gate_sever(gate, true), QPS - 1);
	assert_int_equal(gate_disconnect(), QPS - 1);
	assert_int_equal(gate_disconnect(), 0);
	assert_int_equal(disconnected[0], 1);
	assert_int_equal(disconnected[1], 1);
	assert_int_equal(disconnected[QPS - 1], 0);
}

/* Each recall severs what is left. */
static void severed_again__its_connection_is_not_ended_again(void **state)
{
	(void)state;
	gate_sever(gate, true);
	assert_int_equal(gate_disconnect(), QPS - 1);
	gate_open(gate);
	assert_int_equal(gate_close(&fake_pds[0],
				    clock_now_ns() + WAIT_SEC * 1000000000LL,
				    &gate),
			 0);
	assert_int_equal(gate_sever(gate, true), QPS - 1);
	assert_int_equal(gate_disconnect(), 0);
}

/* The id of a new connection may lie where the last one's did. */
static void new_connection__is_ended_as_well(void **state)
{
	(void)state;
	gate_sever(gate, true);
	assert_int_equal(gate_disconnect(), QPS - 1);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RESET);
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RTS);
	assert_int_equal(gate_sever(gate, true), 1);
	assert_int_equal(gate_disconnect(), 1);
	assert_int_equal(disconnected[0], 2);
}

static void connection_that_is_not_there__does_not_count(void **state)
{
	(void)state;
	ids[0].context = &ids;
	gate_sever(gate, true);
	assert_int_equal(gate_disconnect(), QPS - 2);
	assert_int_equal(disconnected[0], 1);
}

/* rdma_disconnect() would wait in it for the event. */
static void channel_of_librdmacm__is_left_alone(void **state)
{
	static char other;

	(void)state;
	ids[0].channel = &other;
	gate_sever(gate, true);
	assert_int_equal(gate_disconnect(), QPS - 2);
	assert_int_equal(disconnected[0], 0);
}

static void id_is_gone__is_not_touched(void **state)
{
	(void)state;
	gate_sever(gate, true);
	gate_cm_id_going(&ids[0]);
	assert_int_equal(gate_disconnect(), QPS - 2);
	assert_int_equal(disconnected[0], 0);
}

static void qp_is_gone__its_id_is_not_touched(void **state)
{
	(void)state;
	gate_sever(gate, true);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	assert_int_equal(gate_disconnect(), QPS - 2);
	assert_int_equal(disconnected[0], 0);
}

static void other_kinds_of_qp__are_not_connected(void **state)
{
	(void)state;
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[0])), 0);
	fake_qp_init(&qps[0], &fake_pds[0], &cq, IBV_QPT_UD);
	gate_cm_qp_made(&ids[0], disconnect);
	gate_sever(gate, true);
	assert_int_equal(gate_disconnect(), QPS - 2);
	assert_int_equal(disconnected[0], 0);
}

static bool has_begun(void)
{
	return atomic_load(&disconnected[0]) + atomic_load(&disconnected[1]);
}

static void *disconnect_all(void *arg)
{
	gate_disconnect();
	return arg;
}

/* Late enough for who does not wait to be through, mostly. */
static void *let_go(void *arg)
{
	const struct timespec pause = {0, 20000000};

	nanosleep(&pause, NULL);
	atomic_store(&hold, false);
	return arg;
}

typedef void going_fn(struct cm_id *id);

/* What goes while its connection is being ended waits for that. */
static void goes_meanwhile(going_fn *going)
{
	pthread_t thread, releaser;

	gate_sever(gate, true);
	atomic_store(&hold, true);
	assert_int_equal(pthread_create(&thread, NULL, disconnect_all, NULL),
			 0);
	wait_until(has_begun);
	assert_int_equal(pthread_create(&releaser, NULL, let_go, NULL), 0);
	going(&ids[disconnected[0] ? 0 : 1]);
	assert_true(is_let_go());
	pthread_join(thread, NULL);
	pthread_join(releaser, NULL);
}

static void id_going(struct cm_id *id)
{
	gate_cm_id_going(id);
}

static void qp_going(struct cm_id *id)
{
	gate_qp_destroyed(gate_qp_destroying(id->qp), 0);
}

static void channel_going(struct cm_id *id)
{
	gate_cm_channel_going(id->channel);
}

static void goes_meanwhile__is_waited_for(void **state)
{
	(void)state;
	goes_meanwhile(id_going);
}

static void qp_goes_meanwhile__is_waited_for(void **state)
{
	(void)state;
	goes_meanwhile(qp_going);
}

static void channel_goes_meanwhile__is_waited_for(void **state)
{
	(void)state;
	goes_meanwhile(channel_going);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(severed__its_connection_is_ended_once),
		CASE(severed_again__its_connection_is_not_ended_again),
		CASE(new_connection__is_ended_as_well),
		CASE(connection_that_is_not_there__does_not_count),
		CASE(channel_of_librdmacm__is_left_alone),
		CASE(id_is_gone__is_not_touched),
		CASE(qp_is_gone__its_id_is_not_touched),
		CASE(other_kinds_of_qp__are_not_connected),
		CASE(goes_meanwhile__is_waited_for),
		CASE(qp_goes_meanwhile__is_waited_for),
		CASE(channel_goes_meanwhile__is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
