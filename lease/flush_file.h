/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A range of a file as the keeper writes it: mapped, stores made durable.
 *
 * Mapped by ourselves: pmem2_map_new() maps nothing beyond the end of the file,
 * and the last page of a range may be half beyond, a file may shrink and grow
 * under us; it looks for eADR all over sysfs each time, too. Of libpmem2 come
 * the copy and the drain for the granularity.
 *
 *   MAP_SYNC to be had (fs-dax)   copied past the caches, then one drain: that
 *                                 is durable, the kernel sees to the metadata
 *   else (page cache)             copied, then written back by range
 *
 * Of MAP_SYNC: the fault that lets a page be stored to does not return before
 * the metadata that leads to its block is durable, whoever allocated it (the
 * populating at registration, a merge, others), and a page whose block goes is
 * taken out of the mapping. So a pass that finds nothing to sync needs no
 * fsync(); a keeper that never called it lost nothing in power cuts. It is for
 * what goes past the mapping, which counts as unsynced: what pwrite() wrote, a
 * file that grew, and once all that was there before us.
 */
#ifndef DAXMR_LEASE_FLUSH_FILE_H
#define DAXMR_LEASE_FLUSH_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flush_file {
	int fd; /* the caller's */
	uint64_t offset;
	uint64_t length;
	uint64_t in_file; /* so much of it is before the end of the file */
	uint8_t *bytes;
	bool is_durable_by_drain;
	bool is_changed; /* by a store, since flush_has_stored() */
	/* Not durable yet, from the start of the range; none where equal. */
	uint64_t unsynced;
	uint64_t unsynced_end;
	uint64_t syncing; /* how far it has been written back */
};

/*
 * fd stays open: for reading and writing, or for reading, and then nothing may
 * be stored, prepared or written. All of the range counts as
 * not durable: who wrote it before us may not have seen to that. 0, or -errno
 * with a sentence (reason.h).
 */
int flush_file_open(struct flush_file *file, int fd, uint64_t offset,
		    uint64_t length);
void flush_file_close(struct flush_file *file);

/* Sees where the file ends now. 0, or -errno. */
int flush_file_look(struct flush_file *file);

/* So many bytes of [at, at + length) are in the file. */
static inline size_t flush_file_has(const struct flush_file *file, uint64_t at,
				    size_t length)
{
	if (file->in_file <= at)
		return 0;
	return file->in_file - at < length ? (size_t)(file->in_file - at)
					   : length;
}

/*
 * A store to the page at `at` will follow: has it made writable now, by a store
 * that changes nothing. On a file system that is frozen this is what waits, not
 * a store after the lease is gone. It may be a SIGBUS as well.
 */
void flush_file_prepare(struct flush_file *file, uint64_t at);

/*
 * Would a store to the block at `at` take room: is there none of its own to be
 * written? False also where that cannot be said.
 */
bool flush_file_needs_room(const struct flush_file *file, uint64_t at);

/* By a store, which may be a SIGBUS (fault.h). */
void flush_file_store(struct flush_file *file, uint64_t at, const void *bytes,
		      size_t length);

/*
 * For a file that others may write to at the same time: word by word (8 bytes),
 * as far as `bytes` differs from `theirs`, which the file had a moment ago,
 * each by a compare-and-swap. What was stored stands in `theirs` then. False: a
 * word was another by then, and stays; nothing after it has been stored. A
 * SIGBUS, as flush_file_store().
 */
bool flush_file_exchange(struct flush_file *file, uint64_t at, void *theirs,
			 const void *bytes, size_t length);

/*
 * The file is to reach to `end` soon: blocks beyond its end, its size stays.
 * For the same reason as flush_file_prepare(). What that says is told by
 * flush_file_grow().
 */
void flush_file_reserve(struct flush_file *file, uint64_t end);

/*
 * The file reaches to `end` at least; what is new of it are zeroes. Never makes
 * it shorter, whatever happens to it. 0, or -errno: -ENOSPC, -EDQUOT, -EFBIG.
 */
int flush_file_grow(struct flush_file *file, uint64_t end);

/*
 * By a system call, where a store was a SIGBUS: it says why, and it mends a
 * poisoned block. 0, or -errno.
 */
int flush_file_write(struct flush_file *file, uint64_t at, const void *bytes,
		     size_t length);

/*
 * What was stored becomes durable, a piece at a time: > 0 there is more, 0 all
 * is, -errno it is not, and what stands between `unsynced` and `unsynced_end`
 * has to be stored again: the kernel takes a page that it could not write for
 * written.
 */
int flush_file_sync(struct flush_file *file);

/*
 * The same of what was stored in [*at, end), for a while: > 0 there is more
 * from *at on. It stands in `unsynced` still, for flush_file_sync().
 */
int flush_file_sync_part(struct flush_file *file, uint64_t *at, uint64_t end);

#endif
