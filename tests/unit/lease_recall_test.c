/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of a leased file against a fake clock, a fake kernel and fake
 * actions: every transition, the refusal of all others, the deadlines.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "recall.h"
#include "unit.h"

#define MS	1000000LL
#define REPORTS 64

/* The kernel's side of one file, the actions' results, and what was told. */
struct world {
	struct recall recall;
	int64_t now_ns;
	enum {
		NONE,
		OURS,
		BREAKING
	} lease;
	int take_result;
	int flush_result, flush_pieces;
	int merge_result, merge_pieces;
	int64_t piece_ns;
	bool unwritten;
	int asked;
	int64_t asked_deadline_ns;
	int takes, flushes, merges;
	int wrote_without_lease;
	int told;
	struct recall_report reports[REPORTS];
};

static int64_t fake_now(void *arg)
{
	return ((struct world *)arg)->now_ns;
}

static int fake_take(void *arg)
{
	struct world *w = arg;

	w->takes++;
	if (!w->take_result)
		w->lease = OURS;
	return w->take_result;
}

static int fake_unlock(void *arg)
{
	struct world *w = arg;
	int r = w->lease == NONE ? -EAGAIN : 0;

	w->lease = NONE;
	return r;
}

static int fake_check(void *arg)
{
	struct world *w = arg;

	return w->lease == NONE ? -EAGAIN : w->lease == BREAKING;
}

static int piece(struct world *w, int result, int *pieces)
{
	if (w->lease == NONE)
		w->wrote_without_lease++;
	w->now_ns += w->piece_ns;
	if (result < 0)
		return result;
	if (*pieces > 0)
		--*pieces;
	return *pieces;
}

static int fake_flush(void *arg)
{
	struct world *w = arg;
	int r = piece(w, w->flush_result, &w->flush_pieces);

	w->flushes++;
	if (!r)
		w->unwritten = false;
	return r;
}

static int fake_merge(void *arg)
{
	struct world *w = arg;

	w->merges++;
	return piece(w, w->merge_result, &w->merge_pieces);
}

static bool fake_has_unwritten(void *arg)
{
	return ((struct world *)arg)->unwritten;
}

static void fake_ask(void *arg, int64_t deadline_ns)
{
	struct world *w = arg;

	w->asked++;
	w->asked_deadline_ns = deadline_ns;
}

static void fake_tell(void *arg, const struct recall_report *report)
{
	struct world *w = arg;

	assert_true(report->from == report->to ||
		    recall_may_go(report->from, report->to));
	assert_int_equal(report->to, w->recall.state);
	assert_int_equal(report->at_ns, w->now_ns);
	assert_true(report->spent_ns >= 0);
	w->reports[w->told++ % REPORTS] = *report;
}

static const struct recall_actions all_actions = {
	.now = fake_now,
	.take = fake_take,
	.unlock = fake_unlock,
	.check = fake_check,
	.flush = fake_flush,
	.merge = fake_merge,
	.has_unwritten = fake_has_unwritten,
	.ask_consent = fake_ask,
	.tell = fake_tell,
};

/* Nothing to flush, nobody to ask. */
static const struct recall_actions few_actions = {
	.now = fake_now,
	.take = fake_take,
	.unlock = fake_unlock,
	.check = fake_check,
	.tell = fake_tell,
};

static const struct recall_policy policy = {
	.break_ns = 1000 * MS,
	.pause_min_ns = RECALL_PAUSE_MIN,
	.pause_max_ns = RECALL_PAUSE_MAX,
};

/* HELD at 1 s. */
static void hold(struct world *w, const struct recall_actions *actions)
{
	memset(w, 0, sizeof(*w));
	w->now_ns = 1000 * MS;
	w->flush_pieces = w->merge_pieces = 1;
	recall_init(&w->recall, actions, w, &policy);
	w->lease = OURS;
	assert_int_equal(recall_granted(&w->recall), 0);
	assert_int_equal(w->recall.state, RECALL_HELD);
}

static void break_it(struct world *w)
{
	w->lease = BREAKING;
	recall_break_heard(&w->recall);
}

static int64_t run(struct world *w)
{
	return recall_run(&w->recall);
}

