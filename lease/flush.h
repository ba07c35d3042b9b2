/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flushing a shadow: what it has that the file has not goes to the file.
 * For the keeper alone, with the lease in hand.
 *
 *   shadow --compare--> file        block by block, the bytes themselves: while
 *     | differs                     the file is ours nothing tells better
 *     v
 *   a private copy ---> file        a peer may write into the shadow meanwhile;
 *     |                             of a copy the file and its digest are the
 *     v                             same, whatever comes later is the next
 *   its digest                      pass's
 *
 * One pass goes over the extent once, in pieces. A piece stores the blocks that
 * the piece before found and prepared, then looks for more: between the page
 * faults that may wait for a frozen file system or for room, and the stores,
 * the caller looks whether the lease is still its own.
 *
 * A block's digest is taken away before the block is written and set after: a
 * keeper that dies in between leaves none, and a block that has none gets one
 * in the next pass, though it be equal. What digests are for: extent_page.h.
 *
 * A block of the shadow that is as its digest says was not changed by us, so
 * what differs is the file: it was changed past us, and stays as it is until
 * the next merge. That is so whoever did it, announced or not: a forked child
 * through its mapping, io_submit(2). What we have changed as well is ours: it
 * goes over theirs, unless on_conflict (policy.h) says otherwise: then that is
 * the merge's as well. A block that is in conflict is left alone until both
 * sides are the same.
 *
 * Where others have cut the file off the merge has put zeroes into the shadow.
 * What differs from them was stored since, or while they had the file
 * (on_shrink): `extend`: the file grows again, to the end of the block or to
 * where it ended before; `discard`: it stays in the shadow until the next merge
 * and goes nowhere. What has never been before the end of the file is nobody's.
 * Nothing of that while the program changes the size itself.
 *
 * Looking and storing are two steps. What is done to the file between them past
 * us, and what is done when the kernel takes the lease away between the
 * caller's look at it and the store, can be lost: within the 64 KiB that one
 * piece stores, and for as long as a store takes, which on a file system that
 * is frozen in just that moment is until it is thawed.
 *
 * Blocks that are not filled (extent_page.h) are left out. A block that cannot
 * be read or written is an error of the pass, and the others are flushed all
 * the same. Where the kernel could not make it durable the next pass stores
 * what this one did once more.
 *
 * While others have the file nothing is stored but what the program wants to be
 * durable (is_lent), and only over bytes that nobody else has touched: a block
 * of the file that is as its digest says, and of that the words (8 bytes) that
 * differ, each by a compare-and-swap against what was looked at. A store of
 * theirs that comes before ours is found, one that comes after goes over it, as
 * between any two mappings of a file; either is a change that the merge finds.
 * A block without a digest counts as touched. Who only reads sees new bytes.
 *
 * Not thread-safe; one thread for all of a process.
 */
#ifndef DAXMR_LEASE_FLUSH_H
#define DAXMR_LEASE_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "policy.h"

#define FLUSH_PIECE   (64UL << 10) /* stored by one call, at most */
#define FLUSH_COMPARE (1UL << 20)  /* compared by one call, at most */

struct extent;
struct flush;

/*
 * file_fd: the leased file, open for reading and writing; it has to outlive the
 * flush, and so has the extent. shadow_fd: a memfd whose byte 0 is the extent's
 * first. It is mapped, so that F_SEAL_WRITE is not kept from it, and can be
 * closed; it is sealed against shrinking.
 * SIGBUS becomes ours (fault.h). Nothing is read of the shadow yet. 0, or
 * -errno with a sentence (reason.h):
 *   -EPROTO  the shadow is shorter than the extent, or that has more than
 *            16 TiB
 *   others   fcntl(2), mmap(2), open(2)
 */
int flush_open(int file_fd, int shadow_fd, const struct extent *extent,
	       struct flush **ret);

/*
 * One piece of a pass; the first after the end of one begins the next. > 0:
 * there is more. 0: the pass is over, all of it is in the file and durable.
 * -errno: the pass is over, not all of it is: the first error there was
 * (-EIO, -ENOSPC, -EDQUOT).
 */
int flush_piece(struct flush *flush);

/*
 * A pass over a part, [offset, end) of the extent, rounded to blocks: it begins
 * with the next piece, and one over all goes on when it is over (or by the next
 * flush_piece(), which drops it). is_lent: others have the file. What the part
 * has is in the file and durable with 0; as flush_piece(), and for is_lent
 *   -EBUSY  others have changed blocks of the part that are to be stored; the
 *           rest of it is in the file
 */
void flush_begin_part(struct flush *flush, uint64_t offset, uint64_t end,
		      bool is_lent);
int flush_part_piece(struct flush *flush);
void flush_end_part(struct flush *flush);

/* The caller's, read at each piece. As long as there is none: the defaults. */
void flush_set_policy(struct flush *flush, const struct shadow_policy *policy);

/* The program itself has left so much of the extent in the file. */
void flush_own_size(struct flush *flush, uint64_t in_file);

/* Blocks that were stored beyond the end of the file, in the last pass. */
struct flush_beyond {
	uint64_t held;	  /* the file has grown for them */
	uint64_t dropped; /* each counted once for what is in it */
};

struct flush_beyond flush_beyond(const struct flush *flush);
struct flush_beyond flush_part_beyond(const struct flush *flush);

/* Has anything been stored in the file since this was asked last? */
bool flush_has_stored(struct flush *flush);

/* The last one left blocks alone that others have changed: merge them. */
bool flush_has_met_others(const struct flush *flush);
bool flush_part_has_met_others(const struct flush *flush);

/* The next piece begins a pass, wherever this one was. */
void flush_restart(struct flush *flush);

/* File and shadow have been changed alike: what was found is looked at again.
 */
void flush_look_again(struct flush *flush);

/* As it was opened with. */
const struct extent *flush_extent(const struct flush *flush);

void flush_close(struct flush *flush);

#endif
