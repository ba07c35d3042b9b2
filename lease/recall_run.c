/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due in each state: recall_run() of recall.h.
 */
#include <errno.h>
#include <stddef.h>

#include "recall_steps.h"

/* An owner's flush that waits for a seal spends one part of its time in so
 * many. */
#define SEAL_SHARE 20

/* The next attempt comes later than the last one did. */
static void back_off(struct recall *recall)
{
	recall->retry_ns = recall_now(recall) + recall->retry_pause_ns;
	recall->retry_pause_ns = earlier(2 * recall->retry_pause_ns,
					 recall->policy.pause_max_ns);
}

/* Each error is told once, not at each attempt. */
static void tell_once(struct recall *recall, enum recall_cause cause, int error)
{
	if (error != recall->last_error)
		recall_tell(recall, recall->state, cause, error,
			    recall_now(recall));
	recall->last_error = error;
}

static void failed(struct recall *recall, enum recall_cause cause, int error)
{
	tell_once(recall, cause, error);
	if (recall->state == RECALL_BREAKING)
		recall->give_up_ns =
			earlier(recall->give_up_ns,
				recall_now(recall) + recall->policy.retry_ns);
	back_off(recall);
}

static int act(const struct recall *recall, int (*action)(void *arg))
{
	return action ? action(recall->arg) : 0;
}

/*
 * As the actions, 0: nothing is left to do. After one that failed the next pass
 * is for all that was asked for by then.
 */
static int flush_a_piece(struct recall *recall)
{
	int r = act(recall, recall->actions->flush);

	recall->is_pass_begun = r > 0;
	if (r < 0) {
		recall_restart_flush(recall);
		failed(recall, RECALL_FLUSH_FAILED, r);
	}
	return r;
}

/* In HELD and MERGING. What is to be flushed goes first then, at once. */
static int merge_a_piece(struct recall *recall)
{
	int r = act(recall, recall->actions->merge);

	if (r >= 0)
		return r;
	failed(recall, RECALL_MERGE_FAILED, r);
	if (recall->must_persist)
		recall->is_merge_stuck = true;
	if (recall->must_flush) {
		recall->is_merge_stuck = true;
		recall->retry_ns = recall_now(recall);
	}
	return r;
}

/*
 * On demand, in HELD and MERGING. What was asked for in the pass has one more,
 * before which a merge that is stuck is tried again.
 */
static void flush_demanded_piece(struct recall *recall)
{
	int r = flush_a_piece(recall);

	if (r > 0)
		return;
	if (!r) {
		recall->must_flush = recall->is_flush_late;
		recall->write_error = 0;
		recall_no_write_back(recall, recall_now(recall));
		recall_tell(recall, recall->state, RECALL_WRITTEN, 0,
			    recall_now(recall));
	}
	if (!r && recall->is_merge_stuck)
		back_off(recall);
	else if (!r)
		recall->last_error = 0;
	if (!r && recall->must_flush)
		recall_flush_anew(recall);
	recall->is_merge_stuck = false;
}

/* The owner's part, which waits for no pause. */
static int persist_piece(struct recall *recall, bool is_lent)
{
	int r = recall->actions->persist
			? recall->actions->persist(recall->arg, is_lent)
			: 0;

	if (r > 0)
		return r;
	recall->must_persist = false;
	if (!is_lent && !recall->must_flush)
		recall->is_merge_stuck = false;
	if (!r)
		return 0;
	tell_once(recall, RECALL_FLUSH_FAILED, r);
	/* All of it, until that can be done. */
	if (!is_lent)
		recall->must_flush = true;
	return r;
}

/* The merge that was interrupted, if there is one. > 0: more of it. */
static int end_merge(struct recall *recall)
{
	int r = recall->must_merge ? act(recall, recall->actions->merge) : 0;

	if (r > 0)
		return r;
	if (r < 0)
		tell_once(recall, RECALL_MERGE_FAILED, r);
	recall->must_merge = false;
	return 0;
}

/*
 * Before the lease goes: the merge, then the flush. That leaves alone what only
 * others have changed, so it needs no merge that fails.
 */
