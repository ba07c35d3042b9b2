/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of a leased file that others want: the table, every way round, the
 * deadlines.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lease_recall_world.h"
#include "unit.h"

static void table__every_pair_is_as_drawn(void **state)
{
	/* Rows and columns: FREE HELD BREAKING YIELDED MERGING LOST. */
	static const char *const drawn[RECALL_STATES] = {
		"-x----", "--x-xx", "x--x-x", "x---x-", "-xx--x", "x---x-",
	};

	(void)state;
	for (int from = 0; from < RECALL_STATES; from++)
		for (int to = 0; to < RECALL_STATES; to++)
			assert_int_equal(recall_may_go(from, to),
					 drawn[from][to] == 'x');
	assert_false(recall_may_go(RECALL_STATES, RECALL_FREE));
	assert_false(recall_may_go(RECALL_FREE, RECALL_STATES));
	assert_string_equal(recall_state_name(RECALL_MERGING), "MERGING");
	assert_string_equal(recall_state_name(RECALL_STATES), "?");
}

static void granted__twice_is_refused(void **state)
{
	struct world w;
	int told;

	(void)state;
	world_hold(&w, &world_few_actions);
	world_check_last(&w, RECALL_FREE, RECALL_HELD, RECALL_GRANTED, 0);
	told = w.told;
	assert_int_equal(recall_granted(&w.recall), -EINVAL);
	assert_int_equal(w.recall.state, RECALL_HELD);
	assert_int_equal(w.recall.refused, 1);
	assert_int_equal(w.told, told);
}

static void break__nothing_to_flush_goes_round(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	assert_int_equal(world_run(&w), RECALL_NEVER);
	w.now_ns += 5 * MS;
	world_break(&w);
	world_check_last(&w, RECALL_HELD, RECALL_BREAKING, RECALL_BREAK_HEARD,
			 0);
	assert_int_equal(world_last(&w)->spent_ns, 5 * MS);
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	assert_int_equal(w.lease, NONE);
	/* not before the first pause is over */
	assert_int_equal(world_run(&w), w.now_ns + RECALL_PAUSE_MIN);
	assert_int_equal(w.takes, 0);
	w.now_ns += RECALL_PAUSE_MIN;
	world_run(&w);
	world_check_last(&w, RECALL_YIELDED, RECALL_MERGING, RECALL_RETAKEN, 0);
	assert_int_equal(world_run(&w), RECALL_NEVER);
	world_check_last(&w, RECALL_MERGING, RECALL_HELD, RECALL_MERGED, 0);
	assert_int_equal(w.lease, OURS);
}

static void break__flushed_in_pieces_then_unlocked(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 5;
	w.unwritten = true;
	world_break(&w);
	for (int i = 1; i <= 4; i++) {
		assert_true(world_run(&w) <= w.now_ns);
		assert_int_equal(w.flushes, i);
		assert_int_equal(w.recall.state, RECALL_BREAKING);
	}
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.merges, 0);
	assert_false(w.unwritten);
}

static void break__revoked_in_the_middle_writes_no_more(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 5;
	world_break(&w);
	world_run(&w);
	w.lease = NONE;
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_LOST, RECALL_REVOKED,
			 -EAGAIN);
	assert_int_equal(w.flushes, 1);
	world_run_until(&w, w.now_ns + 5 * MS);
	assert_int_equal(w.flushes, 1);
	/* retaken: merged before anything is flushed */
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
	assert_int_equal(w.flushes, 1);
	assert_int_equal(w.merges, 1);
	assert_int_equal(w.wrote_without_lease, 0);
}

/* After the last piece, before the unlock: only the unlock can tell. */
static int flush_and_revoke(void *arg)
{
	struct world *w = arg;

	w->lease = NONE;
	return 0;
}

static void break__revoked_before_the_unlock_is_lost(void **state)
{
	struct recall_actions actions = world_actions;
	struct world w;

	(void)state;
	actions.flush = flush_and_revoke;
	world_hold(&w, &actions);
	world_break(&w);
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_LOST, RECALL_REVOKED,
			 -EAGAIN);
}

static void break__too_slow_yields_at_the_deadline(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 1000;
	w.piece_ns = 30 * MS;
	world_break(&w);
	while (w.recall.state == RECALL_BREAKING)
		world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED,
			 RECALL_OUT_OF_TIME, -ETIMEDOUT);
	assert_true(world_last(&w)->spent_ns >= world_policy.break_ns);
	assert_true(world_last(&w)->spent_ns <
		    world_policy.break_ns + w.piece_ns);
}

static void break__failing_flush_is_tried_again_and_told_once(void **state)
{
	struct world w;
	int told;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_result = -EIO;
	world_break(&w);
	assert_int_equal(world_run(&w), w.now_ns + 10 * MS);
	world_check_last(&w, RECALL_BREAKING, RECALL_BREAKING,
			 RECALL_FLUSH_FAILED, -EIO);
	told = w.told;
	w.now_ns += 10 * MS;
	assert_int_equal(world_run(&w), w.now_ns + 20 * MS);
	assert_int_equal(w.flushes, 2);
	assert_int_equal(w.told, told);
	w.flush_result = 0;
	w.now_ns += 20 * MS;
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);

	/* one that goes on failing keeps nobody out for long */
	world_hold(&w, &world_actions);
	w.flush_result = -EIO;
	world_break(&w);
	world_run_until(&w, w.now_ns + world_policy.retry_ns - 1);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	world_run_until(&w, w.now_ns + 1);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED,
			 RECALL_OUT_OF_TIME, -EIO);
}

