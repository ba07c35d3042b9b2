/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others did to a file and what happened in its shadow meanwhile become
 * one, block by block. For the keeper alone, after it took the lease back.
 *
 * The digest of a block (extent_page.h) is that of the bytes both sides had
 * last in common, their base:
 *
 *   file     shadow    what is done
 *   = base   any       nothing: what we changed is the next flush's
 *   changed  = base    theirs go into the shadow
 *   changed  changed   the same on both sides: nothing. Else a conflict:
 *                      `ours`: the shadow stays, and the next flush writes it
 *                      over theirs; `theirs`: they go into the shadow;
 *                      `error`: the file keeps theirs and the shadow ours, the
 *                      block is marked (EXTENT_IN_CONFLICT), and no flush
 *                      touches it until both are the same, however that comes
 *
 * Into the shadow means word by word (8 bytes), each by a compare-and-swap
 * against the word that we read: a store or an RDMA write that comes meanwhile
 * wins, and is not lost. Words that are equal are not written.
 *
 * A shadow that is sealed (F_SEAL_WRITE) is nobody's memory any more, only what
 * is left to be flushed: a block of theirs is taken out of it, as one that is
 * not filled.
 *
 * Afterwards the base is what stands in the file. A block without a digest (a
 * keeper died while it wrote it) counts as changed on both sides. What is
 * beyond the end of the file counts as zeroes: a file that was cut off by
 * others leaves zeroes in the shadow, but in blocks that have changed there
 * since the file was handed over. What has been beyond it ever since counts as
 * zeroes on our side, too.
 *
 * Else it is mapped for writing from open to close: it cannot be sealed
 * meanwhile. Not thread-safe.
 */
#ifndef DAXMR_LEASE_MERGE_H
#define DAXMR_LEASE_MERGE_H

#include <stdint.h>

#include "policy.h"

#define MERGE_PIECE (1UL << 20) /* looked at by one call, at most */

struct merge_counts {
	uint64_t theirs;    /* blocks that only others changed */
	uint64_t conflicts; /* that both did, not alike */
	uint64_t cut_off;   /* that the file has no more since the last merge */
	uint64_t failed;    /* that could not be read: tried in the next pass */
};

struct extent;
struct merge;

/* As flush_open(); file_fd may be open for reading only. */
int merge_open(int file_fd, int shadow_fd, const struct extent *extent,
	       enum on_conflict on_conflict, struct merge **ret);

/*
 * One piece. > 0: there is more. 0: all blocks are merged. -EIO: all but those
 * that could not be read. The next call begins from the start.
 */
int merge_piece(struct merge *merge);

/* Of the pass that ended last, or is under way. */
struct merge_counts merge_counts(const struct merge *merge);

void merge_close(struct merge *merge);

#endif
