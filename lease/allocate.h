/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks for a range of a file, before anything needs them.
 *
 * A store into a hole, an unwritten or a reflinked extent of a DAX file
 * allocates in the page fault, and where the file system is full that is a
 * SIGBUS. fallocate() leaves unwritten extents; populating them through a
 * mapping leaves written ones, the data untouched (facts: xfs, ext4). On a page
 * cache populating dirties the pages, and the writeback converts them.
 */
#ifndef DAXMR_LEASE_ALLOCATE_H
#define DAXMR_LEASE_ALLOCATE_H

#include <stdint.h>

/*
 * Gives [offset, offset + length) of the file, widened to pages, blocks of its
 * own. Data and size stay. Where that has been done before it costs one
 * question to the file system. fd is open for reading and writing, and the
 * caller keeps others from shrinking the file (a lease). Returns 0, or with a
 * sentence (reason.h):
 *   -ENOSPC, -EDQUOT  no room; usually seen before anything is allocated. What
 *                     a quota refuses half way stays allocated as far as it
 *                     came: to give it back could race with the program's own
 *                     stores
 *   -ERANGE           the range goes beyond the page the file ends in
 *   -EOPNOTSUPP       extents are shared with another file (reflink) and this
 *                     kernel and file system do not unshare them
 *   others            fallocate(2), mmap(2), madvise(2)
 * Blocks while the file system is frozen, as any write would.
 */
int allocate_range(int fd, uint64_t offset, uint64_t length);

#endif