static int write_piece(struct recall *recall)
{
	int r = recall->actions->flush ? end_merge(recall) : 0;

	if (r || !recall->actions->flush)
		return r;
	return flush_a_piece(recall);
}

/*
 * While the consent is waited for: what the owner waits for himself, who may
 * not be able to agree before it is durable.
 */
static int64_t run_asked(struct recall *recall, int64_t at_ns)
{
	if (!recall->must_persist)
		return recall->consent_deadline_ns;
	recall->must_merge |= recall->must_settle;
	recall->must_settle = false;
	if (!end_merge(recall))
		persist_piece(recall, false);
	return recall->must_persist ? at_ns : recall->consent_deadline_ns;
}

/*
 * What is to be waited for before it is released: > 0 a pass more, -errno what
 * may still come, for which nobody else is kept waiting.
 */
static int seal(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int64_t at_ns = recall_now(recall), spent_ns = at_ns - recall->retry_ns;
	int r = recall->is_releasing ? act(recall, actions->seal) : 0;

	if (!r || (r < 0 && recall->is_broken))
		return r;
	recall_restart_flush(recall);
	recall->retry_ns = at_ns;
	if (r > 0)
		return r;
	back_off(recall);
	if (recall->retry_ns < at_ns + SEAL_SHARE * spent_ns)
		recall->retry_ns = at_ns + SEAL_SHARE * spent_ns;
	return 1;
}

/* All is written, but more may come: that keeps it from being released. */
static void hand_back(struct recall *recall, enum recall_cause cause,
		      bool may_come)
{
	/* What the last piece said is why not all is written. */
	int error = cause == RECALL_FLUSHED ? 0 : recall->last_error;
	int r = recall->actions->unlock(recall->arg);

	if (cause == RECALL_OUT_OF_TIME && !error)
		error = -ETIMEDOUT;
	if (r) {
		recall_lost(recall, r);
		return;
	}
	if (cause == RECALL_FLUSHED)
		recall->must_flush = recall->is_flush_late;
	if (recall->is_releasing &&
	    ((cause == RECALL_FLUSHED && !may_come) ||
	     recall_now(recall) >= recall->release_deadline_ns)) {
		recall_set_state(recall, RECALL_FREE, RECALL_RELEASED, error);
		return;
	}
	recall_leave(recall, RECALL_YIELDED, cause, error);
}

/*
 * Until a merge that has failed is tried again, the write-back goes on: what
 * there is no room for keeps nothing else from the file.
 */
static int64_t before_retry(const struct recall *recall)
{
	return recall->must_flush ? recall->retry_ns
				  : earlier(recall->retry_ns,
					    recall_write_back_due(recall));
}

static int64_t run_until_retry(struct recall *recall)
{
	int64_t due_ns = before_retry(recall);

	return due_ns < recall->retry_ns
		       ? earlier(recall->retry_ns,
				 recall_write_back_piece(recall))
		       : due_ns;
}

/* HELD, MERGING: not before what others have done is known, if it can be. */
static bool may_persist(const struct recall *recall)
{
	bool must_merge = recall->state == RECALL_MERGING ? recall->must_merge
							  : recall->must_settle;

	return recall->must_persist && (!must_merge || recall->is_merge_stuck);
}

/* What was asked for first. */
static int64_t run_held(struct recall *recall)
{
	int64_t at_ns = recall_now(recall);
	int r;

	if (!recall->must_settle && !recall->must_flush &&
	    !recall->must_persist)
		return recall_write_back_piece(recall);
	if (!may_persist(recall) && at_ns < recall->retry_ns)
		return run_until_retry(recall);
	if (!recall_is_ours(recall) || recall->state != RECALL_HELD)
		return recall->retry_ns;
	if (may_persist(recall)) {
		persist_piece(recall, false);
	} else if (recall->must_flush &&
		   (!recall->must_settle || recall->is_merge_stuck)) {
		flush_demanded_piece(recall);
	} else {
		r = merge_a_piece(recall);
		if (!r) {
			recall->must_settle = false;
			recall->last_error = 0;
		}
	}
	if (may_persist(recall))
		return at_ns;
	return recall->must_settle || recall->must_flush
		       ? before_retry(recall)
		       : recall_write_back_due(recall);
}

