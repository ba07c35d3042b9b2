/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes due for pinned regions while the work on others is waited for,
 * and what is severed for others.
 */
#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "pinned_world.h"
#include "unit.h"

/* Every other region has the other PD. */
static int begin(void **state)
{
	int r = world_begin(state);

	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].pd = &pds[i % 2];
	pthread_mutex_unlock(&pinned_lock);
	return r;
}

/* Within it the others go, and it is waited for. */
#define LONG_AWAY_NS 3000000000LL

static void have_one_pd(void)
{
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].pd = &pds[0];
	pthread_mutex_unlock(&pinned_lock);
}

static void comes_back(void)
{
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(opened, closed);
}

static unsigned int how_many_are_there(size_t first)
{
	unsigned int count = 0;

	for (size_t i = first; i < REGIONS; i += 2)
		count += regions[i].mr != NULL;
	return count;
}

static void wait_until_given_up(size_t i)
{
	int64_t until_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;
	bool is_open;

	do {
		assert_true(clock_now_ns() < until_ns);
		pinned_begin(&regions[i]);
		is_open = !regions[i].gate;
		pinned_end(&regions[i]);
	} while (!is_open);
}

static void recall__that_has_less_time_does_not_wait_for_anothers(void **state)
{
	(void)state;
	hold_draining = true;
	ask_every_other(0, QUIESCE_NS);
	wait_for(&held, 1);
	ask_every_other(1, QUIESCE_NS / 4);
	wait_for(&agreed, REGIONS / 2);
	assert_int_equal(how_many_are_there(0), REGIONS / 2);
	assert_int_equal(how_many_are_there(1), 0);
	assert_int_equal(drained, 1);
	hold_draining = false;
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 2);
	assert_int_equal(severed, 0);
	comes_back();
}

/* Else the one that waits could be late. */
static void recall__that_has_more_time_waits_for_anothers(void **state)
{
	unsigned int before;

	(void)state;
	hold_draining = true;
	ask_every_other(0, QUIESCE_NS);
	wait_for(&held, 1);
	pthread_mutex_lock(&pinned_lock);
	ask_locked(1, 4, QUIESCE_NS / 4, QUIESCE_NS / 4);
	/* as much time as those two, but not until the same moment */
	ask_locked(5, REGIONS, QUIESCE_NS / 4, 2 * QUIESCE_NS);
	pthread_mutex_unlock(&pinned_lock);
	wait_for(&agreed, 2);
	before = turns;
	wait_for(&turns, before + 2);
	assert_int_equal(agreed, 2);
	assert_int_equal(how_many_are_there(1), REGIONS / 2 - 2);
	hold_draining = false;
	wait_for(&agreed, REGIONS);
	assert_int_equal(severed, 0);
	comes_back();
}

/* And so is what needs no time, for a region that has gone already. */
static void recall__of_what_has_gone_is_agreed_to_meanwhile(void **state)
{
	(void)state;
	ask_every_other(1, QUIESCE_NS);
	wait_for(&agreed, REGIONS / 2);
	hold_draining = true;
	ask_every_other(0, QUIESCE_NS);
	wait_for(&held, 1);
	ask_every_other(1, 2 * QUIESCE_NS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 1);
	hold_draining = false;
	wait_for(&gone, REGIONS);
	comes_back();
}

/* What has no time makes the gate quiet, for both. */
static void recall__on_the_same_gate_drains_it_too(void **state)
{
	(void)state;
	have_one_pd();
	hold_draining = true;
	ask_every_other(0, QUIESCE_NS);
	wait_for(&held, 1);
	ask_every_other(1, QUIESCE_NS / 4);
	wait_for(&agreed, REGIONS / 2);
	assert_int_equal(how_many_are_there(1), 0);
	assert_int_equal(drained, 1);
	hold_draining = false;
	wait_for(&agreed, REGIONS);
	assert_int_equal(closed, 1);
	assert_int_equal(drained, 2);
	comes_back();
}

static void check_all_are_told(void)
{
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	for (size_t i = 0; i < REGIONS; i++)
		assert_int_equal(regions[i].severed, severed);
}

/* The gate is not drained again, and so nothing is severed for them. */
static void severed__before_others_had_to_go_is_told_to_them(void **state)
{
	(void)state;
	have_one_pd();
	left = 1;
	ask_every_other(0, QUIESCE_NS);
	wait_for(&agreed, REGIONS / 2);
	wait_for_all();
	assert_int_equal(told[PINNED_SEVERED], REGIONS / 2);
	ask_every_other(1, QUIESCE_NS);
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(severed, 1);
	check_all_are_told();
	comes_back();
	check_all_are_told();
}

