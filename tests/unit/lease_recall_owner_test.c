/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of a leased file whose owner releases it, opens it, changes it,
 * wants it flushed; and a walk at random among all that can happen.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lease_recall_world.h"
#include "unit.h"

static void release__held_flushes_and_ends(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	w.flush_pieces = 2;
	recall_release(&w.recall, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_HELD, RECALL_BREAKING, RECALL_RELEASE_ASKED,
			 0);
	world_run(&w);
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, 0);
	assert_int_equal(w.asked, 0);
	assert_int_equal(w.lease, NONE);
	assert_int_equal(world_run(&w), RECALL_NEVER);
}

static void release__flush_fails_until_the_deadline(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_result = -ENOSPC;
	recall_release(&w.recall, w.now_ns + 100 * MS);
	world_run_until(&w, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED,
			 -ENOSPC);
	assert_int_equal(w.lease, NONE);
}

/* The opener is let in within its time, and what was unwritten is not lost. */
static void release__broken_meanwhile_is_written_when_retaken(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.unwritten = true;
	w.flush_result = -EIO;
	recall_release(&w.recall, w.now_ns + 60000 * MS);
	world_run(&w);
	world_break(&w);
	world_run_until(&w, w.now_ns + world_policy.retry_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	w.flush_result = 0;
	world_run_until(&w, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, 0);
	assert_false(w.unwritten);
	assert_int_equal(w.merges, 1);
}

static void release__yielded_ends_at_once_unless_unwritten(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	world_yield(&w);
	recall_release(&w.recall, w.now_ns + 100 * MS);
	world_run(&w);
	world_check_last(&w, RECALL_YIELDED, RECALL_FREE, RECALL_RELEASED, 0);

	world_hold(&w, &world_actions);
	world_yield(&w);
	w.unwritten = true;
	w.take_result = -EAGAIN;
	recall_release(&w.recall, w.now_ns + 100 * MS);
	world_run_until(&w, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_YIELDED, RECALL_FREE, RECALL_RELEASED,
			 -EBUSY);

	world_hold(&w, &world_actions);
	w.lease = NONE;
	recall_look(&w.recall);
	recall_release(&w.recall, w.now_ns);
	world_run(&w);
	world_check_last(&w, RECALL_LOST, RECALL_FREE, RECALL_RELEASED, 0);
}

/* What was done before the open and after its block had been flushed. */
static void release__broken_meanwhile_the_pass_begins_anew(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_release(&w.recall, w.now_ns + 60000 * MS);
	world_run(&w);
	assert_int_equal(w.flush_restarts, 1);
	world_break(&w);
	assert_int_equal(w.flush_restarts, 2);
	world_break(&w);
	assert_int_equal(w.flush_restarts, 2);
	assert_int_equal(w.recall.breaks, 1);

	/* an error from before counts for nothing */
	world_hold(&w, &world_actions);
	w.flush_result = -ENOSPC;
	recall_release(&w.recall, w.now_ns + 60000 * MS);
	world_run_until(&w, w.now_ns + 10 * world_policy.retry_ns);
	w.flush_result = 0;
	w.flushes = 0;
	world_break(&w);
	world_run(&w);
	assert_int_equal(w.flushes, 1);
	world_check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, 0);
}

