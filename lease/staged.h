/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges of leased files that have a shadow: the engine's side.
 *
 *   region A      |-------------------|
 *   region B                |---------------------|
 *   extents       |    1    |    1    |     2     |   of the file
 *
 * An extent is whole pages of the file with one shadow, shared by all regions
 * that overlap it, and counted by them. A new region gets extents for the gaps
 * that the others leave. Each extent is put in the place of all the program's
 * shared mappings of it (swap.h) and laid before the keeper, which carries what
 * happens there to the file from then on.
 *
 * When the last region of an extent goes, it is flushed and the file mapped
 * back. Not while somebody else has the file, or nobody can tell: then the
 * shadow stays where it is, and the file is mapped back when it is ours again
 * and the engine comes by (staged_tidy()). Where it may not hold up the
 * program's threads (userfaultfd) that is when the program has one thread and
 * that waits for us: by its next call that syncs, maps or registers. A thread
 * that runs could store while shadow and file change places, and the store
 * would be lost.
 *
 * A file that is leased for reading has shadows for those who read: mapped for
 * reading only, never flushed, mapped back at any time.
 *
 * The engine thread's alone.
 */
#ifndef DAXMR_LEASE_STAGED_H
#define DAXMR_LEASE_STAGED_H

#include "lease_table.h"
#include "swap.h"

/* The thread that asked, which moves mappings: swap.h. */
struct staged_mover {
	void (*move)(void *arg, struct swap_view *view);
	int (*moved)(void *arg);
	void *arg;
};

/*
 * Gives [offset, offset + length) of a leased file a
 * shadow. 0, or -errno with a sentence, and nothing has
 * changed: those of swap_in(), extent_new(), what the keeper says to the
 * extent; -ETIMEDOUT where it says nothing; -EMFILE no descriptors left for
 * shadows.
 */
int staged_add(struct lease_table *table, struct lease *lease, uint64_t offset,
	       uint64_t length, const struct staged_mover *mover);

/* One region less. Errors are the flush's: the shadow stays. */
int staged_remove(struct lease_table *table, struct lease *lease,
		  uint64_t offset, uint64_t length);

/*
 * All that is in the shadows of this range is in the file and durable, also
 * where others have it. 0, or with a sentence: -EAGAIN the kernel took the
 * lease; -ETIMEDOUT; -ENOSPC, -EDQUOT, -EIO: it is tried again later. -EIO also
 * where others have changed the same blocks.
 */
int staged_flush(struct lease_table *table, struct lease *lease,
		 uint64_t offset, uint64_t length);

/* The same of a leased file or a shadow, in which the offset is then. */
int staged_flush_file(struct lease_table *table, dev_t dev, ino_t ino,
		      uint64_t offset, uint64_t length);

/*
 * Extents that no region has any more, where the file is ours; none while the
 * keeper is silent.
 */
void staged_tidy(struct lease_table *table, struct lease *lease);

/* The program has one thread, and that has asked and waits. */
bool staged_is_alone(const struct lease_table *table);

/* The lease that this memfd is a shadow of; NULL: none. */
struct lease *staged_lease(const struct lease_table *table, dev_t dev,
			   ino_t ino);

/* Where in its file it begins; -ENOENT with a sentence. */
int staged_find(const struct lease_table *table, dev_t dev, ino_t ino,
		uint64_t *ret_offset);

/* Before another keeper: so many. */
unsigned int staged_count(const struct lease *lease);

/* For attach.h, as those of range.h. */
void staged_attach(struct lease_table *table, struct lease *lease,
		   bool failed_only);
struct attached *staged_attached(struct lease *lease, uint32_t extent);

/*
 * An extent that the keeper was told to let go of stays in memory until it has,
 * or is dead: it has answered that ticket; there is no keeper any more.
 */
void staged_gone(struct lease_table *table, uint32_t ticket);
void staged_all_gone(struct lease_table *table);

void staged_persisted(struct lease *lease, uint32_t ticket, int error);

/* Why the keeper does not have one of the shadows in there; 0: it has all. */
int staged_unattached(const struct lease *lease, uint64_t offset, uint64_t end);

/*
 * Has the observer look at what the keeper has counted, when that is due. In so
 * many ms it is due again, -1: there is nothing.
 */
int staged_look(struct lease_table *table);

/*
 * The same for threads that may have gone to sleep while a shadow took the
 * file's place: staged_sleepers.c.
 */
int staged_wake_late(struct lease_table *table);

#endif