/* Runs until nothing is due before `until_ns`, as the keeper's loop does. */
static void run_until(struct world *w, int64_t until_ns)
{
	int64_t due_ns;

	for (;;) {
		due_ns = run(w);
		if (due_ns > until_ns)
			break;
		if (due_ns > w->now_ns)
			w->now_ns = due_ns;
	}
	if (w->now_ns < until_ns)
		w->now_ns = until_ns;
}

static const struct recall_report *last(struct world *w)
{
	assert_true(w->told > 0);
	return &w->reports[(w->told - 1) % REPORTS];
}

static void check_last(struct world *w, enum recall_state from,
		       enum recall_state to, enum recall_cause cause, int error)
{
	assert_int_equal(last(w)->from, from);
	assert_int_equal(last(w)->to, to);
	assert_int_equal(last(w)->cause, cause);
	assert_int_equal(last(w)->error, error);
}

static void yield_it(struct world *w)
{
	break_it(w);
	while (w->recall.state == RECALL_BREAKING)
		run(w);
	assert_int_equal(w->recall.state, RECALL_YIELDED);
}

static void table__every_pair_is_as_drawn(void **state)
{
	/* Rows and columns: FREE HELD BREAKING YIELDED MERGING LOST. */
	static const char *const drawn[RECALL_STATES] = {
		"-x----", "--x--x", "x--x-x", "x---x-", "-xx--x", "x---x-",
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
	hold(&w, &few_actions);
	check_last(&w, RECALL_FREE, RECALL_HELD, RECALL_GRANTED, 0);
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
	hold(&w, &few_actions);
	assert_int_equal(run(&w), RECALL_NEVER);
	w.now_ns += 5 * MS;
	break_it(&w);
	check_last(&w, RECALL_HELD, RECALL_BREAKING, RECALL_BREAK_HEARD, 0);
	assert_int_equal(last(&w)->spent_ns, 5 * MS);
	run(&w);
	check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED, 0);
	assert_int_equal(w.lease, NONE);
	/* not before the first pause is over */
	assert_int_equal(run(&w), w.now_ns + RECALL_PAUSE_MIN);
	assert_int_equal(w.takes, 0);
	w.now_ns += RECALL_PAUSE_MIN;
	run(&w);
	check_last(&w, RECALL_YIELDED, RECALL_MERGING, RECALL_RETAKEN, 0);
	assert_int_equal(run(&w), RECALL_NEVER);
	check_last(&w, RECALL_MERGING, RECALL_HELD, RECALL_MERGED, 0);
	assert_int_equal(w.lease, OURS);
}

static void break__flushed_in_pieces_then_unlocked(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.flush_pieces = 5;
	w.unwritten = true;
	break_it(&w);
	for (int i = 1; i <= 4; i++) {
		assert_true(run(&w) <= w.now_ns);
		assert_int_equal(w.flushes, i);
		assert_int_equal(w.recall.state, RECALL_BREAKING);
	}
	run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.merges, 0);
	assert_false(w.unwritten);
}

static void break__revoked_in_the_middle_writes_no_more(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.flush_pieces = 5;
	break_it(&w);
	run(&w);
	w.lease = NONE;
	run(&w);
	check_last(&w, RECALL_BREAKING, RECALL_LOST, RECALL_REVOKED, -EAGAIN);
	assert_int_equal(w.flushes, 1);
	run_until(&w, w.now_ns + 5 * MS);
	assert_int_equal(w.flushes, 1);
	/* retaken: merged before anything is flushed */
	run_until(&w, w.now_ns + 100 * MS);
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
	struct recall_actions actions = all_actions;
	struct world w;

	(void)state;
	actions.flush = flush_and_revoke;
	hold(&w, &actions);
	break_it(&w);
	run(&w);
	check_last(&w, RECALL_BREAKING, RECALL_LOST, RECALL_REVOKED, -EAGAIN);
}

static void break__too_slow_yields_at_the_deadline(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.flush_pieces = 1000;
	w.piece_ns = 30 * MS;
	break_it(&w);
	while (w.recall.state == RECALL_BREAKING)
		run(&w);
	check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_OUT_OF_TIME,
		   -ETIMEDOUT);
	assert_true(last(&w)->spent_ns >= policy.break_ns);
	assert_true(last(&w)->spent_ns < policy.break_ns + w.piece_ns);
}