static void release__waits_for_the_seal(void **state)
{
	struct world w;
	int64_t began_ns;

	/* sealed by now: one pass more */
	(void)state;
	world_hold(&w, &world_actions);
	w.seal_result = 1;
	recall_release(&w.recall, RECALL_NEVER);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_FREE);
	assert_int_equal(w.flushes, 2);
	assert_int_equal(w.flush_restarts, 2);

	/* more may come: again and again, and not all the time */
	world_hold(&w, &world_actions);
	w.unwritten = true;
	w.seal_result = -EBUSY;
	w.piece_ns = 10 * MS;
	began_ns = w.now_ns;
	recall_release(&w.recall, RECALL_NEVER);
	world_run_until(&w, w.now_ns + 10000 * MS);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_true(w.seals > 5 && w.seals == w.flushes);
	assert_true(w.flushes * w.piece_ns * 15 < w.now_ns - began_ns);
	assert_int_equal(w.flush_restarts, w.seals + 1);
	/* who opens gets it flushed once more and at once */
	w.piece_ns = 0;
	w.flushes = 0;
	world_break(&w);
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	assert_int_equal(w.flushes, 1);
	/* it is taken back, merged and flushed again, to the end */
	w.unwritten = true;
	world_run_until(&w, w.now_ns + 1000 * MS);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.merges, 1);
	w.seal_result = 1;
	world_run_until(&w, w.now_ns + 2000 * MS);
	assert_int_equal(w.recall.state, RECALL_FREE);

	/* or to the deadline */
	world_hold(&w, &world_actions);
	w.seal_result = -EBUSY;
	recall_release(&w.recall, w.now_ns + 5000 * MS);
	world_run_until(&w, w.now_ns + 4999 * MS);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	world_run_until(&w, w.now_ns + MS);
	assert_int_equal(w.recall.state, RECALL_FREE);
}

static void own_open__hands_back_before_and_retakes_after(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	w.flush_pieces = 3;
	w.now_ns += MS;
	recall_own_begin(&w.recall);
	world_check_last(&w, RECALL_HELD, RECALL_BREAKING, RECALL_OWN_OPEN, 0);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	assert_int_equal(w.asked, 0);
	assert_int_equal(w.flushes, 3);
	assert_int_equal(w.recall.breaks, 0);
	/* not while the program is at it, whoever closes the file meanwhile */
	world_run_until(&w, w.now_ns + 5000 * MS);
	recall_opener_gone(&w.recall);
	assert_int_equal(world_run(&w), RECALL_NEVER);
	assert_int_equal(w.takes, 0);
	/* at once then; its description is still open */
	w.take_result = -EAGAIN;
	recall_own_end(&w.recall);
	assert_int_equal(world_run(&w), w.now_ns + RECALL_PAUSE_MIN);
	assert_int_equal(w.takes, 1);
	w.take_result = 0;
	w.now_ns += RECALL_PAUSE_MIN;
	recall_opener_gone(&w.recall);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_MERGING, RECALL_HELD, RECALL_MERGED, 0);
}

static void own_open__threads_are_counted(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	recall_own_end(&w.recall); /* of a begin that another keeper had */
	recall_own_begin(&w.recall);
	recall_own_begin(&w.recall);
	world_run_until(&w, w.now_ns + 100 * MS);
	recall_own_begin(&w.recall);
	recall_own_end(&w.recall);
	recall_own_end(&w.recall);
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.takes, 0);
	recall_own_end(&w.recall);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void own_open__a_real_break_is_served(void **state)
{
	struct world w;
	int64_t yielded_ns;

	(void)state;
	/* after: it gets its pause */
	world_hold(&w, &world_actions);
	w.flush_pieces = 2;
	recall_own_begin(&w.recall);
	world_run(&w);
	world_break(&w);
	assert_int_equal(w.recall.breaks, 1);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	yielded_ns = w.now_ns;
	recall_own_end(&w.recall);
	assert_int_equal(world_run(&w), yielded_ns + RECALL_PAUSE_MIN);
	assert_int_equal(w.takes, 0);

	/* the file is somebody else's: nothing to do before, none taken */
	world_hold(&w, &world_few_actions);
	world_yield(&w);
	recall_own_begin(&w.recall);
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.takes, 0);
	recall_own_end(&w.recall);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

