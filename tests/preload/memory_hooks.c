/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory hooks of the kind that UCX and Open MPI have: who maps or unmaps is
 * told a cache of registrations, under that cache's lock. The program holds the
 * lock where it registers; a call that came here meanwhile, in whatever thread,
 * would wait for it for ever. Here it is counted.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#define EXPORT __attribute__((visibility("default")))

static atomic_bool is_held;
static _Atomic(const char *) first;

EXPORT void memory_hooks_hold(void);
EXPORT const char *memory_hooks_let_go(void);

void memory_hooks_hold(void)
{
	atomic_store(&first, NULL);
	atomic_store(&is_held, true);
}

/* What was called first meanwhile, or NULL. */
const char *memory_hooks_let_go(void)
{
	atomic_store(&is_held, false);
	return atomic_load(&first);
}

static void *call(const char *name)
{
	const char *none = NULL;

	if (atomic_load(&is_held))
		atomic_compare_exchange_strong(&first, &none, name);
	return dlsym(RTLD_NEXT, name);
}

typedef void *map_fn(void *addr, size_t length, int protection, int flags,
		     int fd, off_t offset);
typedef int range_fn(void *addr, size_t length);
typedef int advise_fn(void *addr, size_t length, int advice);
typedef void *remap_fn(void *addr, size_t old_length, size_t length, int flags,
		       ...);

EXPORT void *mmap(void *addr, size_t length, int protection, int flags, int fd,
		  off_t offset)
{
	return ((map_fn *)call("mmap"))(addr, length, protection, flags, fd,
					offset);
}

EXPORT void *mmap64(void *addr, size_t length, int protection, int flags,
		    int fd, off_t offset)
{
	return ((map_fn *)call("mmap64"))(addr, length, protection, flags, fd,
					  offset);
}

EXPORT int munmap(void *addr, size_t length)
{
	return ((range_fn *)call("munmap"))(addr, length);
}

EXPORT int madvise(void *addr, size_t length, int advice)
{
	return ((advise_fn *)call("madvise"))(addr, length, advice);
}

EXPORT void *mremap(void *addr, size_t old_length, size_t length, int flags,
		    ...)
{
	void *to = NULL;
	va_list args;

	if (flags & MREMAP_FIXED) {
		va_start(args, flags);
		to = va_arg(args, void *);
		va_end(args);
	}
	return ((remap_fn *)call("mremap"))(addr, old_length, length, flags,
					    to);
}
