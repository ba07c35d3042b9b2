/* SPDX-License-Identifier: BSD-2-Clause */
/* What window.c, window_pd.c and window_watch.c have in common. */
#ifndef DAXMR_WINDOW_PARTS_H
#define DAXMR_WINDOW_PARTS_H

#include <pthread.h>

#include "lease_news.h"
#include "window.h"
#include "window_bind.h"

struct window_pd;

struct window {
	const struct real_verbs *real;
	struct ibv_pd *pd;
	struct window_pd *binder;
	struct ibv_mw *mw;
	struct ibv_mr *mr; /* the program's */
	uint32_t mr_rkey;  /* that its provider gave it */
	void *memory;	   /* that it is on */
	uint64_t addr;	   /* that peers know */
	size_t length;
	unsigned int access; /* of MRs */
	unsigned int remote; /* of the window */
	struct lease *lease;
	uint64_t offset; /* in its file */

	/* Whoever sets is_busy has these to himself. */
	struct ibv_mr *shorter; /* NULL: it is on all of mr, or on nothing */
	size_t end;		/* up to there peers reach it */

	/* Under the lock. */
	bool is_busy;
	bool is_dead; /* its context is gone, the program forgot it */
	int64_t due_ns;
	int64_t pause_ns; /* to the next look, while something is missing */

	struct lease_listener listener;
	struct window *next;
};

/*
 * Protects the list and what stands above. Held across fork. Never held while
 * anybody is waited for.
 */
extern pthread_mutex_t window_lock;
extern pthread_cond_t window_changed;
extern struct window *window_all;

/* The thread, where there is none yet. 0 or -errno. */
int window_start(void);

/* Has the region to himself, as soon as that can be. Without the lock. */
void window_begin(struct window *window);
void window_end(struct window *window);

/* Looks how long the file is, and binds. Whoever calls has begun it. */
void window_look(struct window *window);

/* A function of the listener: of the engine's thread. */
void window_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed);

/* What binds in a PD, counted. NULL: no memory. */
struct window_pd *window_pd_get(const struct real_verbs *real,
				struct ibv_pd *pd);
void window_pd_put(struct window_pd *binder);
/* window_bind(), one at a time; errors with a sentence (reason.h). */
int window_pd_bind(struct window_pd *binder, const struct ibv_mw *mw,
		   const struct window_range *range);

/* In a forked child, whose parent has them. With the lock. */
void window_pds_in_child(void);
void window_forget_all(void);

#endif