/* What others see is what was agreed to: the open waits as they do. */
static void own_open__is_no_consent_to_what_others_are_to_see(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	world_break(&w);
	recall_own_begin(&w.recall);
	world_run_until(&w, w.now_ns + 49 * MS);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.flushes, 0);
	recall_consent(&w.recall);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	/* without one both have it at the deadline */
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	world_break(&w);
	recall_own_begin(&w.recall);
	world_run_until(&w, w.now_ns + 50 * MS);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	/* of its own open nobody is asked, though others come meanwhile */
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	recall_own_begin(&w.recall);
	world_break(&w);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.asked, 0);
}

static void own_open__merging_is_ended_first(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	world_yield(&w);
	w.merge_pieces = 3;
	w.now_ns += RECALL_PAUSE_MIN;
	world_run(&w);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	recall_own_begin(&w.recall);
	world_check_last(&w, RECALL_MERGING, RECALL_BREAKING, RECALL_OWN_OPEN,
			 0);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.merges, 3);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
}

static void own_open__revoked_is_lost_and_not_retaken(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_own_begin(&w.recall);
	w.lease = NONE;
	world_run_until(&w, w.now_ns + 1000 * MS);
	world_check_last(&w, RECALL_BREAKING, RECALL_LOST, RECALL_REVOKED,
			 -EAGAIN);
	assert_int_equal(w.takes, 0);
	recall_own_end(&w.recall);
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void own_open__release_meanwhile(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_own_begin(&w.recall);
	recall_release(&w.recall, w.now_ns + 100 * MS);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_FREE, RECALL_RELEASED, 0);

	/* unwritten, and the program never ends what it began */
	world_hold(&w, &world_actions);
	w.unwritten = true;
	w.flush_result = -EIO;
	recall_own_begin(&w.recall);
	world_run_until(&w, w.now_ns + world_policy.retry_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED,
			 RECALL_OUT_OF_TIME, -EIO);
	recall_release(&w.recall, w.now_ns + 100 * MS);
	world_run_until(&w, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_YIELDED, RECALL_FREE, RECALL_RELEASED,
			 -EBUSY);

	/* the owner waits longer than somebody who opens */
	world_hold(&w, &world_actions);
	w.unwritten = true;
	w.flush_result = -ENOSPC;
	recall_release(&w.recall, w.now_ns + 60000 * MS);
	world_run_until(&w, w.now_ns + 2 * world_policy.retry_ns);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	recall_own_begin(&w.recall);
	world_run(&w);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED,
			 RECALL_OUT_OF_TIME, -ENOSPC);
}

static void changed__merges_and_holds(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.merge_pieces = 2;
	recall_changed(&w.recall);
	world_check_last(&w, RECALL_HELD, RECALL_MERGING, RECALL_CHANGED, 0);
	assert_int_equal(w.merge_restarts, 1);
	world_run(&w);
	/* once more under the merge: from the beginning */
	recall_changed(&w.recall);
	assert_int_equal(w.merge_restarts, 2);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_MERGING, RECALL_HELD, RECALL_MERGED, 0);
	assert_int_equal(w.flushes, 0);
	assert_int_equal(w.takes, 0);

	/* what is not ours is merged when it has been retaken */
	world_yield(&w);
	recall_changed(&w.recall);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
}

static void changed__does_not_count_as_retaken(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_few_actions);
	for (int i = 0; i < 3; i++) {
		world_yield(&w);
		world_run_until(&w, w.now_ns + RECALL_PAUSE_MAX);
	}
	w.now_ns += 10 * RECALL_PAUSE_MAX;
	recall_changed(&w.recall);
	world_run_until(&w, w.now_ns);
	world_yield(&w);
	assert_int_equal(world_run(&w), w.now_ns + RECALL_PAUSE_MIN);
}

