/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory that a trial registration may touch.
 *
 * A plain registration faults pages in, for writing where the MR may write: on
 * a page-cache file that changes its times and, in a hole, its blocks. So:
 *
 *   fs-dax, device-dax   the file itself: the kernel refuses the first before
 *                        it touches a page, the second has no metadata
 *   page cache           a nameless file (O_TMPFILE) in the same folder, so on
 *                        the same file system, where it is of the same kind
 *   tmpfs, hugetlbfs     a memfd, which is the same memory
 *   none of these        the file itself, mapped and registered read-only;
 *                        the answer holds for a read-only registration only
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static void say(struct check_sample *sample, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct check_sample *sample, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sample->why, sizeof(sample->why), format, args);
	va_end(args);
}

static bool is_memory_fs(enum memory_kind kind)
{
	return kind == MEMORY_TMPFS || kind == MEMORY_HUGETLB;
}

static int make_memfd(const struct check_file *file, enum memory_kind kind)
{
	unsigned int flags = MFD_CLOEXEC;

	if (kind == MEMORY_HUGETLB)
		flags |= MFD_HUGETLB |
			 ((unsigned int)__builtin_ctzll(file->block_size)
			  << MAP_HUGE_SHIFT);
	return memfd_create("daxmr-check", flags);
}

/* A nameless file beside the checked one. */
static int make_sibling(const struct check_file *file)
{
	char link[64], folder[PATH_MAX], *slash;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file->path_fd);
	n = readlink(link, folder, sizeof(folder) - 1);
	if (n < 0)
		return -1;
	folder[n] = '\0';
	slash = strrchr(folder, '/');
	if (!slash) {
		errno = ENOENT;
		return -1;
	}
	slash[slash == folder] = '\0';
	return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/*
 * Blocks first: on a full file system the fault would fail, which looks like
 * the kernel's refusal.
 */
static bool give_blocks(int fd, size_t length)
{
	static const char zeroes[65536];

	if (ftruncate(fd, (off_t)length) < 0)
		return false;
	if (fallocate(fd, 0, 0, (off_t)length) == 0)
		return true;
	return errno == EOPNOTSUPP && length <= sizeof(zeroes) &&
	       pwrite(fd, zeroes, length, 0) == (ssize_t)length;
}

static bool same_fs(const struct check_file *file, int fd)
{
	struct stat a, b;

	return fstat(file->fd, &a) == 0 && fstat(fd, &b) == 0 &&
	       a.st_dev == b.st_dev;
}

/* Maps the copy; false, with the reason, where it is no stand-in. */
static bool use_copy(struct check_file *file, enum memory_kind kind, int fd)
{
	struct check_sample *sample = &file->sample;
	int protection = PROT_READ | (file->writable ? PROT_WRITE : 0);
	struct memory memory;
	void *addr;

	if (!is_memory_fs(kind) && !same_fs(file, fd)) {
		say(sample, "its folder is on another file system");
		return false;
	}
	if (!give_blocks(fd, file->length)) {
		say(sample, "a copy cannot be given %zu bytes: %s",
		    file->length, strerror(errno));
		return false;
	}
	addr = mmap(NULL, file->length, protection, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED) {
		say(sample, "a copy cannot be mapped: %s", strerror(errno));
		return false;
	}
	/* in a folder with the DAX attribute a new file is DAX, an old isn't */
	if (!is_memory_fs(kind) &&
	    (memory_look(addr, file->length, &memory) < 0 ||
	     memory.kinds != MEMORY_BIT(kind))) {
		munmap(addr, file->length);
		say(sample, "a new file in its folder is of another kind");
		return false;
	}
	sample->touch = CHECK_TOUCH_COPY;
	sample->addr = addr;
	return true;
}

/* A file that is only read does not change by it, unless reads allocate. */
static bool make_copy(struct check_file *file, enum memory_kind kind)
{
	bool ok;
	int fd;

	if (!file->writable && !is_memory_fs(kind))
		return false;
	fd = is_memory_fs(kind) ? make_memfd(file, kind) : make_sibling(file);
	if (fd < 0) {
		say(&file->sample, "no copy can be made beside it (%s)",
		    strerror(errno));
		return false;
	}
	ok = use_copy(file, kind, fd);
	close(fd);
	return ok;
}

void check_sample_make(struct check_file *file)
{
	struct check_sample *sample = &file->sample;
	enum memory_kind kind = file->memory.file.kind;

	if (file->memory.kinds & MEMORY_BIT(MEMORY_TMPFS))
		kind = MEMORY_TMPFS;
	if (file->memory.kinds & MEMORY_BIT(MEMORY_HUGETLB))
		kind = MEMORY_HUGETLB;
	sample->length = file->length;
	sample->writable = file->writable;
	if (kind == MEMORY_FSDAX ||
	    file->memory.kinds == MEMORY_BIT(MEMORY_DEVDAX)) {
		sample->touch = CHECK_TOUCH_FILE;
	} else if (make_copy(file, kind)) {
		say(sample, "on a nameless file of the same kind, so that "
			    "this one does not change");
		return;
	} else if (!file->size) {
		say(sample, "the file is empty");
		return;
	} else if (is_memory_fs(kind) && lseek(file->fd, 0, SEEK_DATA) != 0) {
		/* even reading would give it a page */
		say(sample, "the file begins with a hole");
		return;
	} else {
		sample->touch = CHECK_TOUCH_FILE;
		sample->writable = false;
	}
	if (sample->writable || !file->writable) {
		sample->addr = file->addr;
		return;
	}
	/* kernels before 6.2 fault in for writing whatever the MR may do */
	sample->addr =
		mmap(NULL, sample->length, PROT_READ, MAP_SHARED, file->fd, 0);
	if (sample->addr == MAP_FAILED) {
		sample->addr = NULL;
		sample->touch = CHECK_TOUCH_NONE;
	}
}

void check_sample_free(struct check_file *file)
{
	struct check_sample *sample = &file->sample;

	if (sample->addr && sample->addr != file->addr)
		munmap(sample->addr, sample->length);
	sample->addr = NULL;
}

bool check_sample_read_only_works(const struct real_verbs *real,
				  struct ibv_pd *pd)
{
	size_t length = (size_t)sysconf(_SC_PAGESIZE);
	int fd = memfd_create("daxmr-check", MFD_CLOEXEC);
	void *addr = MAP_FAILED;
	struct ibv_mr *mr = NULL;

	if (fd >= 0 && ftruncate(fd, (off_t)length) == 0)
		addr = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	if (addr != MAP_FAILED)
		mr = real->reg_mr(pd, addr, length, IBV_ACCESS_REMOTE_READ);
	if (mr)
		real->table.dereg_mr(mr);
	if (addr != MAP_FAILED)
		munmap(addr, length);
	if (fd >= 0)
		close(fd);
	return mr;
}
