/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What recall.c, recall_run.c and recall_write_back.c share, and nobody else
 * uses.
 */
#ifndef DAXMR_LEASE_RECALL_STEPS_H
#define DAXMR_LEASE_RECALL_STEPS_H

#include "recall.h"

static inline int64_t recall_now(struct recall *recall)
{
	return recall->actions->now(recall->arg);
}

static inline int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void recall_tell(struct recall *recall, enum recall_state from,
		 enum recall_cause cause, int error, int64_t at_ns);

/* The next piece is a pass's first. */
void recall_restart_flush(struct recall *recall);

/* And comes at once, whatever the last error was. */
void recall_flush_anew(struct recall *recall);

/* None is under way; the next one comes in its time from at_ns on. */
void recall_no_write_back(struct recall *recall, int64_t at_ns);

/* When one is to begin, or to go on; RECALL_NEVER. */
int64_t recall_write_back_due(const struct recall *recall);
/* A piece, in HELD, or in MERGING between two attempts. When the next is due.
 */
int64_t recall_write_back_piece(struct recall *recall);

/* The same in YIELDED; RECALL_NEVER: there is nothing of that to be done. */
int64_t recall_write_through_piece(struct recall *recall);

/* The only place where a state changes. -EINVAL: not in the table. */
int recall_set_state(struct recall *recall, enum recall_state to,
		     enum recall_cause cause, int error);

/*
 * To YIELDED or LOST. Others get their turn before it is taken again; the
 * program itself says when it is through.
 */
void recall_leave(struct recall *recall, enum recall_state to,
		  enum recall_cause cause, int error);

/* The kernel took it; whoever opened may not have seen all that was written. */
void recall_lost(struct recall *recall, int error);

/*
 * Before each piece: nothing is written once it isn't ours. False: it is LOST.
 * A break that was not heard is.
 */
bool recall_is_ours(struct recall *recall);

#endif
