/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A leased file for the tests of recall.h: a clock, a kernel and actions that
 * do as they are told, and all that was reported.
 */
#ifndef DAXMR_TESTS_LEASE_RECALL_WORLD_H
#define DAXMR_TESTS_LEASE_RECALL_WORLD_H

#include "recall.h"

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
	int seal_result, seals; /* > 0: so once, then 0 */
	bool unwritten;
	int asked;
	int64_t asked_deadline_ns;
	int takes, flushes, merges;
	int flush_restarts, merge_restarts;
	int wrote_without_lease;
	int told;
	struct recall_report reports[REPORTS];
};

extern const struct recall_actions world_actions;
/* Nothing to flush, nobody to ask. */
extern const struct recall_actions world_few_actions;
extern const struct recall_policy world_policy;

/* HELD at 1 s. */
void world_hold(struct world *w, const struct recall_actions *actions);
void world_break(struct world *w);
void world_yield(struct world *w);
int64_t world_run(struct world *w);
/* Runs until nothing is due before `until_ns`, as the keeper's loop does. */
void world_run_until(struct world *w, int64_t until_ns);
const struct recall_report *world_last(struct world *w);
void world_check_last(struct world *w, enum recall_state from,
		      enum recall_state to, enum recall_cause cause, int error);

#endif
