/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls that make stores durable: the original, then, as soon as
 * there are shadows, what lies in those (file_sync.h). As file_hooks.c for all
 * else. In this order a range that gets its shadow while the original runs is
 * not missed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file_hooks.h"

typedef int msync_fn(void *addr, size_t length, int flags);
typedef int fsync_fn(int fd);
typedef int sync_file_range_fn(int fd, off64_t offset, off64_t length,
			       unsigned int flags);
typedef void sync_fn(void);

/* An error of the original's comes first. */
static int result(int real, int error)
{
	if (real || !error)
		return real;
	errno = -error;
	return -1;
}

EXPORT int hook_msync(void *addr, size_t length, int flags) __asm__("msync");

/* ENOMEM: a part of it is not mapped, and the rest has been seen to. */
int hook_msync(void *addr, size_t length, int flags)
{
	int r = ((msync_fn *)file_real(FILE_msync))(addr, length, flags);

	if (!has_shadows() || !(flags & MS_SYNC) || (r && errno != ENOMEM))
		return r;
	return result(r, file_engine->sync_memory(addr, length, NULL));
}

static __attribute__((noinline)) int fsync_staged(int fd, int r)
{
	return r ? r : result(r, file_engine->sync_file(fd, 0, UINT64_MAX));
}

EXPORT int hook_fsync(int fd) __asm__("fsync");

int hook_fsync(int fd)
{
	int r = ((fsync_fn *)file_real(FILE_fsync))(fd);

	return has_shadows() ? fsync_staged(fd, r) : r;
}

EXPORT int hook_fdatasync(int fd) __asm__("fdatasync");

int hook_fdatasync(int fd)
{
	int r = ((fsync_fn *)file_real(FILE_fdatasync))(fd);

	return has_shadows() ? fsync_staged(fd, r) : r;
}

EXPORT int hook_sync_file_range(int fd, off64_t offset, off64_t length,
				unsigned int flags) __asm__("sync_file_range");

/* What is only to be begun the keeper does by itself. */
int hook_sync_file_range(int fd, off64_t offset, off64_t length,
			 unsigned int flags)
{
	sync_file_range_fn *real =
		(sync_file_range_fn *)file_real(FILE_sync_file_range);
	int r = real(fd, offset, length, flags);

	if (r || !has_shadows() ||
	    !(flags &
	      (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)))
		return r;
	/* 0: to the end */
	return result(r, file_engine->sync_file(fd, (uint64_t)offset,
						length ? (uint64_t)length
						       : UINT64_MAX));
}

EXPORT int hook_syncfs(int fd) __asm__("syncfs");

int hook_syncfs(int fd)
{
	int r = ((fsync_fn *)file_real(FILE_syncfs))(fd);

	if (r || !has_shadows())
		return r;
	return result(r, file_engine->sync_files(fd));
}

EXPORT void hook_sync(void) __asm__("sync");

void hook_sync(void)
{
	((sync_fn *)file_real(FILE_sync))();
	if (has_shadows())
		file_engine->sync_files(-1);
}