static void break__failing_flush_is_tried_again_and_told_once(void **state)
{
	struct world w;
	int told;

	(void)state;
	hold(&w, &all_actions);
	w.flush_result = -EIO;
	break_it(&w);
	assert_int_equal(run(&w), w.now_ns + 10 * MS);
	check_last(&w, RECALL_BREAKING, RECALL_BREAKING, RECALL_FLUSH_FAILED,
		   -EIO);
	told = w.told;
	w.now_ns += 10 * MS;
	assert_int_equal(run(&w), w.now_ns + 20 * MS);
	assert_int_equal(w.flushes, 2);
	assert_int_equal(w.told, told);
	w.flush_result = 0;
	w.now_ns += 20 * MS;
	run(&w);
	check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED, 0);

	/* one that goes on failing keeps nobody out for ever */
	hold(&w, &all_actions);
	w.flush_result = -EIO;
	break_it(&w);
	run_until(&w, w.now_ns + policy.break_ns);
	check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_OUT_OF_TIME,
		   -EIO);
}

static void consent__is_waited_for_no_longer_than_its_time(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.recall.policy.consent_ns = 50 * MS;
	break_it(&w);
	assert_int_equal(w.asked, 1);
	assert_int_equal(w.asked_deadline_ns, w.now_ns + 50 * MS);
	assert_int_equal(run(&w), w.now_ns + 50 * MS);
	assert_int_equal(w.flushes, 0);
	w.now_ns += 50 * MS;
	run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	hold(&w, &all_actions);
	w.recall.policy.consent_ns = 50 * MS;
	break_it(&w);
	w.now_ns += MS;
	recall_consent(&w.recall);
	run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	/* last break's consent does not count for this one */
	run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
	break_it(&w);
	run(&w);
	assert_int_equal(w.asked, 2);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
}

static void yielded__long_reader_is_tried_with_growing_pauses(void **state)
{
	int64_t due, pause = RECALL_PAUSE_MIN;
	struct world w;

	(void)state;
	hold(&w, &few_actions);
	yield_it(&w);
	w.take_result = -EAGAIN;
	due = run(&w);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(due, w.now_ns + pause);
		w.now_ns = due;
		due = run(&w);
		assert_int_equal(w.takes, i + 1);
		pause = i ? pause * 2 : pause;
		if (pause > RECALL_PAUSE_MAX)
			pause = RECALL_PAUSE_MAX;
	}
	assert_int_equal(pause, RECALL_PAUSE_MAX);

	/* it goes: at once, and from the smallest pause again */
	recall_opener_gone(&w.recall);
	assert_int_equal(run(&w), w.now_ns + RECALL_PAUSE_MIN);
	w.take_result = 0;
	w.now_ns += RECALL_PAUSE_MIN;
	run(&w);
	run(&w);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void yielded__opener_gone_does_not_shorten_the_first_pause(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &few_actions);
	yield_it(&w);
	w.now_ns += MS;
	recall_opener_gone(&w.recall);
	assert_int_equal(run(&w), w.now_ns + RECALL_PAUSE_MIN - MS);
	assert_int_equal(w.takes, 0);
}

static void yielded__other_errors_are_told_once(void **state)
{
	struct world w;
	int told;

	(void)state;
	hold(&w, &few_actions);
	yield_it(&w);
	w.take_result = -EACCES;
	w.now_ns += RECALL_PAUSE_MIN;
	run(&w);
	check_last(&w, RECALL_YIELDED, RECALL_YIELDED, RECALL_TAKE_FAILED,
		   -EACCES);
	told = w.told;
	run_until(&w, w.now_ns + 5000 * MS);
	assert_true(w.takes > 5);
	assert_int_equal(w.told, told);
}

static void pause__grows_when_broken_often_and_forgets(void **state)
{
	int64_t pause = RECALL_PAUSE_MIN;
	struct world w;

	(void)state;
	hold(&w, &few_actions);
	for (int i = 0; i < 12; i++) {
		yield_it(&w);
		assert_int_equal(run(&w), w.now_ns + pause);
		run_until(&w, w.now_ns + pause);
		assert_int_equal(w.recall.state, RECALL_HELD);
		pause = 2 * pause < RECALL_PAUSE_MAX ? 2 * pause
						     : RECALL_PAUSE_MAX;
	}
	assert_int_equal(pause, RECALL_PAUSE_MAX);
	w.now_ns += 10 * RECALL_PAUSE_MAX;
	yield_it(&w);
	assert_int_equal(run(&w), w.now_ns + RECALL_PAUSE_MIN);
}