static void consent__is_waited_for_no_longer_than_its_time(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	world_break(&w);
	assert_int_equal(w.asked, 1);
	assert_int_equal(w.asked_deadline_ns, w.now_ns + 50 * MS);
	assert_int_equal(world_run(&w), w.now_ns + 50 * MS);
	assert_int_equal(w.flushes, 0);
	w.now_ns += 50 * MS;
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	world_break(&w);
	w.now_ns += MS;
	recall_consent(&w.recall);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	/* last break's consent does not count for this one */
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
	world_break(&w);
	world_run(&w);
	assert_int_equal(w.asked, 2);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
}

/* Else he could not agree before his time is up. */
static void consent__what_its_giver_waits_for_is_written_before(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	world_break(&w);
	recall_persist_now(&w.recall);
	assert_int_equal(world_run(&w), w.asked_deadline_ns);
	assert_false(w.recall.must_persist);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.flushes, 0);

	/* not before what others have done is known */
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	recall_changed(&w.recall);
	w.merge_pieces = 3;
	world_break(&w);
	recall_persist_now(&w.recall);
	world_run(&w);
	assert_true(w.recall.must_persist);
	world_run_until(&w, w.now_ns + MS);
	assert_int_equal(w.merges, 3);
	assert_false(w.recall.must_persist);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.flushes, 0);
}

static void yielded__long_reader_is_tried_with_growing_pauses(void **state)
{
	int64_t due, pause = RECALL_PAUSE_MIN;
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	world_yield(&w);
	w.take_result = -EAGAIN;
	due = world_run(&w);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(due, w.now_ns + pause);
		w.now_ns = due;
		due = world_run(&w);
		assert_int_equal(w.takes, i + 1);
		pause = i ? pause * 2 : pause;
		if (pause > RECALL_PAUSE_MAX)
			pause = RECALL_PAUSE_MAX;
	}
	assert_int_equal(pause, RECALL_PAUSE_MAX);

	/* it goes: at once, and from the smallest pause again */
	recall_opener_gone(&w.recall);
	assert_int_equal(world_run(&w), w.now_ns + RECALL_GONE);
	w.take_result = 0;
	w.now_ns += RECALL_GONE;
	world_run(&w);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void yielded__opener_gone_it_is_taken_at_once(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	world_yield(&w);
	w.now_ns += MS;
	/* The news comes before the file is free: a few attempts. */
	w.take_result = -EAGAIN;
	recall_opener_gone(&w.recall);
	assert_int_equal(world_run(&w), w.now_ns + RECALL_GONE);
	assert_int_equal(w.takes, 1);
	w.now_ns += RECALL_GONE;
	assert_int_equal(world_run(&w), w.now_ns + 2 * RECALL_GONE);
	w.take_result = 0;
	w.now_ns += 2 * RECALL_GONE;
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	assert_int_equal(w.takes, 3);
}

/* Who does not wait would never get it. */
static void yielded__broken_too_often_opener_gone_ends_no_pause(void **state)
{
	unsigned int at_once = 0, later = 0;
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	for (int i = 0; i < 7; i++) {
		int takes = w.takes;
		int64_t due;

		w.now_ns += MS;
		world_yield(&w);
		recall_opener_gone(&w.recall);
		due = world_run(&w);
		if (w.takes > takes) {
			assert_int_equal(later, 0);
			at_once++;
		} else {
			assert_true(due - w.now_ns >=
				    RECALL_CALM * RECALL_PAUSE_MIN);
			later++;
		}
		/* held for a moment only */
		world_run_until(&w, w.takes > takes ? w.now_ns : due);
		assert_int_equal(w.recall.state, RECALL_HELD);
	}
	assert_int_equal(at_once, 4);
	assert_int_equal(later, 3);
}

static void yielded__other_errors_are_told_once(void **state)
{
	struct world w;
	int told;

	(void)state;
	world_hold(&w, &world_few_actions);
	world_yield(&w);
	w.take_result = -EACCES;
	w.now_ns += RECALL_PAUSE_MIN;
	world_run(&w);
	world_check_last(&w, RECALL_YIELDED, RECALL_YIELDED, RECALL_TAKE_FAILED,
			 -EACCES);
	told = w.told;
	world_run_until(&w, w.now_ns + 5000 * MS);
	assert_true(w.takes > 5);
	assert_int_equal(w.told, told);
}

