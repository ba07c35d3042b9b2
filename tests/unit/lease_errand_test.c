/* SPDX-License-Identifier: BSD-2-Clause */
/* Work beside the engine's thread: errand.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "errand.h"
#include "lease.h"
#include "lease_file.h"
#include "reason.h"
#include "unit.h"

#define LONG_ONES 7

static struct lease_engine *engine;
static atomic_int long_ones, quick_ones, in_engine;
static atomic_bool are_let_go;
static atomic_int threads_left; /* that are still to be had */

/* No thread is brought about in the call (-Wl,--wrap). */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg)
{
	if (atomic_fetch_sub(&threads_left, 1) <= 0) {
		atomic_fetch_add(&threads_left, 1);
		return EAGAIN;
	}
	return __real_pthread_create(thread, attr, fn, arg);
}

static bool is_engine(void)
{
	return gettid() == lease_engine_desk(engine)->tid;
}

static int take_long(void *arg)
{
	(void)arg;
	while (!atomic_load(&are_let_go))
		usleep(1000);
	atomic_fetch_add(&long_ones, 1);
	return 0;
}

static int be_quick(void *arg)
{
	(void)arg;
	atomic_fetch_add(&in_engine, is_engine());
	atomic_fetch_add(&quick_ones, 1);
	return 0;
}

static int say_busy(void *arg)
{
	(void)arg;
	atomic_fetch_add(&in_engine, is_engine());
	return reason_set_kind(REASON_BUSY, -EBUSY, "as it was said there");
}

/* What follows is done by the engine's thread. */
static int send_long_ones(struct lease_table *table, void *arg)
{
	(void)arg;
	for (int i = 0; i < LONG_ONES; i++)
		errand_send(table, take_long, NULL);
	return 0;
}

static int send_quick_one(struct lease_table *table, void *arg)
{
	(void)arg;
	errand_send(table, be_quick, NULL);
	return 0;
}

static int run_failing(struct lease_table *table, void *arg)
{
	(void)arg;
	return errand_run(table, engine, say_busy, NULL);
}

static int check_workers(struct lease_table *table, void *arg)
{
	return errand_is_worker(table, *(const pid_t *)arg);
}

static bool is_one(void *arg)
{
	return atomic_load((atomic_int *)arg) == 1;
}

static void start(int threads)
{
	struct lease_config config = {.keeper_path = "/nowhere"};

	atomic_store(&long_ones, 0);
	atomic_store(&quick_ones, 0);
	atomic_store(&in_engine, 0);
	atomic_store(&are_let_go, false);
	atomic_store(&threads_left, threads);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
}

static void check_failing(void)
{
	assert_int_equal(lease_engine_call(engine, run_failing, NULL), -EBUSY);
	assert_string_equal(reason_text(), "as it was said there");
	assert_int_equal(reason_kind(), REASON_BUSY);
}

static void errand__comes_back_with_its_sentence(void **state)
{
	pid_t self = gettid();

	(void)state;
	start(100);
	check_failing();
	assert_int_equal(atomic_load(&in_engine), 0);
	assert_false(lease_engine_call(engine, check_workers, &self));
	lease_engine_stop(engine);
}

static void errands__that_take_long_hold_up_no_other(void **state)
{
	(void)state;
	start(100);
	assert_int_equal(lease_engine_call(engine, send_long_ones, NULL), 0);
	assert_int_equal(lease_engine_call(engine, send_quick_one, NULL), 0);
	wait_for(is_one, &quick_ones, "the quick one is done");
	check_failing();
	assert_int_equal(atomic_load(&long_ones), 0);
	assert_int_equal(atomic_load(&in_engine), 0);
	atomic_store(&are_let_go, true);
	lease_engine_stop(engine);
	assert_int_equal(atomic_load(&long_ones), LONG_ONES);
}

/* The engine, two workers, the maker. */
static void errands__wait_where_no_thread_is_to_be_had(void **state)
{
	(void)state;
	start(4);
	assert_int_equal(lease_engine_call(engine, send_long_ones, NULL), 0);
	assert_int_equal(lease_engine_call(engine, send_quick_one, NULL), 0);
	usleep(200000);
	assert_int_equal(atomic_load(&quick_ones), 0);
	atomic_store(&threads_left, 100);
	wait_for(is_one, &quick_ones, "the quick one is done");
	assert_int_equal(atomic_load(&long_ones), 0);
	atomic_store(&are_let_go, true);
	lease_engine_stop(engine);
	assert_int_equal(atomic_load(&long_ones), LONG_ONES);
}

static void errands__are_the_engines_own_without_threads(void **state)
{
	(void)state;
	for (int threads = 1; threads < 4; threads++) {
		start(threads);
		assert_int_equal(
			lease_engine_call(engine, send_quick_one, NULL), 0);
		assert_int_equal(atomic_load(&quick_ones), 1);
		check_failing();
		assert_int_equal(atomic_load(&in_engine), 2);
		lease_engine_stop(engine);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errand__comes_back_with_its_sentence),
		cmocka_unit_test(errands__that_take_long_hold_up_no_other),
		cmocka_unit_test(errands__wait_where_no_thread_is_to_be_had),
		cmocka_unit_test(errands__are_the_engines_own_without_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