static void merging__broken_merges_on_then_flushes(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	yield_it(&w);
	w.flushes = 0;
	w.merge_pieces = 3;
	w.now_ns += RECALL_PAUSE_MIN;
	run(&w);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	run(&w);
	assert_int_equal(w.merges, 1);
	break_it(&w);
	check_last(&w, RECALL_MERGING, RECALL_BREAKING, RECALL_BREAK_HEARD, 0);
	run(&w);
	assert_int_equal(w.merges, 2);
	assert_int_equal(w.flushes, 0);
	run(&w);
	assert_int_equal(w.merges, 3);
	assert_int_equal(w.flushes, 1);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
}

static void merging__a_break_that_was_not_heard_is_seen(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	yield_it(&w);
	w.merge_pieces = 2;
	w.now_ns += RECALL_PAUSE_MIN;
	run(&w);
	w.lease = BREAKING;
	run(&w);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.merges, 0);
}

static void merging__revoked_is_lost_and_failing_is_tried_again(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	yield_it(&w);
	w.merge_result = -EIO;
	w.now_ns += RECALL_PAUSE_MIN;
	run(&w);
	run(&w);
	check_last(&w, RECALL_MERGING, RECALL_MERGING, RECALL_MERGE_FAILED,
		   -EIO);
	run_until(&w, w.now_ns + 500 * MS);
	assert_true(w.merges > 3);
	w.lease = NONE;
	run(&w);
	check_last(&w, RECALL_MERGING, RECALL_LOST, RECALL_REVOKED, -EAGAIN);
	w.merge_result = 0;
	run_until(&w, w.now_ns + 500 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void held__a_break_that_was_not_heard_is_looked_for(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &few_actions);
	recall_look(&w.recall);
	assert_int_equal(w.recall.state, RECALL_HELD);
	w.lease = BREAKING;
	recall_look(&w.recall);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	hold(&w, &few_actions);
	w.lease = NONE;
	recall_look(&w.recall);
	check_last(&w, RECALL_HELD, RECALL_LOST, RECALL_REVOKED, -EAGAIN);
}

static void release__held_flushes_and_ends(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.recall.policy.consent_ns = 50 * MS;
	w.flush_pieces = 2;
	recall_release(&w.recall, w.now_ns + 100 * MS);
	check_last(&w, RECALL_HELD, RECALL_BREAKING, RECALL_RELEASE_ASKED, 0);
	run(&w);
	run(&w);
	check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, 0);
	assert_int_equal(w.asked, 0);
	assert_int_equal(w.lease, NONE);
	assert_int_equal(run(&w), RECALL_NEVER);
}

static void release__flush_fails_until_the_deadline(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.flush_result = -ENOSPC;
	recall_release(&w.recall, w.now_ns + 100 * MS);
	run_until(&w, w.now_ns + 100 * MS);
	check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, -ENOSPC);
	assert_int_equal(w.lease, NONE);
}

/* The opener is let in within its time, and what was unwritten is not lost. */
static void release__broken_meanwhile_is_written_when_retaken(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	w.unwritten = true;
	w.flush_result = -EIO;
	recall_release(&w.recall, w.now_ns + 60000 * MS);
	run(&w);
	break_it(&w);
	run_until(&w, w.now_ns + policy.break_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	w.flush_result = 0;
	run_until(&w, w.now_ns + 100 * MS);
	check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, 0);
	assert_false(w.unwritten);
	assert_int_equal(w.merges, 1);
}

static void release__yielded_ends_at_once_unless_unwritten(void **state)
{
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	yield_it(&w);
	recall_release(&w.recall, w.now_ns + 100 * MS);
	run(&w);
	check_last(&w, RECALL_YIELDED, RECALL_FREE, RECALL_RELEASED, 0);

	hold(&w, &all_actions);
	yield_it(&w);
	w.unwritten = true;
	w.take_result = -EAGAIN;
	recall_release(&w.recall, w.now_ns + 100 * MS);
	run_until(&w, w.now_ns + 100 * MS);
	check_last(&w, RECALL_YIELDED, RECALL_FREE, RECALL_RELEASED, -EBUSY);

	hold(&w, &all_actions);
	w.lease = NONE;
	recall_look(&w.recall);
	recall_release(&w.recall, w.now_ns);
	run(&w);
	check_last(&w, RECALL_LOST, RECALL_FREE, RECALL_RELEASED, 0);
}

