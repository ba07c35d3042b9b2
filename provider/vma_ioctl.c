/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vma.h with PROCMAP_QUERY.
 *
 * Opening /proc/self/maps for each registration would cost three system calls
 * where the budget is two, so the descriptor is kept. We are guests in the
 * program's descriptor table, hence the rules:
 *
 *  - the number is high, out of the way of programs that count theirs;
 *  - it is never used unseen: before each walk fstat() must show the very
 *    inode that was opened. A program that closed it, or that has another file
 *    there by now, makes us open a new one, and we never close a number that we
 *    do not know to be ours;
 *  - /proc/self/maps goes on showing the process that opened it. The page that
 *    holds the number is wiped by the kernel in every forked child
 *    (MADV_WIPEONFORK, Linux 4.14), so that a child cannot read its parent's
 *    mappings. Where the page cannot be had, nothing is kept.
 *
 * Between fstat() and ioctl() another thread can still put a foreign file at
 * the number. PROCMAP_QUERY then fails, unless that file is the maps of another
 * process: only a program that reads those, and recycles descriptors it does
 * not own, could be misled, for one registration.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "procmap.h"
#include "raw.h"
#include "vma.h"

/* Below the usual soft limit of 1024, above what most programs reach. */
#define HIGH_FD	    960
#define LOWEST_KEPT 16

/* On the stack of a thread that may have 16 KiB; longer ones get memory. */
#define NAME_SIZE 256

/* Alone in a page that a forked child finds zeroed: unlocked, nothing kept. */
struct kept {
	pthread_mutex_t lock;
	int fd_plus_1; /* 0: none */
	dev_t dev;
	ino_t ino;
};

static struct kept *kept; /* NULL: no such page, nothing is kept */
static pthread_once_t kept_once = PTHREAD_ONCE_INIT;

static void make_page(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	/* Past the program's memory hooks, as all that a registration does. */
	void *page = raw_map_memory(size, 0);

	if (page == MAP_FAILED)
		return;
	if (raw_madvise(page, size, MADV_WIPEONFORK) < 0) {
		raw_unmap(page, size);
		return;
	}
	kept = page; /* zeroes are an unlocked mutex (glibc's initializer) */
}

/* The kept descriptor if it still is what it was, else -1. */
static int kept_fd(void)
{
	struct stat st;
	int fd = -1;

	pthread_once(&kept_once, make_page);
	if (!kept)
		return -1;
	pthread_mutex_lock(&kept->lock);
	if (kept->fd_plus_1) {
		fd = kept->fd_plus_1 - 1;
		if (fstat(fd, &st) < 0 || st.st_dev != kept->dev ||
		    st.st_ino != kept->ino) {
			kept->fd_plus_1 = 0;
			fd = -1;
		}
	}
	pthread_mutex_unlock(&kept->lock);
	return fd;
}

static int open_high(void)
{
	struct rlimit limit;
	int fd, high;

	/* Not "self": it has nothing once the first thread has ended. */
	fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	high = HIGH_FD;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= HIGH_FD)
		high = (int)limit.rlim_cur - 1;
	high = fcntl(fd, F_DUPFD_CLOEXEC, high);
	if (high < 0)
		return fd; /* the program's next number: not to be kept */
	close(fd);
	return high;
}

/* Keeps fd for the next walk, or closes it where another is kept already. */
static void keep(int fd)
{
	bool is_kept = false;
	struct stat st;

	if (kept && fd >= LOWEST_KEPT && fstat(fd, &st) == 0) {
		pthread_mutex_lock(&kept->lock);
		if (!kept->fd_plus_1) {
			kept->fd_plus_1 = fd + 1;
			kept->dev = st.st_dev;
			kept->ino = st.st_ino;
			is_kept = true;
		}
		pthread_mutex_unlock(&kept->lock);
	}
	if (!is_kept)
		close(fd);
}

/* As PROCMAP_QUERY: 0 or -errno; -ENAMETOOLONG where the name does not fit. */
static int query_at(int fd, uintptr_t addr, char *name, size_t name_size,
		    struct procmap_query_args *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->size = sizeof(*ret);
	ret->query_flags = PROCMAP_COVERING_OR_NEXT;
	ret->query_addr = addr;
	ret->vma_name_addr = (uintptr_t)name;
	ret->vma_name_size = (uint32_t)name_size;
	return ioctl(fd, PROCMAP_QUERY_NR, ret) < 0 ? -errno : 0;
}

static int walk(int fd, uintptr_t start, uintptr_t end, vma_fn *fn, void *arg)
{
	struct procmap_query_args query;
	char buffer[NAME_SIZE], *name = buffer;
	size_t name_size = sizeof(buffer);
	struct vma vma;
	int r = 0;

	while (start < end) {
		r = query_at(fd, start, name, name_size, &query);
		if (r == -ENAMETOOLONG && name == buffer) {
			name_size = PATH_MAX;
			name = malloc(name_size);
			if (!name)
				return -ENOMEM;
			continue;
		}
		if (r == -ENOENT) /* nothing there or behind it */
			r = 0;
		else if (r == 0 && query.vma_start >= end)
			;
		else if (r == 0) {
			vma.start = query.vma_start;
			vma.end = query.vma_end;
			vma.offset = query.vma_offset;
			vma.dev_major = query.dev_major;
			vma.dev_minor = query.dev_minor;
			vma.ino = query.inode;
			vma.readable = query.vma_flags & PROCMAP_VMA_READABLE;
			vma.writable = query.vma_flags & PROCMAP_VMA_WRITABLE;
			vma.shared = query.vma_flags & PROCMAP_VMA_SHARED;
			vma.name = query.vma_name_size ? name : "";
			start = vma.end;
			r = fn(&vma, arg);
			if (r == 0)
				continue;
		}
		break;
	}
	if (name != buffer)
		free(name);
	return r;
}

int vma_each_ioctl(uintptr_t start, uintptr_t end, vma_fn *fn, void *arg)
{
	int fd, r;

	/*
	 * Failing on the kept one says nothing: it may have been replaced since
	 * it was looked at. walk() has called nobody back then.
	 */
	fd = kept_fd();
	if (fd >= 0) {
		r = walk(fd, start, end, fn, arg);
		if (r >= 0)
			return r;
	}
	fd = open_high();
	if (fd < 0)
		return fd;
	r = walk(fd, start, end, fn, arg);
	if (r < 0)
		close(fd);
	else
		keep(fd);
	return r;
}
