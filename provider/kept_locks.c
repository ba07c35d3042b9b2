/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptions whose lock only a mapping has: kept_locks.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "file_guard.h"
#include "kept_locks.h"
#include "raw.h"
#include "self_maps.h"
#include "shadows.h"

#define HIGH_FD 700 /* below what select() takes, above what is common */
#define LOW_FD	10

enum state {
	FREE,
	TAKEN,	/* whoever took it changes it */
	LOCKED, /* the program's descriptor */
	COPY,	/* ours; the program's is closed */
};

struct kept {
	_Atomic int state;
	_Atomic int fd;
	dev_t dev; /* of a copy: whose number may be another file's by now */
	ino_t ino;
	_Atomic unsigned int looks; /* that were asked for */
	/* What is mapped from it, or has moved there since; end 0: nothing. */
	_Atomic uintptr_t start;
	_Atomic uintptr_t end;
};

_Atomic unsigned int kept_locks;

static struct kept slots[KEPT_LOCKS_MAX];
#define END (slots + KEPT_LOCKS_MAX)

/* Whose they are: a child of vfork() has their memory and not their table. */
static _Atomic pid_t owner;

static bool is_owner(void)
{
	return atomic_load(&owner) == (pid_t)syscall(SYS_getpid);
}

static bool take(struct kept *kept, int state)
{
	return atomic_load(&kept->state) == state && is_owner() &&
	       atomic_compare_exchange_strong(&kept->state, &state, TAKEN);
}

static void empty(struct kept *kept)
{
	atomic_store(&kept->state, FREE);
	atomic_fetch_sub(&kept_locks, 1);
}

static void set_range(struct kept *kept, uintptr_t start, uintptr_t end)
{
	atomic_store(&kept->start, start);
	atomic_store(&kept->end, end);
}

static bool touches(const struct kept *kept, uintptr_t start, uintptr_t end)
{
	return start < atomic_load(&kept->end) &&
	       end > atomic_load(&kept->start);
}

void kept_locks_mapped(int fd, const void *addr, size_t length)
{
	int saved_errno = errno;

	for (struct kept *kept = slots; kept < END; kept++) {
		if (atomic_load(&kept->fd) != fd || !take(kept, LOCKED))
			continue;
		if (!atomic_load(&kept->end))
			set_range(kept, (uintptr_t)addr,
				  (uintptr_t)addr + length);
		atomic_store(&kept->state, LOCKED);
	}
	errno = saved_errno;
}

struct look {
	dev_t dev;
	ino_t ino;
	bool may_be_shadow; /* what shows a shadow is the file's mapping still
			     */
};

static int is_of_file(const struct self_map *map, void *arg)
{
	const struct look *look = arg;

	return map->is_shared &&
	       (look->may_be_shadow ||
		(map->dev == look->dev && map->ino == look->ino));
}

/* False also for a descriptor that is another file's by now. */
static bool is_mapped(const struct kept *kept)
{
	struct look look = {.may_be_shadow = atomic_load(&shadows_count) > 0};
	struct stat st;

	if (!atomic_load(&kept->end) || raw_stat(atomic_load(&kept->fd), &st) ||
	    !S_ISREG(st.st_mode))
		return false;
	look.dev = st.st_dev;
	look.ino = st.st_ino;
	return self_maps_each(atomic_load(&kept->start),
			      atomic_load(&kept->end), is_of_file, &look) > 0;
}

/* The kernel has no number above the limit: then a lower one. */
static int copy_high(int fd)
{
	int copy = -1;

	for (int low = HIGH_FD; copy < 0 && low > LOW_FD; low /= 2)
		copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, low);
	return copy;
}

/* Not what has its number by now, which was closed past us. */
static bool is_copy(const struct kept *kept)
{
	struct stat st;

	return !raw_stat(atomic_load(&kept->fd), &st) &&
	       st.st_dev == kept->dev && st.st_ino == kept->ino;
}

/* With the lease's own copies told, as when the program closes its last. */
static void let_go(struct kept *kept)
{
	int fd = atomic_load(&kept->fd);
	struct file_guard guard;

	if (is_copy(kept)) {
		bool is_told = guard_closing(&guard, (unsigned int)fd,
					     (unsigned int)fd);

		raw_close(fd);
		if (is_told)
			guard_closed(&guard);
	}
	empty(kept);
}

