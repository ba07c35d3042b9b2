/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls that close descriptors, and flock(), whose locks go with
 * them: as file_hooks.c. dup2(), close_range() and the like are safe in signal
 * handlers and children of vfork(), and stay so.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "file_hooks.h"

typedef int flock_fn(int fd, int operation);
typedef int close_fn(int fd);
typedef int close_range_fn(unsigned int first, unsigned int last, int flags);
typedef void closefrom_fn(int first);
typedef int dup2_fn(int old, int new);
typedef int dup3_fn(int old, int new, int flags);

/* In this table: others, and what only goes at execve(), are as they were. */
static inline void closing_locked(unsigned int first, unsigned int last)
{
	if (has_kept_locks())
		file_engine->closing_locked(first, last);
}

EXPORT int hook_flock(int fd, int operation) __asm__("flock");

int hook_flock(int fd, int operation)
{
	int r = ((flock_fn *)file_real(FILE_flock))(fd, operation);

	if (!r && !(operation & LOCK_UN) && file_engine)
		file_engine->locked(fd);
	if (!r && operation & LOCK_UN)
		closing_locked((unsigned int)fd, (unsigned int)fd);
	return r;
}

/* dup2() of what is not closes nothing. */
static inline bool is_open(int fd)
{
	int saved_errno = errno;
	bool r = !has_kept_locks() || syscall(SYS_fcntl, fd, F_GETFD) >= 0;

	errno = saved_errno;
	return r;
}

/* Will locks have to go with what is closed? Not for a bad call. */
static bool is_closing(struct file_guard *guard, unsigned int first,
		       unsigned int last)
{
	return has_leases() && file_engine->closing(guard, first, last);
}

/*
 * A close() that is cancelled, or interrupted, has closed: told by a cleanup
 * handler, too.
 */
static void tell_closed(void *guard)
{
	file_engine->closed(guard);
}

EXPORT int hook_close(int fd) __asm__("close");

static __attribute__((noinline)) int close_guarded(int fd)
{
	close_fn *real = (close_fn *)file_real(FILE_close);
	struct file_guard guard;
	int r;

	closing_locked((unsigned int)fd, (unsigned int)fd);
	if (!is_closing(&guard, (unsigned int)fd, (unsigned int)fd))
		return real(fd);
	pthread_cleanup_push(tell_closed, &guard);
	r = real(fd);
	pthread_cleanup_pop(1);
	return r;
}

int hook_close(int fd)
{
	if (!has_leases() && !has_kept_locks())
		return ((close_fn *)file_real(FILE_close))(fd);
	return close_guarded(fd);
}

EXPORT int hook_close_range(unsigned int first, unsigned int last,
			    int flags) __asm__("close_range");

int hook_close_range(unsigned int first, unsigned int last, int flags)
{
	close_range_fn *real = (close_range_fn *)file_real(FILE_close_range);
	struct file_guard guard;
	int r;

	if (!flags)
		closing_locked(first, last);
	while (is_closing(&guard, first, last)) {
		r = real(first, guard.last, flags);
		if (!r)
			file_engine->closed(&guard);
		if (r || guard.last == last)
			return r;
		first = guard.last + 1;
	}
	return real(first, last, flags);
}

EXPORT void hook_closefrom(int first) __asm__("closefrom");

void hook_closefrom(int first)
{
	closefrom_fn *real = (closefrom_fn *)file_real(FILE_closefrom);
	unsigned int low = first < 0 ? 0 : (unsigned int)first;
	struct file_guard guard;

	closing_locked(low, UINT_MAX);
	if (is_closing(&guard, low, UINT_MAX))
		hook_close_range(low, UINT_MAX, 0);
	/* what is left, if the kernel should not have the other */
	real(first);
}

EXPORT int hook_dup2(int old, int new) __asm__("dup2");

int hook_dup2(int old, int new)
{
	dup2_fn *real = (dup2_fn *)file_real(FILE_dup2);
	struct file_guard guard;
	int r;

	if (old != new &&is_open(old))
		closing_locked((unsigned int)new, (unsigned int)new);
	if (old == new ||
	    !is_closing(&guard, (unsigned int)new, (unsigned int)new))
		return real(old, new);
	r = real(old, new);
	if (r >= 0)
		file_engine->closed(&guard);
	return r;
}

EXPORT int hook_dup3(int old, int new, int flags) __asm__("dup3");

int hook_dup3(int old, int new, int flags)
{
	dup3_fn *real = (dup3_fn *)file_real(FILE_dup3);
	struct file_guard guard;
	int r;

	if (old != new &&is_open(old))
		closing_locked((unsigned int)new, (unsigned int)new);
	if (!is_closing(&guard, (unsigned int)new, (unsigned int)new))
		return real(old, new, flags);
	r = real(old, new, flags);
	if (r >= 0)
		file_engine->closed(&guard);
	return r;
}
