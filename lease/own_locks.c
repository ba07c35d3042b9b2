/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks that the program expects to go with its last close.
 *
 * flock() and OFD locks belong to an open file description and go with its last
 * descriptor and mapping. The keeper and the engine have dups of a leased one,
 * so they would stay until the lease is released: whoever closes its lock file
 * to let the next one in would wait for nothing. So when the program has closed
 * one of its descriptors that had such a lock, and none of the description is
 * left anywhere, they are dropped by the engine's own dup, or by the keeper's
 * where the engine has none.
 *
 * Left, that is
 *   a descriptor   in any descriptor table of the program (kcmp())
 *   a mapping      of the file: of which description nobody tells
 *   a process      other than the keeper that has the file open or mapped, such
 *                  as a child that inherited it
 * As long as a mapping or a process is left it is looked for again twice a
 * second; a descriptor that is left is closed by a hooked call, too. Not seen:
 * descriptors on their way through a socket, and processes we may not look at.
 * Where kcmp() is not to be had (some containers), and where the engine has no
 * dup to compare with (recover.h), each descriptor of the file counts. POSIX
 * locks (F_SETLK) belong to a process and are not touched by dups.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lease_table.h"
#include "numbers.h"
#include "openers.h"
#include "raw.h"
#include "self_maps.h"

typedef bool number_fn(int number, void *arg);

/* Is it so for one of the numbers that this folder of /proc lists? */
static bool any_number(const char *path, number_fn *fn, void *arg)
{
	struct numbers numbers;
	int r = numbers_open(&numbers, AT_FDCWD, path), number;
	bool found = false;

	if (r)
		return r != -ENOENT; /* a thread that ended has nothing */
	while (!found && numbers_next(&numbers, &number) > 0)
		found = fn(number, arg);
	numbers_close(&numbers);
	return found;
}

struct search {
	const struct lease *lease;
	pid_t self; /* the engine's thread */
	pid_t tid;  /* whose table is looked at */
	pid_t seen; /* another whose table has been */
};

static bool is_leased_description(int fd, void *arg)
{
	const struct search *search = arg;
	const struct lease *lease = search->lease;
	struct stat st;
	char path[64];
	long r;

	if (lease->fd >= 0) {
		r = syscall(SYS_kcmp, search->tid, search->self, KCMP_FILE, fd,
			    lease->fd);
		if (r >= 0 || errno == EBADF || errno == ESRCH)
			return r == 0;
	}
	snprintf(path, sizeof(path), "/proc/self/task/%d/fd/%d", search->tid,
		 fd);
	return syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0 &&
	       st.st_dev == lease->dev && st.st_ino == lease->ino;
}

static bool have_one_table(pid_t a, pid_t b)
{
	return a == b || syscall(SYS_kcmp, a, b, KCMP_FILES, 0, 0) == 0;
}

/* Threads that do errands of the engine's have its table. */
static bool has_descriptor(int tid, void *arg)
{
	struct search *search = arg;
	char path[64];

	if (have_one_table(tid, search->self) ||
	    (search->seen && have_one_table(tid, search->seen)))
		return false;
	search->tid = search->seen = tid;
	snprintf(path, sizeof(path), "/proc/self/task/%d/fd", tid);
	return any_number(path, is_leased_description, search);
}

static int is_of_lease(const struct self_map *map, void *arg)
{
	const struct lease *lease = arg;

	return map->dev == lease->dev && map->ino == lease->ino;
}

/* For a look at the file; breaks nothing. */
static int open_path(const struct lease *lease)
{
	int fd = raw_open(AT_FDCWD, lease->path ? lease->path : "",
			  O_PATH | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || (!raw_stat(fd, &st) && st.st_dev == lease->dev &&
		       st.st_ino == lease->ino))
		return fd;
	raw_close(fd);
	return -1;
}

/* Of a file that cannot be looked at, too. */
static bool may_others_have_it(const struct lease_table *table,
			       const struct lease *lease)
{
	int fd = lease->fd >= 0 ? lease->fd : open_path(lease);
	struct openers openers = {0};
	int r = -EBADF;

	if (fd >= 0)
		r = openers_find(fd, table->keeper.pid, OPENERS_OTHERS,
				 &openers);
	if (fd >= 0 && fd != lease->fd)
		raw_close(fd);
	return r || openers.found;
}

static void drop(struct lease_table *table, const struct lease *lease)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (lease->fd < 0) {
		keeper_unlock(&table->keeper, lease->id);
		return;
	}
	syscall(SYS_flock, lease->fd, LOCK_UN);
	syscall(SYS_fcntl, lease->fd, F_OFD_SETLK, &all);
}

bool own_locks_drop(struct lease_table *table, const struct lease *lease)
{
	struct search search = {.lease = lease, .self = gettid()};

	if (any_number("/proc/self/task", has_descriptor, &search))
		return true;
	if (self_maps_each(0, UINTPTR_MAX, is_of_lease, (void *)lease) ||
	    may_others_have_it(table, lease))
		return false;
	drop(table, lease);
	return true;
}