/* Who finds it taken has asked for one look more by whoever took it. */
static void look_again(struct kept *kept)
{
	unsigned int seen;

	atomic_fetch_add(&kept->looks, 1);
	do {
		seen = atomic_load(&kept->looks);
		if (take(kept, LOCKED)) {
			if (!is_mapped(kept))
				set_range(kept, 0, 0);
			atomic_store(&kept->state, LOCKED);
		} else if (take(kept, COPY)) {
			if (is_mapped(kept))
				atomic_store(&kept->state, COPY);
			else
				let_go(kept);
		}
	} while (atomic_load(&kept->looks) != seen);
}

/* One that nobody has closed by a call that is seen, as fclose() does. */
static bool reclaim(struct kept *kept)
{
	int fd = atomic_load(&kept->fd);

	if (!take(kept, LOCKED))
		return false;
	if (!guard_has_lock((unsigned int)fd))
		return true;
	atomic_store(&kept->state, LOCKED);
	return false;
}

static void fill(struct kept *kept, int fd)
{
	atomic_store(&kept->fd, fd);
	set_range(kept, 0, 0);
	atomic_store(&kept->state, LOCKED);
}

void kept_locks_locked(int fd)
{
	int saved_errno = errno;
	struct kept *kept;

	for (kept = slots; kept < END; kept++)
		if (atomic_load(&kept->state) == LOCKED &&
		    atomic_load(&kept->fd) == fd)
			break;
	if (kept < END) {
		look_again(kept); /* it may be another file's number by now */
		errno = saved_errno;
		return;
	}
	for (kept = slots; kept < END; kept++) {
		if (!take(kept, FREE))
			continue;
		atomic_fetch_add(&kept_locks, 1);
		fill(kept, fd);
		return;
	}
	for (kept = slots; kept < END; kept++) {
		if (!reclaim(kept))
			continue;
		fill(kept, fd);
		break;
	}
	errno = saved_errno;
}

/* A copy that the program is about to close with the rest is none. */
static void close_locked(struct kept *kept, unsigned int first,
			 unsigned int last)
{
	int fd = atomic_load(&kept->fd), copy = -1;
	struct stat st;

	if (guard_has_lock((unsigned int)fd) && is_mapped(kept))
		copy = copy_high(fd);
	if (copy >= 0 &&
	    (((unsigned int)copy >= first && (unsigned int)copy <= last) ||
	     raw_stat(copy, &st))) {
		raw_close(copy);
		copy = -1;
	}
	if (copy < 0) {
		empty(kept);
		return;
	}
	kept->dev = st.st_dev;
	kept->ino = st.st_ino;
	atomic_store(&kept->fd, copy);
	atomic_store(&kept->state, COPY);
	/* Who unmapped it meanwhile has found it taken. */
	look_again(kept);
}

void kept_locks_closing(unsigned int first, unsigned int last)
{
	int saved_errno = errno;

	for (struct kept *kept = slots; kept < END; kept++) {
		unsigned int fd = (unsigned int)atomic_load(&kept->fd);

		if (fd < first || fd > last)
			continue;
		if (take(kept, LOCKED))
			close_locked(kept, first, last);
		else if (take(kept, COPY))
			empty(kept); /* the program does it for us */
	}
	errno = saved_errno;
}

/* A child may have got no mapping of it (MADV_DONTFORK). */
static void child_is_owner(void)
{
	int saved_errno = errno;

	atomic_store(&owner, (pid_t)syscall(SYS_getpid));
	for (struct kept *kept = slots; kept < END; kept++)
		if (atomic_load(&kept->state) == COPY)
			look_again(kept);
	errno = saved_errno;
}

__attribute__((constructor)) static void follow_forks(void)
{
	atomic_store(&owner, (pid_t)syscall(SYS_getpid));
	pthread_atfork(NULL, NULL, child_is_owner);
}

void kept_locks_unmapped(const void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr;
	int saved_errno = errno;

	for (struct kept *kept = slots; kept < END; kept++)
		if (touches(kept, start, start + length))
			look_again(kept);
	errno = saved_errno;
}

/* Where a part of it was moved, what is left counts. */
void kept_locks_moved(const void *old, size_t old_size, const void *now,
		      size_t now_size)
{
	uintptr_t start = (uintptr_t)old, end = start + old_size;
	int saved_errno = errno;

	for (struct kept *kept = slots; kept < END; kept++) {
		if (!touches(kept, start, end))
			continue;
		if (start <= atomic_load(&kept->start) &&
		    end >= atomic_load(&kept->end) && is_owner())
			set_range(kept, (uintptr_t)now,
				  (uintptr_t)now + now_size);
		look_again(kept);
	}
	errno = saved_errno;
}
