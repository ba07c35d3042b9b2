/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of a leased file, and what happens to it: recall.h has the
 * drawing, recall_run.c what is done about it.
 */
#include <errno.h>
#include <stddef.h>

#include "recall_steps.h"

#define BIT(state) (1u << (state))

static const unsigned int table[RECALL_STATES] = {
	[RECALL_FREE] = BIT(RECALL_HELD),
	[RECALL_HELD] =
		BIT(RECALL_BREAKING) | BIT(RECALL_MERGING) | BIT(RECALL_LOST),
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

void recall_tell(struct recall *recall, enum recall_state from,
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

void recall_no_write_back(struct recall *recall, int64_t at_ns)
{
	recall->is_writing_back = false;
	recall->write_begun_ns = at_ns;
	recall->write_due_ns = at_ns + recall->policy.flush_ns;
}

void recall_restart_flush(struct recall *recall)
{
	recall->is_pass_begun = recall->is_flush_late = false;
	if (recall->actions->restart_flush)
		recall->actions->restart_flush(recall->arg);
}

/* All of it that is ours is written from HELD and from MERGING alike. */
static bool goes_on(enum recall_state from, enum recall_state to)
{
	return (from == RECALL_HELD && to == RECALL_MERGING) ||
	       (from == RECALL_MERGING && to == RECALL_HELD);
}

int recall_set_state(struct recall *recall, enum recall_state to,
		     enum recall_cause cause, int error)
{
	enum recall_state from = recall->state;
	int64_t at_ns = recall_now(recall), due_ns = recall->write_due_ns;

	if (!recall_may_go(from, to)) {
		recall->refused++;
		return -EINVAL;
	}
	/* Of a pass that was broken off when it was lost nothing holds. */
	if (to == RECALL_BREAKING ||
	    (to == RECALL_MERGING && from != RECALL_HELD))
		recall_restart_flush(recall);
	if (to == RECALL_MERGING && recall->actions->restart_merge)
		recall->actions->restart_merge(recall->arg);
	if (recall->must_persist && recall->actions->restart_persist)
		recall->actions->restart_persist(recall->arg);
	recall->state = to;
	recall->since_ns[to] = at_ns;
	recall->last_error = 0;
	recall->is_merge_stuck = false;
	recall_no_write_back(recall, at_ns);
	/* Others who change the file again and again do not put it off. */
	if (goes_on(from, to))
		recall->write_due_ns = earlier(due_ns, recall->write_due_ns);
	recall_tell(recall, from, cause, error, at_ns);
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
		.give_up_ns = RECALL_NEVER,
		.release_deadline_ns = RECALL_NEVER,
	};
	recall->since_ns[RECALL_FREE] = recall_now(recall);
}

int recall_granted(struct recall *recall)
{
	recall->taken_ns = recall_now(recall);
	return recall_set_state(recall, RECALL_HELD, RECALL_GRANTED, 0);
}

/* Whatever the last error was. */
static void try_now(struct recall *recall)
{
	recall->retry_ns = recall_now(recall);
	recall->retry_pause_ns = recall->policy.pause_min_ns;
}

/*
 * What the one before was told nobody knows. Half of the time that is left is
 * for what comes after the consent.
 */
static void adopt_breaking(struct recall *recall, int64_t since_ns)
{
	const struct recall_actions *actions = recall->actions;
	int64_t at_ns = recall_now(recall);
	int r = actions->check(recall->arg);

	recall->break_deadline_ns = since_ns + recall->policy.break_ns;
	/* Else it is the owner who wants it back: he says so again. */
	recall->is_broken = r != 0;
	recall->breaks = recall->is_broken;
	/* Of what was taken away there is nothing to agree to. */
	if (r <= 0 || !recall->policy.consent_ns || !actions->ask_consent ||
	    at_ns >= recall->break_deadline_ns)
		return;
	recall->has_consent = false;
	recall->consent_deadline_ns =
		at_ns + earlier(recall->policy.consent_ns,
				(recall->break_deadline_ns - at_ns) / 2);
	actions->ask_consent(recall->arg, recall->consent_deadline_ns);
}

void recall_adopt(struct recall *recall, enum recall_state state,
		  int64_t since_ns, bool must_merge)
{
	recall->state = state;
	recall->since_ns[state] = since_ns;
	recall->taken_ns = since_ns;
	recall->must_merge = must_merge;
	recall->has_consent = true;
	try_now(recall);
	recall->retry_pause_ns = recall->pause_ns;
	if (state == RECALL_BREAKING)
		adopt_breaking(recall, since_ns);
}

/* A file that is broken soon after it was retaken is left alone for longer. */
static void choose_pause(struct recall *recall, int64_t at_ns)
{
	int64_t held_ns = at_ns - recall->taken_ns;

	if (recall->state == RECALL_HELD && held_ns >= 10 * recall->pause_ns)
		recall->pause_ns = recall->policy.pause_min_ns;
	else if (recall->breaks > 1)
		recall->pause_ns = earlier(2 * recall->pause_ns,
					   recall->policy.pause_max_ns);
}

void recall_flush_anew(struct recall *recall)
{
	recall_restart_flush(recall);
	try_now(recall);
}

/* What belongs to one hand-back and not to the next. */
static void start_breaking(struct recall *recall, enum recall_cause cause,
			   int64_t deadline_ns)
{
	recall->break_deadline_ns = deadline_ns;
	recall->give_up_ns = RECALL_NEVER;
	try_now(recall);
	recall_set_state(recall, RECALL_BREAKING, cause, 0);
}

/* Nobody waited for it so far: the owner had asked for it. */
static void start_waiting(struct recall *recall, int64_t at_ns)
{
	if (recall->break_deadline_ns == RECALL_NEVER)
		recall->break_deadline_ns = at_ns + recall->policy.break_ns;
}

void recall_break_heard(struct recall *recall)
{
	int64_t at_ns = recall_now(recall);

	switch (recall->state) {
	case RECALL_BREAKING:
		start_waiting(recall, at_ns);
		if (recall->is_broken)
			break;
		recall->breaks++;
		recall->is_broken = true;
		recall->give_up_ns = RECALL_NEVER;
		recall_flush_anew(recall);
		break;
	case RECALL_HELD:
	case RECALL_MERGING:
		recall->breaks++;
		recall->is_broken = true;
		choose_pause(recall, at_ns);
		recall->has_consent = !recall->policy.consent_ns ||
				      !recall->actions->ask_consent;
		start_breaking(recall, RECALL_BREAK_HEARD,
			       at_ns + recall->policy.break_ns);
		/* from when it is told on */
		recall->consent_deadline_ns =
			recall->since_ns[RECALL_BREAKING] +
			earlier(recall->policy.consent_ns,
				recall->policy.break_ns);
		if (!recall->has_consent)
			recall->actions->ask_consent(
				recall->arg, recall->consent_deadline_ns);
		break;
	default:
		/* Heard late: the lease isn't ours any more. */
		break;
	}
}

void recall_own_begin(struct recall *recall)
{
	int64_t at_ns = recall_now(recall);

	recall->own_opens++;
	switch (recall->state) {
	case RECALL_BREAKING:
		/* What others are to see has been asked for, and it is not
		 * agreed to by that. */
		start_waiting(recall, at_ns);
		break;
	case RECALL_HELD:
	case RECALL_MERGING:
		/* Who would be asked is who wants it. */
		recall->has_consent = true;
		start_breaking(recall, RECALL_OWN_OPEN,
			       at_ns + recall->policy.break_ns);
		break;
	default:
		break;
	}
}

void recall_own_end(struct recall *recall)
{
	if (!recall->own_opens || --recall->own_opens)
		return;
	if (recall->state != RECALL_YIELDED && recall->state != RECALL_LOST)
		return;
	recall->retry_pause_ns = recall->policy.pause_min_ns;
	recall->retry_ns = recall->leave_ns;
}

void recall_changed(struct recall *recall)
{
	if (recall->state == RECALL_MERGING)
		recall_settle(recall);
	if (recall->state != RECALL_HELD)
		return;
	recall->must_merge = true;
	recall->must_settle = false;
	try_now(recall);
	recall_set_state(recall, RECALL_MERGING, RECALL_CHANGED, 0);
}

void recall_settle(struct recall *recall)
{
	if (recall->state != RECALL_HELD && recall->state != RECALL_MERGING)
		return;
	if (recall->actions->restart_merge)
		recall->actions->restart_merge(recall->arg);
	recall_settle_more(recall);
}

void recall_settle_more(struct recall *recall)
{
	if (recall->state != RECALL_HELD && recall->state != RECALL_MERGING)
		return;
	recall->must_settle = recall->state == RECALL_HELD;
	try_now(recall);
}

void recall_news(struct recall *recall, enum recall_cause cause, int error)
{
	recall_tell(recall, recall->state, cause, error, recall_now(recall));
}

void recall_flush_now(struct recall *recall)
{
	recall->must_flush = true;
	recall->is_writing_back = false;
	/*
	 * Who waits for the file, or has asked before, waits for one pass: it
	 * comes after that. Else who asks again and again would begin it anew
	 * each time, and it would have no end.
	 */
	if (recall->is_pass_begun &&
	    (recall->state == RECALL_HELD || recall->state == RECALL_MERGING ||
	     recall->state == RECALL_BREAKING))
		recall->is_flush_late = true;
	else if (recall->state == RECALL_BREAKING)
		recall_restart_flush(recall);
	else if (recall->state == RECALL_HELD ||
		 recall->state == RECALL_MERGING)
		recall_flush_anew(recall);
}

void recall_persist_now(struct recall *recall)
{
	recall->must_persist = true;
}

void recall_consent(struct recall *recall)
{
	recall->has_consent = true;
}

void recall_opener_gone(struct recall *recall)
{
	int64_t pause_ns = recall->policy.pause_min_ns;
	int64_t at_ns = recall_now(recall);

	if (recall->state != RECALL_YIELDED && recall->state != RECALL_LOST)
		return;
	/* The kernel says so a moment before the file is free. */
	if (recall->pause_ns <= RECALL_CALM * pause_ns) {
		recall->leave_ns = earlier(recall->leave_ns, at_ns);
		pause_ns = earlier(pause_ns, RECALL_GONE);
	}
	recall->retry_pause_ns = pause_ns;
	recall->retry_ns =
		earlier(recall->retry_ns,
			later(recall->leave_ns, recall->tried_ns + pause_ns));
}

void recall_leave(struct recall *recall, enum recall_state to,
		  enum recall_cause cause, int error)
{
	bool to_others = recall->is_broken || to == RECALL_LOST;

	recall->must_merge = true;
	recall->must_settle = false;
	recall->is_broken = false;
	recall->break_deadline_ns = RECALL_NEVER;
	recall->leave_ns =
		recall_now(recall) + (to_others ? recall->pause_ns : 0);
	recall->retry_ns = recall->leave_ns;
	recall->retry_pause_ns =
		to_others ? recall->pause_ns : recall->policy.pause_min_ns;
	recall_set_state(recall, to, cause, error);
}

void recall_lost(struct recall *recall, int error)
{
	recall_leave(recall, RECALL_LOST, RECALL_REVOKED, error);
}

bool recall_is_ours(struct recall *recall)
{
	int r = recall->actions->check(recall->arg);

	if (r < 0) {
		recall_lost(recall, r);
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
		recall_is_ours(recall);
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
	start_breaking(recall, RECALL_RELEASE_ASKED, RECALL_NEVER);
}
