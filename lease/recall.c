/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of a leased file: recall.h has the drawing.
 */
#include <errno.h>
#include <stddef.h>

#include "recall.h"

#define BIT(state) (1u << (state))

static const unsigned int table[RECALL_STATES] = {
	[RECALL_FREE] = BIT(RECALL_HELD),
	[RECALL_HELD] = BIT(RECALL_BREAKING) | BIT(RECALL_LOST),
	[RECALL_BREAKING] =
		BIT(RECALL_YIELDED) | BIT(RECALL_LOST) | BIT(RECALL_FREE),
	[RECALL_YIELDED] = BIT(RECALL_MERGING) | BIT(RECALL_FREE),
	[RECALL_MERGING] =
		BIT(RECALL_HELD) | BIT(RECALL_BREAKING) | BIT(RECALL_LOST),
	[RECALL_LOST] = BIT(RECALL_MERGING) | BIT(RECALL_FREE),
};

bool recall_may_go(enum recall_state from, enum recall_state to)
{
	return (unsigned int)from < RECALL_STATES &&
	       (unsigned int)to < RECALL_STATES && table[from] & BIT(to);
}

const char *recall_state_name(enum recall_state state)
{
	static const char *const names[RECALL_STATES] = {
		[RECALL_FREE] = "FREE",		[RECALL_HELD] = "HELD",
		[RECALL_BREAKING] = "BREAKING", [RECALL_YIELDED] = "YIELDED",
		[RECALL_MERGING] = "MERGING",	[RECALL_LOST] = "LOST",
	};

	return (unsigned int)state < RECALL_STATES ? names[state] : "?";
}

