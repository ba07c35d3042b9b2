/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which files of this process have shadows, and which memfds are shadows: for
 * hooks, which ask at any time and before anything else.
 *
 * One writer, the engine's thread; readers as in own_set.h.
 */
#ifndef DAXMR_LEASE_SHADOWS_H
#define DAXMR_LEASE_SHADOWS_H

#include "lease.h"
#include "own_set.h"

struct lease_table;
/* Of the memfds. */
#define SHADOW_NAME "daxmr-shadow"

struct staged;

struct shadows {
	struct own_set files;  /* slot: the lease's */
	struct own_set memfds; /* slot: the shadow's own */
	uint32_t last_slot;
	struct staged *by_slot[BOARD_SLOTS];
};

/* How many shadows there are in this process. */
extern _Atomic unsigned int shadows_count;
/* Odd while a shadow and a file change places: see own_map_look(). */
extern atomic_uint shadows_swaps;
/* What they take of memory. */
extern _Atomic uint64_t shadows_bytes;

/*
 * Has the file shadows; is the memfd one? May say yes where it is no, never for
 * long. In a forked child, and on the engine's own thread: no.
 */
bool shadows_has_file(struct lease_engine *engine, dev_t dev, ino_t ino);
bool shadows_has_memfd(struct lease_engine *engine, dev_t dev, ino_t ino);

/*
 * The files that have shadows, in no order: *slot is 0 for the first, then what
 * the call before left there. False: there are no more.
 */
bool shadows_next_file(struct lease_engine *engine, uint32_t *slot,
		       dev_t *ret_dev, ino_t *ret_ino);

/* By the engine's thread. -EMFILE: there are as many as there can be. */
int shadows_add(struct lease_table *table, struct staged *staged);
void shadows_drop(struct lease_table *table, struct staged *staged);
/* NULL: it is none. */
struct staged *shadows_find(const struct lease_table *table, dev_t dev,
			    ino_t ino);

#endif
