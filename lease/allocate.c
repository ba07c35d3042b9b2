/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks for a range: allocate.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "allocate.h"
#include "raw.h"
#include "reason.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define EXTENTS 64
/* How much is mapped at a time. */
#define WINDOW (64ULL << 20)

/* What a range consists of. */
struct extents {
	uint64_t holes; /* bytes that have no block */
	bool has_unwritten;
	bool has_shared;
};

static int look(int fd, uint64_t offset, uint64_t end, struct extents *ret)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) +
			  EXTENTS * sizeof(struct fiemap_extent)];
	} question;
	struct extents extents = {0};
	uint64_t at = offset;
	bool last = false;

	while (at < end && !last) {
		memset(&question, 0, sizeof(question));
		question.map.fm_start = at;
		question.map.fm_length = end - at;
		question.map.fm_extent_count = EXTENTS;
		if (ioctl(fd, FS_IOC_FIEMAP, &question.map))
			return -errno;
		if (!question.map.fm_mapped_extents)
			break;
		for (unsigned int i = 0; i < question.map.fm_mapped_extents;
		     i++) {
			const struct fiemap_extent *extent =
				&question.map.fm_extents[i];

			if (extent->fe_logical >= end)
				break;
			if (extent->fe_logical > at)
				extents.holes += extent->fe_logical - at;
			at = extent->fe_logical + extent->fe_length;
			extents.has_unwritten |= !!(
				extent->fe_flags & (FIEMAP_EXTENT_UNWRITTEN |
						    FIEMAP_EXTENT_DELALLOC |
						    FIEMAP_EXTENT_DATA_INLINE));
			extents.has_shared |=
				!!(extent->fe_flags & FIEMAP_EXTENT_SHARED);
			last = extent->fe_flags & FIEMAP_EXTENT_LAST;
		}
	}
	if (at < end)
		extents.holes += end - at;
	*ret = extents;
	return 0;
}

/* Faults every page in for writing; the kernel says so where a store would die.
 */
static int populate(int fd, uint64_t offset, uint64_t end)
{
	for (; offset < end; offset += WINDOW) {
		size_t length =
			end - offset < WINDOW ? (size_t)(end - offset) : WINDOW;
		void *addr = raw_map(fd, length, PROT_READ | PROT_WRITE,
				     (off_t)offset);
		int r = 0;

		if (addr == MAP_FAILED)
			return -errno;
		if (raw_madvise(addr, length, MADV_POPULATE_WRITE))
			r = -errno;
		raw_unmap(addr, length);
		if (r)
			return r;
	}
	return 0;
}

static int has_room(int fd, uint64_t bytes)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return -errno;
	return bytes > fs.f_bfree * (uint64_t)fs.f_bsize ? -ENOSPC : 0;
}

static int unshare(int fd, uint64_t offset, uint64_t end)
{
	struct extents extents = {0};
	int r = 0;

	if (raw_fallocate(fd, FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE,
			  offset, end - offset))
		r = -errno;
	/* Where there is no such call, the populating may have copied them. */
	if (r == -EOPNOTSUPP || r == -EINVAL)
		r = populate(fd, offset, end);
	if (!r && syscall(SYS_fdatasync, fd))
		r = -errno;
	if (!r)
		r = look(fd, offset, end, &extents);
	if (!r && extents.has_shared)
		r = -EOPNOTSUPP;
	return r;
}

static int allocate(int fd, uint64_t offset, uint64_t end)
{
	struct extents extents = {0};
	int r = look(fd, offset, end, &extents);

	if (r)
		return r;
	if (!extents.holes && !extents.has_unwritten && !extents.has_shared)
		return 0;
	r = has_room(fd, extents.holes);
	if (r)
		return r;
	if (extents.has_shared) {
		r = unshare(fd, offset, end);
		if (r)
			return r;
	}
	if (extents.holes &&
	    raw_fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, end - offset))
		return -errno;
	return populate(fd, offset, end);
}

int allocate_range(int fd, uint64_t offset, uint64_t length)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t stop = offset + length, size = 0;
	uint64_t end = (stop + page - 1) & ~(page - 1);
	int saved_errno = errno, r = 0;
	char name[REASON_FILE_MAX];
	struct stat st;

	reason_file(fd, name, sizeof(name));
	if (raw_stat(fd, &st))
		r = -errno;
	else
		size = ((uint64_t)st.st_size + page - 1) & ~(page - 1);
	if (!r && (stop < offset || end < offset || stop > size))
		r = -ERANGE;
	if (!r && length)
		r = allocate(fd, offset & ~(page - 1), end);
	errno = saved_errno;
	switch (r) {
	case 0:
		return 0;
	case -ERANGE:
		return reason_set(
			r,
			"%s has %jd bytes, bytes %ju to %ju are asked for: "
			"make it longer before (ftruncate), or register what "
			"it has",
			name, (intmax_t)st.st_size, offset, stop);
	case -EOPNOTSUPP:
		return reason_set(
			r,
			"%s shares blocks with another file (reflink) "
			"between bytes %ju and %ju, and they cannot "
			"be unshared here: use a copy of the file (cp "
			"--reflink=never)",
			name, offset, stop);
	default:
		return reason_set(r,
				  "%s: its file system gives no blocks for "
				  "bytes %ju to %ju, which are needed to write "
				  "back what is stored there: %s",
				  name, offset, stop, strerrordesc_np(-r));
	}
}
