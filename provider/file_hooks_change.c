/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls that change the size or the blocks of a file, and those
 * that close descriptors: as file_hooks.c. dup2(), close_range() and the like
 * are safe in signal handlers and children of vfork(), and stay so.
 */
#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "file_hooks.h"

#ifndef FALLOC_FL_WRITE_ZEROES /* Linux 6.17 */
#define FALLOC_FL_WRITE_ZEROES 0x80
#endif
#define ZEROING                                                                \
	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_WRITE_ZEROES)
#define PAGE	 4096UL
#define SHIFTING (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)

/* truncate() and truncate64() are one call, and so are the others. */
_Static_assert(sizeof(off_t) == 8, "64-bit machines only");

typedef int truncate_fn(const char *path, off_t length);
typedef int ftruncate_fn(int fd, off_t length);
typedef int fallocate_fn(int fd, int mode, off_t offset, off_t length);
typedef int posix_fallocate_fn(int fd, off_t offset, off_t length);
typedef int madvise_fn(void *addr, size_t length, int advice);

static __attribute__((noinline)) int
truncate_guarded(enum file_call call, const char *path, off_t length)
{
	truncate_fn *real = (truncate_fn *)file_real(call);
	struct file_guard guard;
	int error = 0, r;

	r = file_engine->truncate(&guard, path, length, &error);
	if (!r)
		return real(path, length);
	if (r > 0) {
		if (error)
			errno = error;
		return error ? -1 : 0;
	}
	pthread_cleanup_push(file_end_guard, &guard);
	r = real(path, length);
	if (!r)
		guard_cut(&guard, (uint64_t)length);
	pthread_cleanup_pop(1);
	return r;
}

static __attribute__((noinline)) int ftruncate_guarded(enum file_call call,
						       int fd, off_t length)
{
	ftruncate_fn *real = (ftruncate_fn *)file_real(call);
	struct file_guard guard;
	int r;

	if (!file_engine->changing(&guard, fd))
		return real(fd, length);
	guard_resized(&guard);
	pthread_cleanup_push(file_end_guard, &guard);
	r = real(fd, length);
	pthread_cleanup_pop(1);
	return r;
}

static __attribute__((noinline)) int fallocate_guarded(enum file_call call,
						       int fd, int mode,
						       off_t offset,
						       off_t length)
{
	fallocate_fn *real = (fallocate_fn *)file_real(call);
	struct file_guard guard;
	int r;

	if (!file_engine->changing(&guard, fd))
		return real(fd, mode, offset, length);
	pthread_cleanup_push(file_end_guard, &guard);
	if (mode & SHIFTING && file_engine->shifting(&guard)) {
		errno = EOPNOTSUPP;
		r = -1;
	} else {
		r = real(fd, mode, offset, length);
	}
	if (!r && mode & ZEROING)
		guard_zeroed(&guard, (uint64_t)offset, (uint64_t)length);
	pthread_cleanup_pop(1);
	return r;
}

static __attribute__((noinline)) int
posix_fallocate_guarded(enum file_call call, int fd, off_t offset, off_t length)
{
	posix_fallocate_fn *real = (posix_fallocate_fn *)file_real(call);
	struct file_guard guard;
	int r;

	if (!file_engine->changing(&guard, fd))
		return real(fd, offset, length);
	pthread_cleanup_push(file_end_guard, &guard);
	r = real(fd, offset, length);
	pthread_cleanup_pop(1);
	return r;
}

/* One of the two returns its error. */
static bool is_not_mapped(enum file_call call, int r)
{
	return (call == FILE_posix_madvise ? r : errno) == ENOMEM;
}

/* As madvise() says it, or posix_madvise(). */
static int result(enum file_call call, int error)
{
	if (!error || call == FILE_posix_madvise)
		return error;
	errno = error;
	return -1;
}

/* The file's hole, and zeroes in the shadow, which keeps its pages. */
static int punch_shadow(enum file_call call, struct file_guard *guard,
			void *addr, size_t *length)
{
	int r = file_engine->punch_shadow(guard, addr, *length, length);

	if (r < 0)
		*length = 0; /* of what lies there now */
	return r < 0 ? 0 : result(call, r);
}

/* As much of it as there is room for files: *length. */
static int punch(enum file_call call, void *addr, size_t *length)
{
	madvise_fn *real = (madvise_fn *)file_real(call);
	struct file_guard guard;
	int r;

	file_engine->punching(&guard, addr, *length);
	*length = guard.length;
	pthread_cleanup_push(file_end_guard, &guard);
	if (guard.is_shadow)
		r = punch_shadow(call, &guard, addr, length);
	else
		r = real(addr, *length, MADV_REMOVE);
	pthread_cleanup_pop(1);
	return r;
}