static void pause__grows_when_broken_often_and_forgets(void **state)
{
	int64_t pause = RECALL_PAUSE_MIN;
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	for (int i = 0; i < 12; i++) {
		world_yield(&w);
		assert_int_equal(world_run(&w), w.now_ns + pause);
		world_run_until(&w, w.now_ns + pause);
		assert_int_equal(w.recall.state, RECALL_HELD);
		pause = 2 * pause < RECALL_PAUSE_MAX ? 2 * pause
						     : RECALL_PAUSE_MAX;
	}
	assert_int_equal(pause, RECALL_PAUSE_MAX);
	w.now_ns += 10 * RECALL_PAUSE_MAX;
	world_yield(&w);
	assert_int_equal(world_run(&w), w.now_ns + RECALL_PAUSE_MIN);
}

static void merging__broken_merges_on_then_flushes(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	world_yield(&w);
	w.flushes = 0;
	w.merge_pieces = 3;
	w.now_ns += RECALL_PAUSE_MIN;
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	world_run(&w);
	assert_int_equal(w.merges, 1);
	world_break(&w);
	world_check_last(&w, RECALL_MERGING, RECALL_BREAKING,
			 RECALL_BREAK_HEARD, 0);
	world_run(&w);
	assert_int_equal(w.merges, 2);
	assert_int_equal(w.flushes, 0);
	world_run(&w);
	assert_int_equal(w.merges, 3);
	assert_int_equal(w.flushes, 1);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
}

static void merging__a_break_that_was_not_heard_is_seen(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	world_yield(&w);
	w.merge_pieces = 2;
	w.now_ns += RECALL_PAUSE_MIN;
	world_run(&w);
	w.lease = BREAKING;
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.merges, 0);
}

static void merging__revoked_is_lost_and_failing_is_tried_again(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	world_yield(&w);
	w.merge_result = -EIO;
	w.now_ns += RECALL_PAUSE_MIN;
	world_run(&w);
	world_run(&w);
	world_check_last(&w, RECALL_MERGING, RECALL_MERGING,
			 RECALL_MERGE_FAILED, -EIO);
	world_run_until(&w, w.now_ns + 500 * MS);
	assert_true(w.merges > 3);
	w.lease = NONE;
	world_run(&w);
	world_check_last(&w, RECALL_MERGING, RECALL_LOST, RECALL_REVOKED,
			 -EAGAIN);
	w.merge_result = 0;
	world_run_until(&w, w.now_ns + 500 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void held__a_break_that_was_not_heard_is_looked_for(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	recall_look(&w.recall);
	assert_int_equal(w.recall.state, RECALL_HELD);
	w.lease = BREAKING;
	recall_look(&w.recall);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	world_hold(&w, &world_few_actions);
	w.lease = NONE;
	recall_look(&w.recall);
	world_check_last(&w, RECALL_HELD, RECALL_LOST, RECALL_REVOKED, -EAGAIN);
}

static void events__mean_nothing_where_they_cannot(void **state)
{
	struct world w;
	int told;

	(void)state;
	memset(&w, 0, sizeof(w));
	recall_init(&w.recall, &world_few_actions, &w, &world_policy);
	recall_break_heard(&w.recall);
	recall_opener_gone(&w.recall);
	recall_look(&w.recall);
	recall_consent(&w.recall);
	recall_release(&w.recall, 0);
	assert_int_equal(w.recall.state, RECALL_FREE);
	assert_int_equal(world_run(&w), RECALL_NEVER);
	assert_int_equal(w.told, 0);
	world_hold(&w, &world_few_actions);
	world_yield(&w);
	told = w.told;
	recall_break_heard(&w.recall); /* heard late */
	recall_look(&w.recall);
	assert_int_equal(w.told, told);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table__every_pair_is_as_drawn),
		cmocka_unit_test(granted__twice_is_refused),
		cmocka_unit_test(break__nothing_to_flush_goes_round),
		cmocka_unit_test(break__flushed_in_pieces_then_unlocked),
		cmocka_unit_test(break__revoked_in_the_middle_writes_no_more),
		cmocka_unit_test(break__revoked_before_the_unlock_is_lost),
		cmocka_unit_test(break__too_slow_yields_at_the_deadline),
		cmocka_unit_test(
			break__failing_flush_is_tried_again_and_told_once),
		cmocka_unit_test(
			consent__is_waited_for_no_longer_than_its_time),
		cmocka_unit_test(
			consent__what_its_giver_waits_for_is_written_before),
		cmocka_unit_test(
			yielded__long_reader_is_tried_with_growing_pauses),
		cmocka_unit_test(yielded__opener_gone_it_is_taken_at_once),
		cmocka_unit_test(
			yielded__broken_too_often_opener_gone_ends_no_pause),
		cmocka_unit_test(yielded__other_errors_are_told_once),
		cmocka_unit_test(pause__grows_when_broken_often_and_forgets),
		cmocka_unit_test(merging__broken_merges_on_then_flushes),
		cmocka_unit_test(merging__a_break_that_was_not_heard_is_seen),
		cmocka_unit_test(
			merging__revoked_is_lost_and_failing_is_tried_again),
		cmocka_unit_test(
			held__a_break_that_was_not_heard_is_looked_for),
		cmocka_unit_test(events__mean_nothing_where_they_cannot),
	};

	return cmocka_run_group_tests_name("lease recall", tests, NULL, NULL);
}
