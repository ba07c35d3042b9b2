/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What differs is written every flush_ns, which nobody waits for, while the
 * file is ours or others only read it: recall.h.
 */
#include <stddef.h>

#include "recall_steps.h"

int64_t recall_write_back_due(const struct recall *recall)
{
	return recall->actions->flush && recall->policy.flush_ns
		       ? recall->write_due_ns
		       : RECALL_NEVER;
}

/* Over, with what it said. */
static void end_write_back(struct recall *recall, int r)
{
	int64_t begun_ns = recall->write_begun_ns, at_ns = recall_now(recall);

	recall_no_write_back(recall, at_ns);
	recall->write_due_ns = later(begun_ns + recall->policy.flush_ns, at_ns);
	if (r && r != recall->write_error)
		recall_tell(recall, recall->state, RECALL_FLUSH_FAILED, r,
			    at_ns);
	recall->write_error = r;
	if (!r) {
		recall->write_pause_ns = 0;
		return;
	}
	recall->write_pause_ns = recall->write_pause_ns
					 ? earlier(2 * recall->write_pause_ns,
						   recall->policy.pause_max_ns)
					 : recall->policy.pause_min_ns;
	recall->write_due_ns =
		later(recall->write_due_ns, at_ns + recall->write_pause_ns);
}

int64_t recall_write_back_piece(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int64_t at_ns = recall_now(recall), pace_ns;
	int r;

	if (at_ns < recall_write_back_due(recall))
		return recall_write_back_due(recall);
	/* What others have spent counts. */
	pace_ns = actions->pace ? actions->pace(recall->arg) : at_ns;
	if (pace_ns > at_ns)
		return pace_ns;
	if (!recall_is_ours(recall) ||
	    (recall->state != RECALL_HELD && recall->state != RECALL_MERGING))
		return recall->retry_ns;
	if (!recall->is_writing_back) {
		recall_restart_flush(recall);
		recall->is_writing_back = true;
		recall->write_begun_ns = at_ns;
	}
	r = actions->flush(recall->arg);
	if (r <= 0)
		end_write_back(recall, r);
	return recall->write_due_ns;
}

int64_t recall_write_through_piece(struct recall *recall)
{
	const struct recall_actions *actions = recall->actions;
	int64_t at_ns = recall_now(recall), pace_ns;
	int r;

	/* What the owner has agreed to is a picture of that moment. */
	if (!actions->write_through || !recall->policy.flush_ns ||
	    recall->policy.consent_ns || recall->state != RECALL_YIELDED)
		return RECALL_NEVER;
	if (at_ns < recall->write_due_ns)
		return recall->write_due_ns;
	pace_ns = actions->pace ? actions->pace(recall->arg) : at_ns;
	if (pace_ns > at_ns)
		return pace_ns;
	if (!recall->is_writing_back)
		recall->write_begun_ns = at_ns;
	recall->is_writing_back = true;
	r = actions->write_through(recall->arg);
	if (r <= 0)
		end_write_back(recall, r);
	return recall->write_due_ns;
}