static int64_t run_breaking(struct recall *recall)
{
	int64_t deadline_ns, at_ns;
	int r;

	/* With nothing to write the unlock tells as well, and sooner. */
	if (recall->actions->flush && !recall_is_ours(recall))
		return recall->retry_ns;
	at_ns = recall_now(recall);
	deadline_ns =
		earlier(recall->break_deadline_ns, recall->release_deadline_ns);
	if (recall->break_deadline_ns != RECALL_NEVER)
		deadline_ns = earlier(deadline_ns, recall->give_up_ns);
	if (at_ns >= deadline_ns) {
		hand_back(recall, RECALL_OUT_OF_TIME, true);
		return at_ns;
	}
	if (!recall->has_consent && at_ns < recall->consent_deadline_ns)
		return run_asked(recall, at_ns);
	if (at_ns >= recall->retry_ns && !write_piece(recall)) {
		r = seal(recall);
		if (r <= 0) {
			hand_back(recall, RECALL_FLUSHED, r < 0);
			return at_ns;
		}
	}
	return earlier(deadline_ns, recall->retry_ns);
}

static int64_t run_merging(struct recall *recall)
{
	int64_t at_ns;

	if (!recall_is_ours(recall))
		return recall->retry_ns;
	at_ns = recall_now(recall);
	if (recall->state != RECALL_MERGING)
		return recall->retry_ns;
	if (!may_persist(recall) && at_ns < recall->retry_ns)
		return run_until_retry(recall);
	if (may_persist(recall) && recall->is_merge_stuck) {
		persist_piece(recall, false);
	} else if (recall->must_flush && recall->is_merge_stuck) {
		flush_demanded_piece(recall);
	} else if (!recall->must_merge || !merge_a_piece(recall)) {
		recall->must_merge = false;
		recall_set_state(recall, RECALL_HELD, RECALL_MERGED, 0);
		return recall->must_flush || recall->must_persist
			       ? at_ns
			       : recall_write_back_due(recall);
	}
	return may_persist(recall) ? at_ns : before_retry(recall);
}

/* YIELDED and LOST. */
static int64_t run_without(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int64_t at_ns = recall_now(recall);
	int r;

	if (recall->is_releasing) {
		bool unwritten = actions->has_unwritten &&
				 actions->has_unwritten(recall->arg);

		if (!unwritten || at_ns >= recall->release_deadline_ns) {
			recall_set_state(recall, RECALL_FREE, RECALL_RELEASED,
					 unwritten ? -EBUSY : 0);
			return RECALL_NEVER;
		}
	}
	if (recall->must_persist && recall->state == RECALL_YIELDED &&
	    persist_piece(recall, true) > 0)
		return at_ns;
	if (recall->own_opens)
		return recall->release_deadline_ns;
	if (at_ns >= recall->retry_ns) {
		recall->tried_ns = at_ns;
		r = actions->take(recall->arg);
		if (!r) {
			recall->taken_ns = at_ns;
			recall->retry_ns = at_ns;
			recall->retry_pause_ns = recall->policy.pause_min_ns;
			recall_set_state(recall, RECALL_MERGING, RECALL_RETAKEN,
					 0);
			if (recall->is_releasing)
				recall_release(recall,
					       recall->release_deadline_ns);
			return at_ns;
		}
		if (r == -EAGAIN)
			back_off(recall);
		else
			failed(recall, RECALL_TAKE_FAILED, r);
	}
	return earlier(earlier(recall->retry_ns, recall->release_deadline_ns),
		       recall_write_through_piece(recall));
}

int64_t recall_run(struct recall *recall)
{
	switch (recall->state) {
	case RECALL_HELD:
		return run_held(recall);
	case RECALL_BREAKING:
		return run_breaking(recall);
	case RECALL_MERGING:
		return run_merging(recall);
	case RECALL_YIELDED:
	case RECALL_LOST:
		return run_without(recall);
	default:
		return RECALL_NEVER;
	}
}
