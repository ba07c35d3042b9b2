/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of window.h have in common. */
#ifndef DAXMR_WINDOW_PARTS_H
#define DAXMR_WINDOW_PARTS_H

#include <pthread.h>

#include "lease_news.h"
#include "window.h"
#include "window_bind.h"

struct window_pd;

/* A mapping of a region's shadow that nobody but a device uses. */
struct window_view {
	char *pages; /* whole ones around it; NULL: there is none */
	size_t length;
	char *start; /* where the region begins in it */
	pid_t pid;   /* a forked child has something else there */
};

/* What is wrong with how far peers reach. */
enum window_trouble {
	WINDOW_FINE,
	WINDOW_BEHIND,	/* less than they could */
	WINDOW_NOTHING, /* the ear is told, of this and what follows */
	WINDOW_GONE,	/* nothing, and never again: the window had to go */
	WINDOW_STUCK	/* more than they should */
};

struct window {
	struct window_key key;
	struct ibv_mr *mr; /* the program's */
	uint32_t mr_rkey;  /* that its provider gave it */
	uint64_t addr;	   /* that peers know */
	size_t length;
	unsigned int access; /* of MRs */
	struct lease *lease;
	uint64_t offset; /* in its file */
	struct window_view view;

	/* Whoever sets is_busy has these to himself. */
	struct ibv_mr *shorter; /* NULL: it is on all of mr, or on nothing */
	size_t end;		/* up to there peers reach it */
	int64_t until_ns;	/* the device may take for this look */
	int64_t blind_ns;	/* since then no look saw a size; 0: it did */

	/* Under the lock. */
	bool is_busy;
	bool is_dead; /* its context is gone, the program forgot it */
	int64_t due_ns;
	int64_t pause_ns; /* to the next look, while something is missing */
	struct window_ear *ear;
	enum window_trouble trouble;
	int error; /* of which the ear is told; 0: nothing */

	struct lease_listener listener;
	struct window *next;
};

/*
 * Protects the list and what stands above. Held across fork. Who has it, or has
 * set an is_busy, hears no signal and is not cancelled: a handler might need
 * what it has interrupted, and one that leaves by siglongjmp() would take it
 * along.
 */
extern pthread_mutex_t window_lock;
extern pthread_cond_t window_changed;
extern struct window *window_all;

void window_lock_take(struct window_still *ret);
void window_lock_give(const struct window_still *locked);

/* False: it is so late. */
#define WINDOW_NEVER INT64_MAX
bool window_wait_locked(int64_t until_ns);

void window_still_begin(struct window_still *ret);
void window_still_end(const struct window_still *still);

/* So long a device may take for one look; tests have less. */
extern _Atomic int64_t window_patience_ns;

/* The thread, where there is none yet. 0 or -errno. */
int window_start(void);

/* Before anything is made that a child would have to forget. */
void window_follow_forks(void);

/*
 * Has the region, or what a PD's windows are bound by, to himself, as soon as
 * that can be. Without the lock, and still until the end.
 */
void window_busy_begin(bool *is_busy);
bool window_busy_try(bool *is_busy, int64_t until_ns); /* false: not so long */
void window_busy_end(bool *is_busy);

/*
 * Looks how long the file is, and binds: returns whether all of the region is
 * within reach, or it is of no use to look again. Whoever calls has begun it.
 */
bool window_look(struct window *window);

/* A look, and when the next one is due. */
void window_follow(struct window *window);

/* A function of the listener: of the engine's thread. */
void window_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed);

/*
 * A mapping of [offset, offset + length) of a file that is staged, whatever the
 * program does with its own. 0 or -errno with a sentence.
 */
int window_view_map(struct window_view *view, struct lease *lease,
		    uint64_t offset, size_t length);
void window_view_unmap(struct window_view *view);
/* After an MR on it is gone: libibverbs may have given it to children. */
void window_view_keep(const struct window_view *view);

/* What binds in a PD, and is not dead, counted. NULL: no memory. */
struct window_pd *window_pd_get(const struct real_verbs *real,
				struct ibv_pd *pd);
void window_pd_put(struct window_pd *binder);
/*
 * window_bind(), one at a time, until then; errors with a sentence (reason.h).
 * After a device has not answered for a tenth of window_patience_ns there is no
 * other answer; -ETIMEDOUT is also that less was left until then, or another's
 * bind had no end.
 */
int window_pd_bind(struct window_pd *binder, const struct ibv_mw *mw,
		   const struct window_range *range, int64_t until_ns);
bool window_pd_is_dead(const struct window_pd *binder);

/* In a forked child, whose parent has them. With the lock. */
void window_pds_in_child(void);
void window_forget_all(void);

#endif
