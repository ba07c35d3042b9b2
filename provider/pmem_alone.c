/* SPDX-License-Identifier: BSD-2-Clause */
/* Hooks on libpmem in a program that has none: pmem_real.h. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "pmem_real.h"

#define PAGE 4096UL

/* Through our own hook. */
static int sync_pages(const void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr / PAGE * PAGE;

	return msync((void *)start, (uintptr_t)addr + length - start, MS_SYNC);
}

static void persist(const void *addr, size_t length)
{
	int saved_errno = errno;

	sync_pages(addr, length);
	errno = saved_errno;
}

static void *move_flags(void *to, const void *from, size_t length,
			unsigned int flags)
{
	memmove(to, from, length);
	if (!(flags & PMEM_NOFLUSH))
		persist(to, length);
	return to;
}

static void *move(void *to, const void *from, size_t length)
{
	return move_flags(to, from, length, 0);
}

static void *set_flags(void *to, int byte, size_t length, unsigned int flags)
{
	memset(to, byte, length);
	if (!(flags & PMEM_NOFLUSH))
		persist(to, length);
	return to;
}

static void *set(void *to, int byte, size_t length)
{
	return set_flags(to, byte, length, 0);
}

/* There is no map that it could be asked for. */
static void *get(struct pmem2_map *map)
{
	(void)map;
	errno = ENOSYS;
	return NULL;
}

static int deep_flush(struct pmem2_map *map, void *addr, size_t length)
{
	(void)map;
	return sync_pages(addr, length) ? -errno : 0;
}

void *pmem_alone(enum pmem_call call)
{
	switch (call) {
	case PMEM_pmem_persist:
	case PMEM_pmem_flush:
	case PMEM_pmem_deep_flush:
		return (void *)persist;
	case PMEM_pmem_msync:
	case PMEM_pmem_deep_persist:
	case PMEM_pmem_deep_drain:
		return (void *)sync_pages;
	case PMEM_pmem_memcpy_persist:
	case PMEM_pmem_memmove_persist:
	case PMEM_pmem_memcpy_nodrain:
	case PMEM_pmem_memmove_nodrain:
		return (void *)move;
	case PMEM_pmem_memset_persist:
	case PMEM_pmem_memset_nodrain:
		return (void *)set;
	case PMEM_pmem_memcpy:
	case PMEM_pmem_memmove:
		return (void *)move_flags;
	case PMEM_pmem_memset:
		return (void *)set_flags;
	case PMEM_pmem2_deep_flush:
		return (void *)deep_flush;
	case PMEM_pmem2_get_persist_fn:
	case PMEM_pmem2_get_flush_fn:
	case PMEM_pmem2_get_memcpy_fn:
	case PMEM_pmem2_get_memmove_fn:
	case PMEM_pmem2_get_memset_fn:
	case PMEM_CALLS:
		break;
	}
	return (void *)get;
}