static void
severed__while_others_were_away_is_told_when_they_are_back(void **state)
{
	(void)state;
	have_one_pd();
	ask_every_other(0, QUIESCE_NS);
	wait_for(&agreed, REGIONS / 2);
	for (size_t i = 1; i < REGIONS; i += 2)
		regions[i].on_recall = ON_RECALL_SEVER;
	ask_every_other(1, QUIESCE_NS);
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(severed, 1);
	assert_int_equal(told[PINNED_SEVERED], REGIONS / 2);
	comes_back();
	check_all_are_told();
}

/* They leave the gate when they are given up, and it would not be told. */
static void
severed__while_others_were_away_is_told_when_they_give_up(void **state)
{
	(void)state;
	have_one_pd();
	ask_every_other(0, LONG_AWAY_NS);
	wait_for(&agreed, REGIONS / 2);
	for (size_t i = 1; i < REGIONS; i += 2)
		regions[i].on_recall = ON_RECALL_SEVER;
	ask_every_other(1, QUIESCE_NS);
	wait_for(&told[PINNED_SEVERED], REGIONS);
	assert_int_equal(severed, 1);
	check_all_are_told();
	comes_back();
	check_all_are_told();
}

static void hear_every_other(size_t first, enum recall_state to,
			     enum recall_cause cause)
{
	const struct recall_report report = {.to = to, .cause = cause};

	for (size_t i = first; i < REGIONS; i += 2)
		pinned_hear(&regions[i].listener, &report, 0);
}

/* By gates of their own, while others have the first one closed still. */
static void severed__is_told_once_to_who_was_back_meanwhile(void **state)
{
	(void)state;
	have_one_pd();
	left = 1;
	ask_every_other(0, LONG_AWAY_NS);
	wait_for(&agreed, REGIONS / 2);
	ask_every_other(1, QUIESCE_NS);
	wait_for(&agreed, REGIONS);
	wait_for_all();
	check_all_are_told();
	for (size_t i = 0; i < REGIONS; i += 2)
		wait_until_given_up(i);
	hear_every_other(0, RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS / 2);
	wait_for_all();
	ask_every_other(0, QUIESCE_NS);
	wait_for(&agreed, REGIONS + REGIONS / 2);
	wait_for_all();
	assert_int_equal(drained, 1);
	assert_int_equal(severed, 1);
	check_all_are_told();
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS + REGIONS / 2);
	wait_for_all();
	check_all_are_told();
}

/* Whatever becomes of the drain, which has to end sooner. */
static void recall__with_nothing_to_wait_for_waits_for_none(void **state)
{
	(void)state;
	hold_draining = true;
	ask_every_other(0, QUIESCE_NS);
	wait_for(&held, 1);
	for (size_t i = 1; i < REGIONS; i += 4)
		regions[i].on_recall = ON_RECALL_SEVER;
	for (size_t i = 3; i < REGIONS; i += 4)
		regions[i].on_recall = ON_RECALL_ASK;
	pthread_mutex_lock(&pinned_lock);
	ask_locked(1, REGIONS, QUIESCE_NS, WAIT_SEC * 2000000000LL);
	pthread_mutex_unlock(&pinned_lock);
	wait_for(&agreed, REGIONS / 2);
	assert_int_equal(how_many_are_there(0), REGIONS / 2);
	assert_int_equal(how_many_are_there(1), 0);
	assert_int_equal(drained, 0);
	hold_draining = false;
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 1);
	comes_back();
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, world_end)
	const struct CMUnitTest tests[] = {
		CASE(recall__that_has_less_time_does_not_wait_for_anothers),
		CASE(recall__that_has_more_time_waits_for_anothers),
		CASE(recall__with_nothing_to_wait_for_waits_for_none),
		CASE(severed__is_told_once_to_who_was_back_meanwhile),
		CASE(recall__of_what_has_gone_is_agreed_to_meanwhile),
		CASE(recall__on_the_same_gate_drains_it_too),
		CASE(severed__before_others_had_to_go_is_told_to_them),
		CASE(severed__while_others_were_away_is_told_when_they_are_back),
		CASE(severed__while_others_were_away_is_told_when_they_give_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
