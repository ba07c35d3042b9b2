/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is to be flushed is asked for again and again, faster than a pass takes:
 * each who has asked is told when a pass is over that began after he did.
 */
#include <errno.h>
#include <string.h>

#include "lease_recall_world.h"
#include "unit.h"

#define PIECES 10

/*
 * The owner asks before each of so many pieces, and a pass that begins anew has
 * all of its own before it. How many passes have ended.
 */
static int ask_all_the_time(struct world *w, int pieces)
{
	int passes = 0;

	for (int i = 0; i < pieces; i++) {
		int told = w->told, restarts = w->flush_restarts;

		recall_flush_now(&w->recall);
		if (w->flush_restarts != restarts)
			w->flush_pieces = PIECES;
		world_run(w);
		if (w->told == told)
			continue;
		assert_int_equal(world_last(w)->cause, RECALL_WRITTEN);
		passes++;
	}
	return passes;
}

static void held__asked_all_the_time_each_pass_has_an_end(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = PIECES;
	assert_int_equal(ask_all_the_time(&w, 5 * PIECES), 5);
	/* who asked in the last of them has one more, and nobody then */
	assert_true(w.recall.must_flush);
	w.flushes = 0;
	w.flush_pieces = PIECES;
	world_run_until(&w, w.now_ns + 1000 * MS);
	assert_int_equal(w.flushes, PIECES);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
	assert_int_equal(world_run(&w), RECALL_NEVER);
}

/* A merge that fails goes on being tried, too. */
static void merging__asked_all_the_time_each_pass_has_an_end(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.merge_result = -ENOSPC;
	recall_changed(&w.recall);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	w.flush_pieces = PIECES;
	w.merges = 0;
	assert_in_range(ask_all_the_time(&w, 5 * (PIECES + 1)), 4, 5);
	assert_in_range(w.merges, 4, 6);
	w.merge_result = 0;
	world_run_until(&w, w.now_ns + 2 * RECALL_PAUSE_MAX);
	assert_int_equal(w.recall.state, RECALL_HELD);
	assert_false(w.recall.must_flush);
}

/* It begins anew for all of them. */
static void failed__the_next_pass_is_for_all(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_flush_now(&w.recall);
	world_run(&w);
	recall_flush_now(&w.recall);
	w.flush_result = -EIO;
	world_run(&w);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_FLUSH_FAILED,
			 -EIO);
	assert_int_equal(w.flush_restarts, 2);
	w.flush_result = 0;
	w.flush_pieces = 1;
	world_run_until(&w, w.now_ns + RECALL_PAUSE_MAX);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
	assert_int_equal(w.flush_restarts, 2);
	assert_int_equal(world_run(&w), RECALL_NEVER);
}

/* The pass for who waits is for all who have asked before. */
static void broken__late_ones_are_in_its_pass(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_flush_now(&w.recall);
	world_run(&w);
	recall_flush_now(&w.recall);
	world_break(&w);
	assert_int_equal(w.flush_restarts, 2);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	assert_false(w.recall.must_flush);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(held__asked_all_the_time_each_pass_has_an_end),
		cmocka_unit_test(
			merging__asked_all_the_time_each_pass_has_an_end),
		cmocka_unit_test(failed__the_next_pass_is_for_all),
		cmocka_unit_test(broken__late_ones_are_in_its_pass),
	};

	return cmocka_run_group_tests_name("lease late", tests, NULL, NULL);
}