static void events__mean_nothing_where_they_cannot(void **state)
{
	struct world w;
	int told;

	(void)state;
	memset(&w, 0, sizeof(w));
	recall_init(&w.recall, &few_actions, &w, &policy);
	recall_break_heard(&w.recall);
	recall_opener_gone(&w.recall);
	recall_look(&w.recall);
	recall_consent(&w.recall);
	recall_release(&w.recall, 0);
	assert_int_equal(w.recall.state, RECALL_FREE);
	assert_int_equal(run(&w), RECALL_NEVER);
	assert_int_equal(w.told, 0);
	hold(&w, &few_actions);
	yield_it(&w);
	told = w.told;
	recall_break_heard(&w.recall); /* heard late */
	recall_look(&w.recall);
	assert_int_equal(w.told, told);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
}

/*
 * A million random events: no transition that is not in the table, no piece
 * without a lease, nothing due that is never done, every transition seen.
 */
static void random_walk__stays_within_the_table(void **state)
{
	bool seen[RECALL_STATES][RECALL_STATES] = {{false}};
	unsigned int seed = 20;
	struct world w;

	(void)state;
	hold(&w, &all_actions);
	for (int i = 0; i < 1000000; i++) {
		int told = w.told;

		w.flush_result = rand_r(&seed) % 4 ? 0 : -EIO;
		w.merge_result = rand_r(&seed) % 4 ? 0 : -EIO;
		w.take_result = rand_r(&seed) % 3 ? 0 : -EAGAIN;
		w.unwritten = rand_r(&seed) % 2;
		w.piece_ns = rand_r(&seed) % 3 * MS;
		if (rand_r(&seed) % 4 == 0)
			w.flush_pieces = w.merge_pieces = rand_r(&seed) % 5 + 1;
		w.now_ns += rand_r(&seed) % 50 * MS;
		switch (rand_r(&seed) % 12) {
		case 0:
		case 1:
			if (w.lease == OURS)
				break_it(&w);
			break;
		case 2:
			if (w.lease == BREAKING || rand_r(&seed) % 4 == 0)
				w.lease = NONE; /* revoked, also unheard */
			break;
		case 3:
			recall_look(&w.recall);
			break;
		case 4:
			recall_opener_gone(&w.recall);
			break;
		case 5:
			if (rand_r(&seed) % 4 == 0)
				recall_release(&w.recall, w.now_ns + 20 * MS);
			break;
		default:
			run(&w);
		}
		assert_true(w.told - told <= 8);
		for (; told < w.told; told++) {
			const struct recall_report *r =
				&w.reports[told % REPORTS];

			seen[r->from][r->to] = true;
		}
		if (w.recall.state == RECALL_FREE) {
			assert_int_equal(w.lease, NONE);
			assert_int_equal(w.wrote_without_lease, 0);
			assert_int_equal(w.recall.refused, 0);
			hold(&w, &all_actions);
			seen[RECALL_FREE][RECALL_HELD] = true;
		}
	}
	for (int from = 0; from < RECALL_STATES; from++)
		for (int to = 0; to < RECALL_STATES; to++)
			assert_true(seen[from][to] || !recall_may_go(from, to));
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
			yielded__long_reader_is_tried_with_growing_pauses),
		cmocka_unit_test(
			yielded__opener_gone_does_not_shorten_the_first_pause),
		cmocka_unit_test(yielded__other_errors_are_told_once),
		cmocka_unit_test(pause__grows_when_broken_often_and_forgets),
		cmocka_unit_test(merging__broken_merges_on_then_flushes),
		cmocka_unit_test(merging__a_break_that_was_not_heard_is_seen),
		cmocka_unit_test(
			merging__revoked_is_lost_and_failing_is_tried_again),
		cmocka_unit_test(
			held__a_break_that_was_not_heard_is_looked_for),
		cmocka_unit_test(release__held_flushes_and_ends),
		cmocka_unit_test(release__flush_fails_until_the_deadline),
		cmocka_unit_test(
			release__broken_meanwhile_is_written_when_retaken),
		cmocka_unit_test(
			release__yielded_ends_at_once_unless_unwritten),
		cmocka_unit_test(events__mean_nothing_where_they_cannot),
		cmocka_unit_test(random_walk__stays_within_the_table),
	};

	return cmocka_run_group_tests_name("lease recall", tests, NULL, NULL);
}
