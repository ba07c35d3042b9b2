/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hook does for a call that makes stores durable, once there are shadows
 * in this process: what was stored in a shadow before is in its file and
 * durable when it returns (lease_flush_file()).
 *
 * While others have the file too, but for blocks that they have written to:
 * that is an error, and a sentence in the log, one a second at most. What was
 * stored is not lost: it is merged when the file is ours again. Where the
 * kernel took the lease away nothing can be written: that is waited for,
 * SYNC_WAIT_NS in all.
 *
 * By raw system calls; errno is kept; no cancellation points; in signal
 * handlers as well. In forked children and on the engine's own thread nothing
 * is in a shadow. 0, or -errno as fsync() may have it: -EIO, -ENOSPC, -EDQUOT.
 */
#ifndef DAXMR_FILE_SYNC_H
#define DAXMR_FILE_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYNC_WAIT_NS (5 * 1000000000LL)

/*
 * Of what is mapped there. ret_has_other, if not NULL: is there other memory in
 * the range as well? Where there is not the original has nothing left to do.
 */
int sync_memory(const void *addr, size_t length, bool *ret_has_other);

/* Of the file that fd is open on. */
int sync_file(int fd, uint64_t offset, uint64_t length);

/* Of all files on the file system that fd is on; -1: of all there are. */
int sync_files(int fd);

#endif
