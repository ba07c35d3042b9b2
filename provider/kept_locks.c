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

#define LOCKED_MAX 65536U /* numbers above are not followed */
#define WORD	   64U
#define HIGH_FD	   700 /* below what select() takes, above what is common */
#define LOW_FD	   10

/* Of copy: 0 is a free slot, nobody's copy has that number. */
#define FREE  0
#define TAKEN (-1) /* by whoever fills or empties it */

_Atomic unsigned int kept_locks;

/* What flock() has locked. */
static _Atomic uint64_t locked[LOCKED_MAX / WORD];

struct kept {
	_Atomic int copy;
	dev_t dev;
	ino_t ino;
	/* Where its mappings were when it was closed, and have moved since. */
	_Atomic uintptr_t start;
	_Atomic uintptr_t end;
};

static struct kept slots[KEPT_LOCKS_MAX];

/* Whose they are: a child of vfork() has their memory and not their table. */
static _Atomic pid_t owner;

static void child_is_owner(void)
{
	atomic_store(&owner, (pid_t)syscall(SYS_getpid));
}

__attribute__((constructor)) static void follow_forks(void)
{
	child_is_owner();
	pthread_atfork(NULL, NULL, child_is_owner);
}

static bool is_owner(void)
{
	return atomic_load(&owner) == (pid_t)syscall(SYS_getpid);
}

static uint64_t bit_of(unsigned int fd)
{
	return UINT64_C(1) << fd % WORD;
}

void kept_locks_locked(int fd)
{
	unsigned int n = (unsigned int)fd;

	if (n >= LOCKED_MAX || !is_owner() ||
	    atomic_fetch_or(&locked[n / WORD], bit_of(n)) & bit_of(n))
		return;
	atomic_fetch_add(&kept_locks, 1);
}

struct look {
	dev_t dev;
	ino_t ino;
	bool may_be_shadow;
	uintptr_t start; /* of all that was found; end 0: nothing was */
	uintptr_t end;
};

static int is_of_file(const struct self_map *map, void *arg)
{
	struct look *look = arg;

	if (!map->is_shared ||
	    (!look->may_be_shadow &&
	     (map->dev != look->dev || map->ino != look->ino)))
		return 0;
	if (!look->end)
		look->start = map->start;
	look->end = map->end;
	return 0;
}

/* The kernel has no number above the limit: then a lower one. */
static int copy_high(int fd)
{
	int copy = -1;

	for (int low = HIGH_FD; copy < 0 && low > LOW_FD; low /= 2)
		copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, low);
	return copy;
}

static void put_aside(int fd, const struct look *look)
{
	for (unsigned int i = 0; i < KEPT_LOCKS_MAX; i++) {
		struct kept *kept = &slots[i];
		int copy = FREE;

		if (!atomic_compare_exchange_strong(&kept->copy, &copy, TAKEN))
			continue;
		copy = copy_high(fd);
		kept->dev = look->dev;
		kept->ino = look->ino;
		atomic_store(&kept->start, look->start);
		atomic_store(&kept->end, look->end);
		if (copy >= 0)
			atomic_fetch_add(&kept_locks, 1);
		atomic_store(&kept->copy, copy < 0 ? FREE : copy);
		return;
	}
}

static void close_locked(unsigned int fd)
{
	struct look look = {.end = 0};
	struct stat st;

	if (!guard_has_lock(fd) || raw_stat((int)fd, &st) ||
	    !S_ISREG(st.st_mode))
		return;
	look.dev = st.st_dev;
	look.ino = st.st_ino;
	if (!self_maps_each(0, UINTPTR_MAX, is_of_file, &look) && look.end)
		put_aside((int)fd, &look);
}

/* The program has closed it for us. */
static void forget(unsigned int first, unsigned int last)
{
	for (unsigned int i = 0; i < KEPT_LOCKS_MAX; i++) {
		int copy = atomic_load(&slots[i].copy);

		if (copy > FREE && (unsigned int)copy >= first &&
		    (unsigned int)copy <= last && is_owner() &&
		    atomic_compare_exchange_strong(&slots[i].copy, &copy, FREE))
			atomic_fetch_sub(&kept_locks, 1);
	}
}

void kept_locks_closing(unsigned int first, unsigned int last)
{
	int saved_errno = errno;

	forget(first, last);
	for (unsigned int n = first; n <= last && n < LOCKED_MAX; n++) {
		if (!atomic_load(&locked[n / WORD])) {
			n |= WORD - 1; /* none of its word */
			continue;
		}
		if (!(atomic_load(&locked[n / WORD]) & bit_of(n)) ||
		    !is_owner() ||
		    !(atomic_fetch_and(&locked[n / WORD], ~bit_of(n)) &
		      bit_of(n)))
			continue;
		close_locked(n);
		atomic_fetch_sub(&kept_locks, 1);
	}
	errno = saved_errno;
}

/* With the lease's own copies told, as when the program closes its last. */
static void let_go(struct kept *kept, int copy)
{
	struct file_guard guard;
	bool is_told =
		guard_closing(&guard, (unsigned int)copy, (unsigned int)copy);

	raw_close(copy);
	if (is_told)
		guard_closed(&guard);
	atomic_store(&kept->copy, FREE);
	atomic_fetch_sub(&kept_locks, 1);
}

static void look_again(struct kept *kept)
{
	struct look look = {.dev = kept->dev, .ino = kept->ino};
	int copy = atomic_load(&kept->copy);

	/* What shows a shadow is the file's mapping still. */
	look.may_be_shadow = atomic_load(&shadows_count) > 0;
	if (copy <= FREE ||
	    self_maps_each(atomic_load(&kept->start), atomic_load(&kept->end),
			   is_of_file, &look) ||
	    look.end)
		return;
	if (atomic_compare_exchange_strong(&kept->copy, &copy, TAKEN))
		let_go(kept, copy);
}

static bool touches(const struct kept *kept, uintptr_t start, size_t length)
{
	return atomic_load(&kept->copy) > FREE &&
	       start < atomic_load(&kept->end) &&
	       start + length > atomic_load(&kept->start);
}

void kept_locks_unmapped(const void *addr, size_t length)
{
	int saved_errno = errno;

	for (unsigned int i = 0; i < KEPT_LOCKS_MAX; i++)
		if (touches(&slots[i], (uintptr_t)addr, length) && is_owner())
			look_again(&slots[i]);
	errno = saved_errno;
}

void kept_locks_moved(const void *old, size_t old_size, const void *now,
		      size_t now_size)
{
	uintptr_t start = (uintptr_t)now, end = start + now_size;
	int saved_errno = errno;

	for (unsigned int i = 0; i < KEPT_LOCKS_MAX; i++) {
		struct kept *kept = &slots[i];

		if (!touches(kept, (uintptr_t)old, old_size) || !is_owner())
			continue;
		if (start < atomic_load(&kept->start))
			atomic_store(&kept->start, start);
		if (end > atomic_load(&kept->end))
			atomic_store(&kept->end, end);
		look_again(kept);
	}
	errno = saved_errno;
}