static void settle__merges_and_says_nothing(void **state)
{
	struct world w;
	int told;

	(void)state;
	world_hold(&w, &world_actions);
	told = w.told;
	w.merge_pieces = 2;
	recall_settle(&w.recall);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.merges, 2);
	assert_int_equal(w.told, told);
	assert_int_equal(world_run(&w), RECALL_NEVER);

	/* an error is told once, and tried again */
	w.merge_result = -ENOSPC;
	recall_settle(&w.recall);
	world_run_until(&w, w.now_ns + 500 * MS);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_MERGE_FAILED,
			 -ENOSPC);
	assert_int_equal(w.told, told + 1);
	assert_true(w.merges > 5);
	w.merge_result = 0;
	world_run_until(&w, w.now_ns + 1000 * MS);
	assert_int_equal(world_run(&w), RECALL_NEVER);
	w.merge_result = -ENOSPC;
	recall_settle(&w.recall);
	world_run(&w);
	assert_int_equal(w.told, told + 2);

	/* a break comes before, and what others did is settled later anyway */
	w.merge_result = 0;
	w.merges = 0;
	world_yield(&w);
	assert_int_equal(w.merges, 0);
	recall_settle(&w.recall);
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
	assert_int_equal(w.merges, 1);
	assert_int_equal(world_run(&w), RECALL_NEVER);
}

static void flush_now__keeps_the_lease(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	w.unwritten = true;
	recall_flush_now(&w.recall);
	assert_int_equal(w.flush_restarts, 1);
	world_run(&w);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_HELD);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
	assert_int_equal(w.flushes, 3);
	assert_false(w.unwritten);
	assert_int_equal(w.lease, OURS);
	assert_int_equal(world_run(&w), RECALL_NEVER);
}

static void flush_now__fails_and_is_tried_again(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_result = -ENOSPC;
	recall_flush_now(&w.recall);
	world_run_until(&w, w.now_ns + 10 * world_policy.retry_ns);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_FLUSH_FAILED,
			 -ENOSPC);
	assert_true(w.flushes > 5);
	w.flush_result = 0;
	world_run_until(&w, w.now_ns + RECALL_PAUSE_MAX);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
}

static void flush_now__a_break_begins_the_pass_anew(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_flush_now(&w.recall);
	world_run(&w);
	world_break(&w);
	assert_int_equal(w.flush_restarts, 2);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	/* and has done what was asked for */
	w.flushes = 0;
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
	assert_int_equal(w.flushes, 0);
}

