/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others do to the file past us while flushes are asked for in every pass,
 * so that one is always due: it is merged between two passes, not within one,
 * and before the one that waits after an error no sooner. The clock, the pieces
 * and their results are the test's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lease_recall_world.h"
#include "leased_parts.h"
#include "unit.h"

#define PIECES 3

static struct leased_shared shared;
static struct leased leased;
static struct world w;
static struct recall_actions actions;
static unsigned int told[RECALL_CAUSES];

static void tell(void *arg, const struct recall_report *report)
{
	(void)arg;
	told[report->cause]++;
}

static int setup(void **state)
{
	(void)state;
	memset(&shared, 0, sizeof(shared));
	memset(&leased, 0, sizeof(leased));
	memset(&w, 0, sizeof(w));
	memset(told, 0, sizeof(told));
	actions = world_actions;
	actions.tell = tell;
	shared.watches.inotify = -1;
	leased.shared = &shared;
	leased.watch.wd = -1;
	assert_int_equal(due_reserve(&shared.due, 1), 0);
	w.now_ns = 1000 * MS;
	w.lease = OURS;
	recall_init(&leased.recall, &actions, &w, &world_policy);
	assert_int_equal(recall_granted(&leased.recall), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(shared.due.heap);
	return 0;
}

/* As the keeper's loop: what is due, the news, what it is asked. */
static void step(void)
{
	w.now_ns += MS;
	recall_run(&leased.recall);
	leased_run_news(&leased);
	recall_flush_now(&leased.recall);
}

/* To the end of the one that is due. Nothing is merged in it. */
static void make_pass(void)
{
	int merges = w.merges;

	w.flush_pieces = PIECES;
	for (int i = 1; i < PIECES; i++) {
		step();
		assert_true(leased.recall.is_pass_begun);
		assert_int_equal(w.merges, merges);
		assert_int_equal(leased.recall.state, RECALL_HELD);
	}
	step();
	assert_false(leased.recall.is_pass_begun);
	assert_int_equal(w.merges, merges);
	assert_true(leased.recall.must_flush);
}

/* inotify has told of it in the pass. */
static void news__flushes_are_asked_for_all_the_time__is_merged(void **state)
{
	(void)state;
	recall_flush_now(&leased.recall);
	make_pass();
	for (unsigned int i = 1; i <= 3; i++) {
		leased_watch_told(&leased.watch, IN_MODIFY);
		assert_true(leased.has_news);
		make_pass();
		assert_false(leased.has_news);
		step();
		assert_int_equal(w.merges, i);
		make_pass();
		assert_int_equal(told[RECALL_WRITTEN], 2 * i + 1);
	}
	/* silently: it may have been the keeper's own */
	assert_int_equal(told[RECALL_CHANGED], 0);
}

/* The flush has found it. */
static void met__flushes_are_asked_for_all_the_time__is_told(void **state)
{
	(void)state;
	recall_flush_now(&leased.recall);
	for (unsigned int i = 1; i <= 3; i++) {
		w.flush_pieces = PIECES;
		for (int piece = 1; piece < PIECES; piece++)
			step();
		leased.has_met_others = true;
		assert_int_equal(told[RECALL_CHANGED], i - 1);
		step();
		assert_int_equal(told[RECALL_CHANGED], i);
		for (int n = 0;
		     n <= 2 * PIECES && leased.recall.state == RECALL_MERGING;
		     n++)
			step();
		assert_int_equal(leased.recall.state, RECALL_HELD);
		assert_int_equal(w.merges, i);
	}
}

/* What is lost if nothing is written goes first, as soon as it can. */
static void news__the_flush_has_failed__comes_after_it(void **state)
{
	(void)state;
	recall_flush_now(&leased.recall);
	w.flush_result = -ENOSPC;
	step();
	leased_watch_told(&leased.watch, IN_MODIFY);
	step();
	assert_true(leased.has_news);
	assert_int_equal(w.merges, 0);
	w.flush_result = 0;
	w.now_ns += RECALL_PAUSE_MAX;
	make_pass();
	step();
	assert_int_equal(w.merges, 1);
	assert_int_equal(told[RECALL_FLUSH_FAILED], 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(news__flushes_are_asked_for_all_the_time__is_merged),
		TEST(met__flushes_are_asked_for_all_the_time__is_told),
		TEST(news__the_flush_has_failed__comes_after_it),
	};

	return cmocka_run_group_tests_name("lease news", tests, NULL, NULL);
}
