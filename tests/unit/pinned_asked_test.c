/* SPDX-License-Identifier: BSD-2-Clause */
/* Pinned regions whose program is asked before they go, and has no gates. */
#include <errno.h>
#include <pthread.h>

#include "clock.h"
#include "pinned_world.h"
#include "unit.h"

static atomic_uint asked;
static int64_t asked_until_ns;

static void hear_ask(struct pinned_ear *ear, int64_t deadline_ns)
{
	(void)ear;
	asked_until_ns = deadline_ns;
	atomic_fetch_add(&asked, 1);
}

static void let_the_program_be_asked(int64_t quiesce_ns)
{
	static struct pinned_ear ear = {.ask = hear_ask};

	asked = 0;
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++) {
		regions[i].on_recall = ON_RECALL_ASK;
		regions[i].quiesce_ns = quiesce_ns;
		regions[i].ear = &ear;
	}
	pthread_mutex_unlock(&pinned_lock);
}

/* It is the one who stops its work: until it has, nothing happens. */
static void recall__goes_when_the_program_agrees(void **state)
{
	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	assert_int_equal(asked, REGIONS);
	for (size_t i = 1; i < REGIONS; i++)
		pinned_agreed(&regions[i]);
	wait_for(&agreed, REGIONS - 1);
	wait_for_all();
	assert_non_null(regions[0].mr);
	assert_int_equal(gone, REGIONS - 1);
	pinned_agreed(&regions[0]);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	hear_all(RECALL_YIELDED, RECALL_FLUSHED);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(told[PINNED_BACK], REGIONS);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(closed, 0);
	assert_int_equal(severed, 0);
}

/* Nobody waits for it any longer. */
static void recall__goes_without_the_program_in_time(void **state)
{
	const int64_t quiesce_ns = 2000000000;
	int64_t before_ns = clock_now_ns();

	(void)state;
	let_the_program_be_asked(quiesce_ns);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	assert_int_equal(asked, REGIONS);
	wait_for(&gone, REGIONS);
	assert_true(clock_now_ns() >= asked_until_ns);
	assert_in_range(asked_until_ns - before_ns, quiesce_ns / 4 * 3,
			INT64_MAX);
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ETIMEDOUT);
	pinned_agreed(&regions[0]); /* too late */
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	assert_int_equal(closed, 0);
}

/* As of a keeper that has not asked, or has not waited. */
static void recall__others_have_it_before_the_program_agrees(void **state)
{
	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	hear_all(RECALL_YIELDED, RECALL_OUT_OF_TIME);
	wait_for(&gone, REGIONS);
	wait_for_all();
	assert_int_equal(why_severed, -ETIMEDOUT);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/*
 * The threads stood still from before the break until the file was ours again:
 * all is heard at once. Others have had it nevertheless.
 */
static void hear_all_at_once(void)
{
	for (size_t i = 0; i < REGIONS; i++)
		pinned_begin(&regions[i]);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	hear_all(RECALL_YIELDED, RECALL_OUT_OF_TIME);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	for (size_t i = 0; i < REGIONS; i++)
		pinned_end(&regions[i]);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(gone, REGIONS);
}

static void recall__is_over_before_the_program_is_heard(void **state)
{
	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	hear_all_at_once();
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ETIMEDOUT);
}

static void recall__is_over_before_peers_are_severed(void **state)
{
	(void)state;
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	pthread_mutex_unlock(&pinned_lock);
	hear_all_at_once();
	assert_int_equal(drained, 0);
	assert_true(severed >= 2);
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, 0);
}

/* What it has asked for itself it has stopped its work for. */
static void own_call__asks_nobody(void **state)
{
	struct pinned_own own;

	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	pinned_own_begin(&own, DEV, INO);
	assert_int_equal(gone, REGIONS);
	pinned_own_end(&own);
	wait_for(&back, REGIONS);
	assert_int_equal(asked, 0);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(closed, 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)
	const struct CMUnitTest tests[] = {
		CASE(recall__goes_when_the_program_agrees),
		CASE(recall__goes_without_the_program_in_time),
		CASE(recall__others_have_it_before_the_program_agrees),
		CASE(recall__is_over_before_the_program_is_heard),
		CASE(recall__is_over_before_peers_are_severed),
		CASE(own_call__asks_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