static int64_t now(struct recall *recall)
{
	return recall->actions->now(recall->arg);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void tell(struct recall *recall, enum recall_state from,
		 enum recall_cause cause, int error, int64_t at_ns)
{
	struct recall_report report = {
		.from = from,
		.to = recall->state,
		.cause = cause,
		.error = error,
		.at_ns = at_ns,
		.spent_ns = at_ns - recall->since_ns[from],
	};

	recall->actions->tell(recall->arg, &report);
}

/* The only place where a state changes. */
static int set_state(struct recall *recall, enum recall_state to,
		     enum recall_cause cause, int error)
{
	enum recall_state from = recall->state;
	int64_t at_ns = now(recall);

	if (!recall_may_go(from, to)) {
		recall->refused++;
		return -EINVAL;
	}
	recall->state = to;
	recall->since_ns[to] = at_ns;
	recall->last_error = 0;
	tell(recall, from, cause, error, at_ns);
	return 0;
}

void recall_init(struct recall *recall, const struct recall_actions *actions,
		 void *arg, const struct recall_policy *policy)
{
	*recall = (struct recall){
		.actions = actions,
		.arg = arg,
		.policy = *policy,
		.pause_ns = policy->pause_min_ns,
		.break_deadline_ns = RECALL_NEVER,
		.release_deadline_ns = RECALL_NEVER,
	};
	recall->since_ns[RECALL_FREE] = now(recall);
}

int recall_granted(struct recall *recall)
{
	return set_state(recall, RECALL_HELD, RECALL_GRANTED, 0);
}

void recall_adopt(struct recall *recall, enum recall_state state,
		  int64_t since_ns, bool must_merge)
{
	recall->state = state;
	recall->since_ns[state] = since_ns;
	recall->must_merge = must_merge;
	recall->has_consent = true;
	recall->retry_pause_ns = recall->pause_ns;
	if (state == RECALL_BREAKING) {
		recall->breaks = 1;
		recall->break_deadline_ns = since_ns + recall->policy.break_ns;
	}
}

/* A file that is broken soon after it was retaken is left alone for longer. */
static void choose_pause(struct recall *recall, int64_t at_ns)
{
	int64_t held_ns = at_ns - recall->since_ns[RECALL_HELD];

	if (recall->state == RECALL_HELD && held_ns >= 10 * recall->pause_ns)
		recall->pause_ns = recall->policy.pause_min_ns;
	else if (recall->breaks > 1)
		recall->pause_ns = earlier(2 * recall->pause_ns,
					   recall->policy.pause_max_ns);
}

void recall_break_heard(struct recall *recall)
{
	int64_t at_ns = now(recall);

	switch (recall->state) {
	case RECALL_BREAKING:
		/* By the owner until now. */
		if (recall->break_deadline_ns == RECALL_NEVER) {
			recall->breaks++;
			recall->break_deadline_ns =
				at_ns + recall->policy.break_ns;
		}
		break;
	case RECALL_HELD:
	case RECALL_MERGING:
		recall->breaks++;
		choose_pause(recall, at_ns);
		recall->break_deadline_ns = at_ns + recall->policy.break_ns;
		recall->retry_ns = at_ns;
		recall->retry_pause_ns = recall->policy.pause_min_ns;
		recall->has_consent = !recall->policy.consent_ns ||
				      !recall->actions->ask_consent;
		recall->consent_deadline_ns =
			at_ns + earlier(recall->policy.consent_ns,
					recall->policy.break_ns);
		set_state(recall, RECALL_BREAKING, RECALL_BREAK_HEARD, 0);
		if (!recall->has_consent)
			recall->actions->ask_consent(
				recall->arg, recall->consent_deadline_ns);
		break;
	default:
		/* Heard late: the lease isn't ours any more. */
		break;
	}
}

void recall_consent(struct recall *recall)
{
	recall->has_consent = true;
}

void recall_opener_gone(struct recall *recall)
{
	if (recall->state != RECALL_YIELDED && recall->state != RECALL_LOST)
		return;
	/* The kernel says so a moment before the file is free. */
	recall->retry_pause_ns = recall->policy.pause_min_ns;
	recall->retry_ns = earlier(
		recall->retry_ns,
		later(recall->since_ns[recall->state] + recall->pause_ns,
		      recall->tried_ns + recall->policy.pause_min_ns));
}

/* The kernel took it; whoever opened may not have seen all that was written. */
static void lost(struct recall *recall, int error)
{
	recall->must_merge = true;
	recall->retry_pause_ns = recall->pause_ns;
	recall->retry_ns = now(recall) + recall->pause_ns;
	set_state(recall, RECALL_LOST, RECALL_REVOKED, error);
}

/* Before each piece: nothing is written once it isn't ours. */
static bool is_ours(struct recall *recall)
{
	int r = recall->actions->check(recall->arg);

	if (r < 0) {
		lost(recall, r);
		return false;
	}
	if (r > 0)
		recall_break_heard(recall);
	return true;
}

void recall_look(struct recall *recall)
{
	if (recall->state == RECALL_HELD || recall->state == RECALL_MERGING ||
	    recall->state == RECALL_BREAKING)
		is_ours(recall);
}

void recall_release(struct recall *recall, int64_t deadline_ns)
{
	if (recall->state == RECALL_FREE)
		return;
	recall->is_releasing = true;
	recall->release_deadline_ns = deadline_ns;
	/* Who releases needs not be asked. */
	recall->has_consent = true;
	if (recall->state != RECALL_HELD && recall->state != RECALL_MERGING)
		return;
	recall->break_deadline_ns = RECALL_NEVER;
	recall->retry_ns = now(recall);
	recall->retry_pause_ns = recall->policy.pause_min_ns;
	set_state(recall, RECALL_BREAKING, RECALL_RELEASE_ASKED, 0);
}

/* The next attempt comes later than the last one did. */
static void back_off(struct recall *recall)
{
	recall->retry_ns = now(recall) + recall->retry_pause_ns;
	recall->retry_pause_ns = earlier(2 * recall->retry_pause_ns,
					 recall->policy.pause_max_ns);
}

/* Each error is told once, not at each attempt. */
static void failed(struct recall *recall, enum recall_cause cause, int error)
{
	if (error != recall->last_error)
		tell(recall, recall->state, cause, error, now(recall));
	recall->last_error = error;
	back_off(recall);
}

/*
 * One piece of what has to be done before the lease can go: the merge that was
 * interrupted, then the flush. As the actions, 0: nothing is left to do.
 */
static int write_piece(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int r = 0;

	if (recall->must_merge) {
		r = actions->merge ? actions->merge(recall->arg) : 0;
		if (r < 0)
			failed(recall, RECALL_MERGE_FAILED, r);
		if (r)
			return r;
		recall->must_merge = false;
	}
	if (recall->state == RECALL_BREAKING && actions->flush) {
		r = actions->flush(recall->arg);
		if (r < 0)
			failed(recall, RECALL_FLUSH_FAILED, r);
	}
	return r;
}

static void hand_back(struct recall *recall, enum recall_cause cause)
{
	/* What the last piece said is why not all is written. */
	int error = cause == RECALL_FLUSHED ? 0 : recall->last_error;
	int r = recall->actions->unlock(recall->arg);

	if (cause == RECALL_OUT_OF_TIME && !error)
		error = -ETIMEDOUT;
	recall->break_deadline_ns = RECALL_NEVER;
	if (r) {
		lost(recall, r);
		return;
	}
	if (recall->is_releasing &&
	    (cause == RECALL_FLUSHED ||
	     now(recall) >= recall->release_deadline_ns)) {
		set_state(recall, RECALL_FREE, RECALL_RELEASED, error);
		return;
	}
	recall->must_merge = true;
	recall->retry_pause_ns = recall->pause_ns;
	recall->retry_ns = now(recall) + recall->pause_ns;
	set_state(recall, RECALL_YIELDED, cause, error);
}

static int64_t run_breaking(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int64_t deadline_ns, at_ns;

	/* With nothing to write the unlock tells as well, and sooner. */
	if ((actions->flush || actions->merge) && !is_ours(recall))
		return recall->retry_ns;
	at_ns = now(recall);
	deadline_ns =
		earlier(recall->break_deadline_ns, recall->release_deadline_ns);
	if (at_ns >= deadline_ns) {
		hand_back(recall, RECALL_OUT_OF_TIME);
		return at_ns;
	}
	if (!recall->has_consent && at_ns < recall->consent_deadline_ns)
		return recall->consent_deadline_ns;
	if (at_ns >= recall->retry_ns && !write_piece(recall)) {
		hand_back(recall, RECALL_FLUSHED);
		return at_ns;
	}
	return earlier(deadline_ns, recall->retry_ns);
}

static int64_t run_merging(struct recall *recall)
{
	int64_t at_ns;

	if (!is_ours(recall))
		return recall->retry_ns;
	at_ns = now(recall);
	if (recall->state == RECALL_MERGING && at_ns >= recall->retry_ns &&
	    !write_piece(recall)) {
		set_state(recall, RECALL_HELD, RECALL_MERGED, 0);
		return RECALL_NEVER;
	}
	return recall->retry_ns;
}

/* YIELDED and LOST. */
static int64_t run_without(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int64_t at_ns = now(recall);
	int r;

	if (recall->is_releasing) {
		bool unwritten = actions->has_unwritten &&
				 actions->has_unwritten(recall->arg);

		if (!unwritten || at_ns >= recall->release_deadline_ns) {
			set_state(recall, RECALL_FREE, RECALL_RELEASED,
				  unwritten ? -EBUSY : 0);
			return RECALL_NEVER;
		}
	}
	if (at_ns >= recall->retry_ns) {
		recall->tried_ns = at_ns;
		r = actions->take(recall->arg);
		if (!r) {
			recall->retry_ns = at_ns;
			recall->retry_pause_ns = recall->policy.pause_min_ns;
			set_state(recall, RECALL_MERGING, RECALL_RETAKEN, 0);
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
	return earlier(recall->retry_ns, recall->release_deadline_ns);
}

int64_t recall_run(struct recall *recall)
{
	switch (recall->state) {
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
