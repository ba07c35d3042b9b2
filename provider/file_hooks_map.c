/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls that make and move mappings: as file_hooks.c, with shadows
 * for leases.
 *
 * mmap() and mremap() look for shadows after the call: one that has come while
 * it was made has not seen the mapping.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "file_hooks.h"
#include "file_map.h"
#include "own_map.h"

typedef void *mmap_fn(void *addr, size_t length, int protection, int flags,
		      int fd, off_t offset);
typedef int munmap_fn(void *addr, size_t length);
typedef void *mremap_fn(void *old, size_t old_size, size_t new_size, int flags,
			...);

static __attribute__((noinline)) void *made(const struct file_map *map)
{
	int error = file_engine->mapped(map);

	if (!error)
		return map->addr;
	errno = error;
	return MAP_FAILED;
}

static void *map_guarded(enum file_call call, void *addr, size_t length,
			 int protection, int flags, int fd, off_t offset)
{
	mmap_fn *real = (mmap_fn *)file_real(call);
	struct file_map map = {addr, length, protection, flags, fd, offset};

	map.addr = real(addr, length, protection, flags, fd, offset);
	if (!has_shadows() || fd < 0 || map.addr == MAP_FAILED)
		return map.addr;
	return made(&map);
}

/* Over something that others may be at. */
static __attribute__((noinline)) void *
map_over_guarded(enum file_call call, void *addr, size_t length, int protection,
		 int flags, int fd, off_t offset)
{
	const struct file_map map = {addr,  length, protection,
				     flags, fd,	    offset};
	int error = file_engine->mapping_over(&map);

	if (error < 0)
		return map_guarded(call, addr, length, protection, flags, fd,
				   offset);
	if (!error)
		return addr;
	errno = error;
	return MAP_FAILED;
}

static __attribute__((noinline)) void
follow_locks(const void *at, size_t length, int flags, int fd)
{
	if (flags & MAP_FIXED)
		file_engine->unmapped_locked(at, length);
	if (flags & MAP_SHARED && !(flags & MAP_ANONYMOUS))
		file_engine->mapped_locked(fd, at, length);
}

static inline void *map(enum file_call call, void *addr, size_t length,
			int protection, int flags, int fd, off_t offset)
{
	void *at;

	if (flags & MAP_FIXED && has_shadows())
		at = map_over_guarded(call, addr, length, protection, flags, fd,
				      offset);
	else
		at = map_guarded(call, addr, length, protection, flags, fd,
				 offset);
	if (has_kept_locks() && at != MAP_FAILED)
		follow_locks(at, length, flags, fd);
	return at;
}

EXPORT void *hook_mmap(void *addr, size_t length, int protection, int flags,
		       int fd, off_t offset) __asm__("mmap");

void *hook_mmap(void *addr, size_t length, int protection, int flags, int fd,
		off_t offset)
{
	return map(FILE_mmap, addr, length, protection, flags, fd, offset);
}

EXPORT void *hook_mmap64(void *addr, size_t length, int protection, int flags,
			 int fd, off_t offset) __asm__("mmap64");

void *hook_mmap64(void *addr, size_t length, int protection, int flags, int fd,
		  off_t offset)
{
	return map(FILE_mmap64, addr, length, protection, flags, fd, offset);
}

static __attribute__((noinline)) void *moved(void *at, size_t length)
{
	int error = file_engine->moved(at, length);

	if (!error)
		return at;
	errno = error;
	return MAP_FAILED;
}

/* Shadows that come meanwhile have not seen it. */
static void *move_really(const struct own_move *move)
{
	mremap_fn *real = (mremap_fn *)file_real(FILE_mremap);
	void *at = real(move->old, move->old_size, move->new_size, move->flags,
			move->new_addr);

	return !has_shadows() || at == MAP_FAILED ? at
						  : moved(at, move->new_size);
}

static __attribute__((noinline)) void *move_guarded(const struct own_move *move)
{
	int error = 0;
	void *at;

	if (!file_engine->moving(move, &at, &error))
		return move_really(move);
	if (!error)
		return at;
	errno = error;
	return MAP_FAILED;
}

EXPORT void *hook_mremap(void *old, size_t old_size, size_t new_size, int flags,
			 ...) __asm__("mremap");

void *hook_mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
{
	struct own_move move = {old, old_size, new_size, flags, NULL};
	va_list args;
	void *at;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_start(args, flags);
		move.new_addr = va_arg(args, void *);
		va_end(args);
	}
	at = has_shadows() ? move_guarded(&move) : move_really(&move);
	if (has_kept_locks() && at != MAP_FAILED)
		file_engine->moved_locked(old, old_size, at, new_size);
	return at;
}

EXPORT int hook_munmap(void *addr, size_t length) __asm__("munmap");

int hook_munmap(void *addr, size_t length)
{
	int r;

	if (has_shadows())
		file_engine->unmapping();
	r = ((munmap_fn *)file_real(FILE_munmap))(addr, length);
	if (!r && has_kept_locks())
		file_engine->unmapped_locked(addr, length);
	return r;
}