/* Who waits for the file has one pass; what was asked in it is asked still. */
static void flush_now__in_a_break_comes_after_it(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	world_break(&w);
	world_run(&w);
	assert_int_equal(w.flush_restarts, 1);
	recall_flush_now(&w.recall);
	assert_int_equal(w.flush_restarts, 1);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	w.flushes = 0;
	world_run_until(&w, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
	assert_true(w.flushes > 0);
	assert_int_equal(w.flush_restarts, 2);

	/* before its first piece the pass is for both */
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = 50 * MS;
	world_break(&w);
	world_run(&w);
	recall_flush_now(&w.recall);
	assert_int_equal(w.flush_restarts, 2);
	recall_consent(&w.recall);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	w.flushes = 0;
	world_run_until(&w, w.now_ns + 100 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
	assert_int_equal(w.flushes, 0);
}

static void flush_now__revoked_writes_nothing_until_retaken(void **state)
{
	struct world w;

	(void)state;
	world_hold(&w, &world_actions);
	w.flush_pieces = 3;
	recall_flush_now(&w.recall);
	world_run(&w);
	w.lease = NONE;
	world_run(&w);
	world_check_last(&w, RECALL_HELD, RECALL_LOST, RECALL_REVOKED, -EAGAIN);
	assert_int_equal(w.flushes, 1);
	world_run_until(&w, w.now_ns + 100 * MS);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
	assert_int_equal(w.wrote_without_lease, 0);
}

/* A merge that fails keeps no byte of ours from the file. */
static void merge_fails__flush_goes_on(void **state)
{
	struct world w;

	/* somebody waits */
	(void)state;
	world_hold(&w, &world_actions);
	w.merge_result = -ENOSPC;
	recall_changed(&w.recall);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	world_break(&w);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.flushes, 1);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
	assert_true(w.recall.must_merge);

	/* it is demanded while the merge fails */
	world_hold(&w, &world_actions);
	w.merge_result = -EIO;
	recall_changed(&w.recall);
	world_run_until(&w, w.now_ns + 500 * MS);
	w.merges = 0;
	recall_flush_now(&w.recall);
	assert_int_equal(w.flush_restarts, 1);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.flushes, 1);
	assert_int_equal(w.merges, 1);
	world_check_last(&w, RECALL_MERGING, RECALL_MERGING, RECALL_WRITTEN, 0);
	world_run_until(&w, w.now_ns + 5000 * MS);
	assert_int_equal(w.flushes, 1);
	assert_in_range(w.merges, 3, 20);

	/* the same in HELD, and neither may starve the other */
	world_hold(&w, &world_actions);
	w.merge_result = w.flush_result = -EIO;
	recall_settle(&w.recall);
	recall_flush_now(&w.recall);
	world_run_until(&w, w.now_ns + 5000 * MS);
	assert_in_range(w.merges, 3, 20);
	assert_in_range(w.flushes, 3, 20);
	w.merge_result = 0;
	world_run_until(&w, w.now_ns + 2000 * MS);
	assert_false(w.recall.must_settle);
	w.flush_result = 0;
	world_run_until(&w, w.now_ns + 2000 * MS);
	assert_false(w.recall.must_flush);
	assert_int_equal(w.recall.state, RECALL_HELD);
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
	world_hold(&w, &world_actions);
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
		switch (rand_r(&seed) % 20) {
		case 0:
		case 1:
			if (w.lease == OURS)
				world_break(&w);
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
		case 6:
			recall_own_begin(&w.recall);
			break;
		case 7:
		case 8:
			recall_own_end(&w.recall);
			break;
		case 9:
			recall_changed(&w.recall);
			break;
		case 10:
			recall_settle(&w.recall);
			break;
		case 11:
			recall_flush_now(&w.recall);
			break;
		default:
			world_run(&w);
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
			world_hold(&w, &world_actions);
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
		cmocka_unit_test(release__held_flushes_and_ends),
		cmocka_unit_test(release__flush_fails_until_the_deadline),
		cmocka_unit_test(
			release__broken_meanwhile_is_written_when_retaken),
		cmocka_unit_test(
			release__yielded_ends_at_once_unless_unwritten),
		cmocka_unit_test(
			release__broken_meanwhile_the_pass_begins_anew),
		cmocka_unit_test(release__waits_for_the_seal),
		cmocka_unit_test(merge_fails__flush_goes_on),
		cmocka_unit_test(own_open__hands_back_before_and_retakes_after),
		cmocka_unit_test(own_open__threads_are_counted),
		cmocka_unit_test(own_open__a_real_break_is_served),
		cmocka_unit_test(
			own_open__is_no_consent_to_what_others_are_to_see),
		cmocka_unit_test(own_open__merging_is_ended_first),
		cmocka_unit_test(own_open__revoked_is_lost_and_not_retaken),
		cmocka_unit_test(own_open__release_meanwhile),
		cmocka_unit_test(changed__merges_and_holds),
		cmocka_unit_test(changed__does_not_count_as_retaken),
		cmocka_unit_test(settle__merges_and_says_nothing),
		cmocka_unit_test(flush_now__keeps_the_lease),
		cmocka_unit_test(flush_now__fails_and_is_tried_again),
		cmocka_unit_test(flush_now__a_break_begins_the_pass_anew),
		cmocka_unit_test(flush_now__in_a_break_comes_after_it),
		cmocka_unit_test(
			flush_now__revoked_writes_nothing_until_retaken),
		cmocka_unit_test(random_walk__stays_within_the_table),
	};

	return cmocka_run_group_tests_name("lease recall, the owner", tests,
					   NULL, NULL);
}
