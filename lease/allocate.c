/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks for a range: allocate.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "allocate.h"
#include "blocks.h"
#include "raw.h"
#include "reason.h"
#include "room.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* How much is mapped at a time. */
#define WINDOW (64ULL << 20)

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

static int unshare(int fd, uint64_t offset, uint64_t end)
{
	struct blocks blocks = {0};
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
		r = blocks_look(fd, offset, end, &blocks);
	if (!r && blocks.has_shared)
		r = -EOPNOTSUPP;
	return r;
}

/*
 * What is missing, where that is known. tmpfs does not say, and shares nothing:
 * its fallocate() has enough, or takes nothing.
 */
static int allocate(int fd, uint64_t offset, uint64_t end,
		    char missing[ROOM_TEXT_MAX])
{
	struct blocks blocks = {0};
	int r = blocks_look(fd, offset, end, &blocks);
	bool is_unknown = r == -EOPNOTSUPP;

	if (is_unknown)
		blocks.holes = end - offset;
	else if (r)
		return r;
	if (!blocks.holes && !blocks.has_unwritten && !blocks.has_shared)
		return 0;
	r = is_unknown ? 0 : room_look(fd, blocks.holes, missing);
	if (r)
		return r;
	if (blocks.has_shared) {
		r = unshare(fd, offset, end);
		if (r)
			return r;
	}
	if (blocks.holes &&
	    raw_fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, end - offset))
		return -errno;
	return populate(fd, offset, end);
}

/*
 * Huge pages: there by fallocate() alone, zeroed and in the page cache, or not
 * to be had.
 */
static int allocate_huge(int fd, uint64_t offset, uint64_t end)
{
	return raw_fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, end - offset)
		       ? -errno
		       : 0;
}

/* Of the file, which may be of huge pages. */
static uint64_t page_of(int fd, bool *ret_is_huge)
{
	struct statfs fs;

	*ret_is_huge = !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC;
	return *ret_is_huge ? (uint64_t)fs.f_bsize
			    : (uint64_t)sysconf(_SC_PAGESIZE);
}

int allocate_range(int fd, uint64_t offset, uint64_t length)
{
	bool is_huge;
	uint64_t page = page_of(fd, &is_huge);
	uint64_t stop = offset + length, size = 0;
	uint64_t end = (stop + page - 1) & ~(page - 1);
	int saved_errno = errno, r = 0;
	char name[REASON_FILE_MAX], missing[ROOM_TEXT_MAX] = "";
	struct stat st;

	reason_file(fd, name, sizeof(name));
	if (raw_stat(fd, &st))
		r = -errno;
	else
		size = ((uint64_t)st.st_size + page - 1) & ~(page - 1);
	if (!r && (stop < offset || end < offset || stop > size))
		r = -ERANGE;
	if (!r && length)
		r = is_huge ? allocate_huge(fd, offset & ~(page - 1), end)
			    : allocate(fd, offset & ~(page - 1), end, missing);
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
		return reason_set_kind(
			REASON_REFLINK, r,
			"%s shares blocks with another file (reflink) "
			"between bytes %ju and %ju, and they cannot "
			"be unshared here: use a copy of the file (cp "
			"--reflink=never)",
			name, offset, stop);
	default:
		return reason_set(r,
				  "%s: its file system gives no blocks for "
				  "bytes %ju to %ju, which are needed to write "
				  "back what is stored there: %s%s%s",
				  name, offset, stop, strerrordesc_np(-r),
				  missing[0] ? "; " : "", missing);
	}
}
