/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls on files. As long as this process has no lease each is one
 * relaxed load and a jump to the original: no lock, no memory, no system call,
 * so as safe in signal handlers, constructors, malloc() and children of vfork()
 * as the original, and a cancellation point where that is one.
 *
 * With leases the file is looked at first (file_guard.h). The original is then
 * called under a cleanup handler, for it is a cancellation point still.
 *
 * This file is not instrumented (CMakeLists.txt): a sanitizer's runtime may
 * come through before it has set itself up.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/types.h>

#include "file_hooks.h"

static const _Atomic unsigned int none;
const struct engine *file_engine;
const _Atomic unsigned int *file_leases = &none;
const _Atomic unsigned int *file_shadows = &none;
const _Atomic unsigned int *file_kept_locks = &none;

__attribute__((constructor)) static void find_engine(void)
{
	file_engine = daxmr_private_engine(DAXMR_ENGINE_VERSION);
	if (!file_engine)
		return;
	file_leases = file_engine->leased_files;
	file_shadows = file_engine->shadows;
	file_kept_locks = file_engine->kept_locks;
}

void file_end_guard(void *guard)
{
	file_engine->end(guard);
}

/* Any of the calls that open; path and flags are there in all. */
struct open_call {
	enum file_call call;
	int dir;
	const char *path;
	int flags;
	mode_t mode;
};

typedef int open_fn(const char *path, int flags, ...);
typedef int openat_fn(int dir, const char *path, int flags, ...);
typedef int open_2_fn(const char *path, int flags);
typedef int openat_2_fn(int dir, const char *path, int flags);
typedef int creat_fn(const char *path, mode_t mode);

static int open_really(const struct open_call *open)
{
	void *real = file_real(open->call);

	switch (open->call) {
	case FILE_openat:
	case FILE_openat64:
		return ((openat_fn *)real)(open->dir, open->path, open->flags,
					   open->mode);
	case FILE___open_2:
	case FILE___open64_2:
		return ((open_2_fn *)real)(open->path, open->flags);
	case FILE___openat_2:
	case FILE___openat64_2:
		return ((openat_2_fn *)real)(open->dir, open->path,
					     open->flags);
	case FILE_creat:
	case FILE_creat64:
		return ((creat_fn *)real)(open->path, open->mode);
	default:
		return ((open_fn *)real)(open->path, open->flags, open->mode);
	}
}

static __attribute__((noinline)) int open_guarded(enum file_call call, int dir,
						  const char *path, int flags,
						  mode_t mode)
{
	const struct open_call open = {call, dir, path, flags, mode};
	struct file_guard guard;
	int fd;

	if (!file_engine->opening(&guard, dir, path, flags))
		return open_really(&open);
	pthread_cleanup_push(file_end_guard, &guard);
	fd = open_really(&open);
	if (fd >= 0 && flags & O_TRUNC)
		guard_cut(&guard, 0);
	pthread_cleanup_pop(1);
	return fd;
}

static inline bool has_mode(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

/* It is handed over in any case, as the C library's own do. */
static inline mode_t mode_of(int flags, va_list args)
{
	return has_mode(flags) ? va_arg(args, mode_t) : 0;
}

EXPORT int hook_open(const char *path, int flags, ...) __asm__("open");

int hook_open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	if (!has_leases())
		return ((open_fn *)file_real(FILE_open))(path, flags, mode);
	return open_guarded(FILE_open, AT_FDCWD, path, flags, mode);
}

EXPORT int hook_open64(const char *path, int flags, ...) __asm__("open64");

int hook_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	if (!has_leases())
		return ((open_fn *)file_real(FILE_open64))(path, flags, mode);
	return open_guarded(FILE_open64, AT_FDCWD, path, flags, mode);
}

EXPORT int hook_openat(int dir, const char *path, int flags,
		       ...) __asm__("openat");

int hook_openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	if (!has_leases())
		return ((openat_fn *)file_real(FILE_openat))(dir, path, flags,
							     mode);
	return open_guarded(FILE_openat, dir, path, flags, mode);
}

EXPORT int hook_openat64(int dir, const char *path, int flags,
			 ...) __asm__("openat64");

int hook_openat64(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	if (!has_leases())
		return ((openat_fn *)file_real(FILE_openat64))(dir, path, flags,
							       mode);
	return open_guarded(FILE_openat64, dir, path, flags, mode);
}

EXPORT int hook___open_2(const char *path, int flags) __asm__("__open_2");

int hook___open_2(const char *path, int flags)
{
	if (!has_leases())
		return ((open_2_fn *)file_real(FILE___open_2))(path, flags);
	return open_guarded(FILE___open_2, AT_FDCWD, path, flags, 0);
}

EXPORT int hook___open64_2(const char *path, int flags) __asm__("__open64_2");

int hook___open64_2(const char *path, int flags)
{
	if (!has_leases())
		return ((open_2_fn *)file_real(FILE___open64_2))(path, flags);
	return open_guarded(FILE___open64_2, AT_FDCWD, path, flags, 0);
}

EXPORT int hook___openat_2(int dir, const char *path,
			   int flags) __asm__("__openat_2");

int hook___openat_2(int dir, const char *path, int flags)
{
	if (!has_leases())
		return ((openat_2_fn *)file_real(FILE___openat_2))(dir, path,
								   flags);
	return open_guarded(FILE___openat_2, dir, path, flags, 0);
}

EXPORT int hook___openat64_2(int dir, const char *path,
			     int flags) __asm__("__openat64_2");

int hook___openat64_2(int dir, const char *path, int flags)
{
	if (!has_leases())
		return ((openat_2_fn *)file_real(FILE___openat64_2))(dir, path,
								     flags);
	return open_guarded(FILE___openat64_2, dir, path, flags, 0);
}

EXPORT int hook_creat(const char *path, mode_t mode) __asm__("creat");

int hook_creat(const char *path, mode_t mode)
{
	if (!has_leases())
		return ((creat_fn *)file_real(FILE_creat))(path, mode);
	return open_guarded(FILE_creat, AT_FDCWD, path,
			    O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int hook_creat64(const char *path, mode_t mode) __asm__("creat64");

int hook_creat64(const char *path, mode_t mode)
{
	if (!has_leases())
		return ((creat_fn *)file_real(FILE_creat64))(path, mode);
	return open_guarded(FILE_creat64, AT_FDCWD, path,
			    O_CREAT | O_WRONLY | O_TRUNC, mode);
}
