/* SPDX-License-Identifier: BSD-2-Clause */
/* What pinned.c and pinned_recall.c have in common. */
#ifndef DAXMR_PINNED_PARTS_H
#define DAXMR_PINNED_PARTS_H

#include <pthread.h>
#include <stdint.h>

#include "gate/gate.h"
#include "lease_news.h"
#include "pinned.h"

/* Which file, and where in it. */
struct pinned_file {
	uint64_t offset;
	uint64_t dev;
	uint64_t ino;
	bool is_dax;
	char name[160]; /* for sentences */
};

struct pinned {
	/*
	 * The program's. Providers have more behind theirs; nobody but they
	 * looks there, and they never see this one.
	 */
	union {
		struct ibv_mr mr;
		char room[512];
	} seen;

	const struct real_verbs *real;
	struct ibv_context *context;
	struct ibv_pd *pd;
	void *addr;
	size_t length;
	uint64_t iova;
	unsigned int access;
	struct pinned_file file;
	struct lease *lease;

	/* Whoever sets is_busy has these to himself. */
	struct ibv_mr *mr; /* the real one; NULL: gone */
	struct gate *gate; /* NULL: open */
	size_t registered; /* of length, from the beginning */

	/* Under the lock. */
	bool is_busy;
	bool is_held;	  /* the lease is ours */
	bool is_asked;	  /* and somebody waits for our consent */
	bool must_go;	  /* others have had the file, with the MR there */
	bool is_tried;	  /* to come back, since it is held */
	bool is_dead;	  /* its context is gone, the program forgot it */
	unsigned int own; /* calls of the program's that it is in the way of */
	int64_t leave_ns; /* not held: when the MR goes */
	int64_t deadline_ns; /* until then the gate may be closed */

	struct lease_listener listener;
	struct pinned *next;
};

/* Protects the list and what stands above. Held across fork. */
extern pthread_mutex_t pinned_lock;
extern pthread_cond_t pinned_changed;
extern struct pinned *pinned_all;

/* Without the lock, and without a system call. */
bool pinned_are_there(void);

/* In a forked child, whose parent has them. With the lock. */
void pinned_forget_all(void);

/* The thread, where there is none yet. 0 or -errno. */
int pinned_start(void);

/* Has the region to himself, as soon as that can be. Without the lock. */
void pinned_begin(struct pinned *pinned);
void pinned_end(struct pinned *pinned);

/*
 * Registers so much of it, the way the program did, with an lkey that no region
 * has promised. NULL and errno.
 */
struct ibv_mr *pinned_make_mr(const struct pinned *pinned, size_t length);

/*
 * How much of it, from the beginning, is still mapped where it was; the program
 * may have mapped something else there.
 */
size_t pinned_still_there(const struct pinned *pinned);

/* What the program sees is this MR from now on, the lkey aside. */
void pinned_show(struct pinned *pinned);

/* Functions of the listener: of the engine's thread. */
void pinned_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed);
void pinned_hear_asked(struct lease_listener *listener, int64_t deadline_ns);

#endif
