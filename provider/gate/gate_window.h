/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory windows of the program's own on regions whose MR goes and comes.
 *
 * The program binds them to the struct ibv_mr that it has, which stays; the
 * provider gets the MR behind it. Each bind is recorded: an MR does not go as
 * long as a window is on it.
 *
 *   bound by the program --> ON --gate_window_set(OFF)--> OFF --(ON)--> ON
 *   bound by it to anything else --> PAST, while the MR is there: whether that
 *                                    succeeds is heard by its own poll alone
 *   freed by it, or the region forgotten: no record
 *
 * All binds are seen: ibv_bind_mw() and wr_bind_mw in all attached contexts,
 * IBV_WR_BIND_MW while there is a region with IBV_ACCESS_MW_BIND. Its posts,
 * and those of all contexts of its provider, cost what ones with exchanged
 * lkeys do (gate_key_promise()); who has no such region pays nothing for it.
 *
 * That a window was invalidated (type 2) is not seen: ON says "may be on it".
 */
#ifndef DAXMR_GATE_WINDOW_H
#define DAXMR_GATE_WINDOW_H

#include <stdbool.h>

#include <infiniband/verbs.h>

/*
 * Binds to seen, the program's, go with actual. To be called again for each
 * re-registration, with the gate of the region's PD closed. actual NULL: none
 * for now, from before the MR goes; a bind fails as one to an MR that is gone.
 * is_bindable: it has IBV_ACCESS_MW_BIND. 0; -ENOMEM, -EINVAL (not attached).
 */
int gate_mr_promise(struct ibv_context *context, const struct ibv_mr *seen,
		    struct ibv_mr *actual, bool is_bindable);

/* With all records of its windows; they are the program's own from then on. */
void gate_mr_forget(struct ibv_context *context, const struct ibv_mr *seen);

enum gate_window_state {
	GATE_WINDOW_ON,
	GATE_WINDOW_OFF, /* of type 1: bound to nothing by us, not by it */
	GATE_WINDOW_PAST
};

/* A window that the program has bound to a region, and how. */
struct gate_window {
	struct ibv_mw *mw;
	struct ibv_context *context;
	const struct ibv_mr *seen;
	enum ibv_mw_type type;
	uint64_t addr;
	uint64_t length;
	unsigned int access;
	enum gate_window_state state;
	bool is_severed;   /* in use: by us, and not bound again since */
	bool is_over;	   /* it goes with its last use */
	unsigned int uses; /* by calls of ours that end soon */
	struct gate_window *next;
};

/*
 * The next of seen's windows that is in this state, after one that this has
 * returned, or the first (after NULL). While it is in use the program's
 * ibv_dealloc_mw() and binds of it wait: until it is given back here, or by
 * gate_window_unuse(). NULL: no more.
 */
struct gate_window *gate_window_next(const struct ibv_mr *seen,
				     enum gate_window_state state,
				     struct gate_window *after);
void gate_window_unuse(struct gate_window *window);

/* In use. */
void gate_window_set(struct gate_window *window, enum gate_window_state state);

/*
 * In use: the window's kernel object goes, whatever it is on, and a new one
 * that is on nothing takes its place in the program's struct ibv_mw, with a new
 * rkey: all that the program does with it goes on to work, and its peers get an
 * error. The record is over. 0, and the new rkey; or -errno, and nothing has
 * changed.
 */
int gate_window_replace(struct gate_window *window, uint32_t *ret_rkey);

/*
 * Waits for windows that the program is freeing just now: there are no records
 * of these, and they may still be on the MR. A tenth of a second at most: the
 * one that frees may wait for us, in a signal handler.
 */
void gate_windows_settle(const struct ibv_mr *seen);

/* The MR has gone: what was ON or PAST is not on it. */
void gate_windows_gone(const struct ibv_mr *seen);

#endif