/* The kernel, too, goes on over what is not mapped, and says it then. */
static __attribute__((noinline)) int punch_guarded(enum file_call call,
						   void *addr, size_t length)
{
	bool is_hole = false;

	/* what the kernel refuses as a whole */
	if ((uintptr_t)addr % PAGE || length > SIZE_MAX - PAGE + 1)
		return ((madvise_fn *)file_real(call))(addr, length,
						       MADV_REMOVE);
	length = (length + PAGE - 1) / PAGE * PAGE;
	do {
		size_t done = length;
		int r = punch(call, addr, &done);

		if (r && !is_not_mapped(call, r))
			return r;
		is_hole |= r != 0;
		addr = (char *)addr + done;
		length -= done;
	} while (length);
	return result(call, is_hole ? ENOMEM : 0);
}

EXPORT int hook_truncate(const char *path, off_t length) __asm__("truncate");

int hook_truncate(const char *path, off_t length)
{
	if (!has_leases())
		return ((truncate_fn *)file_real(FILE_truncate))(path, length);
	return truncate_guarded(FILE_truncate, path, length);
}

EXPORT int hook_truncate64(const char *path,
			   off_t length) __asm__("truncate64");

int hook_truncate64(const char *path, off_t length)
{
	if (!has_leases())
		return ((truncate_fn *)file_real(FILE_truncate64))(path,
								   length);
	return truncate_guarded(FILE_truncate64, path, length);
}

EXPORT int hook_ftruncate(int fd, off_t length) __asm__("ftruncate");

int hook_ftruncate(int fd, off_t length)
{
	if (!has_leases())
		return ((ftruncate_fn *)file_real(FILE_ftruncate))(fd, length);
	return ftruncate_guarded(FILE_ftruncate, fd, length);
}

EXPORT int hook_ftruncate64(int fd, off_t length) __asm__("ftruncate64");

int hook_ftruncate64(int fd, off_t length)
{
	if (!has_leases())
		return ((ftruncate_fn *)file_real(FILE_ftruncate64))(fd,
								     length);
	return ftruncate_guarded(FILE_ftruncate64, fd, length);
}

EXPORT int hook_fallocate(int fd, int mode, off_t offset,
			  off_t length) __asm__("fallocate");

int hook_fallocate(int fd, int mode, off_t offset, off_t length)
{
	if (!has_leases())
		return ((fallocate_fn *)file_real(FILE_fallocate))(
			fd, mode, offset, length);
	return fallocate_guarded(FILE_fallocate, fd, mode, offset, length);
}

EXPORT int hook_fallocate64(int fd, int mode, off_t offset,
			    off_t length) __asm__("fallocate64");

int hook_fallocate64(int fd, int mode, off_t offset, off_t length)
{
	if (!has_leases())
		return ((fallocate_fn *)file_real(FILE_fallocate64))(
			fd, mode, offset, length);
	return fallocate_guarded(FILE_fallocate64, fd, mode, offset, length);
}

EXPORT int hook_posix_fallocate(int fd, off_t offset,
				off_t length) __asm__("posix_fallocate");

int hook_posix_fallocate(int fd, off_t offset, off_t length)
{
	if (!has_leases())
		return ((posix_fallocate_fn *)file_real(FILE_posix_fallocate))(
			fd, offset, length);
	return posix_fallocate_guarded(FILE_posix_fallocate, fd, offset,
				       length);
}

EXPORT int hook_posix_fallocate64(int fd, off_t offset,
				  off_t length) __asm__("posix_fallocate64");

int hook_posix_fallocate64(int fd, off_t offset, off_t length)
{
	if (!has_leases())
		return ((posix_fallocate_fn *)file_real(
			FILE_posix_fallocate64))(fd, offset, length);
	return posix_fallocate_guarded(FILE_posix_fallocate64, fd, offset,
				       length);
}

EXPORT int hook_madvise(void *addr, size_t length,
			int advice) __asm__("madvise");

int hook_madvise(void *addr, size_t length, int advice)
{
	int error;

	if ((advice == MADV_DONTDUMP || advice == MADV_DODUMP) &&
	    has_leases() && file_engine->advising(addr, length, advice, &error))
		return result(FILE_madvise, error);
	if (advice != MADV_REMOVE || !has_leases())
		return ((madvise_fn *)file_real(FILE_madvise))(addr, length,
							       advice);
	return punch_guarded(FILE_madvise, addr, length);
}

EXPORT int hook_posix_madvise(void *addr, size_t length,
			      int advice) __asm__("posix_madvise");

int hook_posix_madvise(void *addr, size_t length, int advice)
{
	if (advice != MADV_REMOVE || !has_leases())
		return ((madvise_fn *)file_real(FILE_posix_madvise))(
			addr, length, advice);
	return punch_guarded(FILE_posix_madvise, addr, length);
}
