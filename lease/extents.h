/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ranges of a leased file that the program has registered, in the keeper.
 * Whenever others may have had the file each has its blocks allocated again,
 * and what they did is merged into those that have a shadow, before any of it
 * could be flushed over theirs. All goes in pieces, over all ranges in turn.
 */
#ifndef DAXMR_LEASE_EXTENTS_H
#define DAXMR_LEASE_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "extent_book.h"
#include "policy.h"

struct range;
struct merge;

struct extents {
	struct range *first;
	unsigned int shadows;
	struct shadow_policy policy; /* the caller's to set */
	/* Where a pass is: nothing is to be done before these. */
	struct range *allocating, *merging;
	uint64_t allocated; /* of the first of them */
	struct merge *merge;
	int merge_error; /* the first of this pass */
	/* Blocks merged since the caller made it 0: merge.h. */
	uint64_t theirs;
	uint64_t conflicts;
	uint64_t cut_off;
	/* Blocks beyond the end of the file since then: flush.h. */
	uint64_t held;
	uint64_t dropped;
	bool is_changed; /* by a store, since extents_touch() */
	struct range *flushing;
	int flush_error; /* the first of this pass */
	/* A pass over a part of the file. */
	struct range *persisting; /* NULL: the next piece begins one */
	uint64_t persist_offset;
	uint64_t persist_end;
	int persist_error;   /* the first of this pass */
	bool has_met_others; /* flush.h; of the pass that ended last */
	bool part_has_met_others;
};

/*
 * A range more. shadow_fd -1: none; its and the page's stay the caller's. The
 * shadow of a file that is open for reading only is never flushed, and nobody
 * else writes to it: whatever differs others did. 0, or
 * -EEXIST: there is one of this number; -EINVAL: not of whole pages; those of
 * extent_map() and flush_open().
 */
int extents_add(struct extents *extents, uint32_t id, uint64_t offset,
		uint64_t length, int file_fd, int shadow_fd,
		const struct extent_place *page);
/* What is not flushed is not. */
void extents_remove(struct extents *extents, uint32_t id);
/*
 * The same for a DETACH, if it holds still; ticket 0: it does. 0, also where
 * there is no such extent; -ECANCELED.
 */
int extents_let_go(struct extents *extents, uint32_t id, uint32_t ticket);
void extents_remove_all(struct extents *extents);

bool extents_have_shadow(const struct extents *extents);

/*
 * One piece of a pass, as recall.h's actions: > 0 there is more, 0 the pass is
 * over, -errno the pass is over. The next one is for those ranges that failed
 * in it and for those that have come since; restarted it is for all. What is
 * beyond the end of the file is left out. Not kept: somebody waits for the
 * file, nothing is allocated for now.
 */
int extents_merge(struct extents *extents, int file_fd, bool is_kept);
void extents_restart_merge(struct extents *extents);

/*
 * Seals the shadows against writing, which the kernel refuses while any of a
 * device's pins or a mapping that can be written to is alive: a forked child's.
 * 0: all had been sealed. 1: they are now. -errno: not all are (-EBUSY).
 */
int extents_seal(struct extents *extents);

/* The program has changed the file's size itself. */
void extents_own_size(struct extents *extents, uint64_t size);

/* As flush_piece(), over all: an error of one keeps no other from the file. */
int extents_flush(struct extents *extents);
void extents_restart_flush(struct extents *extents);

/*
 * As flush_part_piece(), over all, of a part of the file. The first piece after
 * extents_persist_part() or the end of a pass begins one.
 */
int extents_persist(struct extents *extents, bool is_lent);
void extents_persist_part(struct extents *extents, uint64_t offset,
			  uint64_t end);
void extents_look_again(struct extents *extents); /* flush_look_again() */

/*
 * What was stored shows in the file's mtime, at the latest now: of stores the
 * kernel sets it only where they make a page writable, and a page stays that
 * for half a minute. A backup that goes by time and size would leave out what
 * came meanwhile. Once when a pass is over, however it ended, and before the
 * file is handed over: it is a change of metadata. On a file system that is
 * frozen it waits, and nothing may be stored after it without another look at
 * the lease. Where it may not be set (chattr +i) it is left. The time of access
 * is set with it.
 */
void extents_touch(struct extents *extents, int file_fd);

#endif
