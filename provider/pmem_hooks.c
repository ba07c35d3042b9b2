/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls of libpmem: pmem_hooks.h. Under libpmem's own version
 * node, as hooks.c has it for verbs. libpmem calls its own functions through
 * its PLT, so pmem_persist() comes by here once more as pmem_flush().
 */
#include <errno.h>

#include "dl_hooks.h"
#include "pmem_hooks.h"

void pmem_persist_staged(pmem_persist_fn *real, const void *addr, size_t length)
{
	bool has_other;

	file_engine->sync_memory(addr, length, &has_other);
	if (!has_other)
		return;
	real(addr, length);
	file_engine->sync_memory(addr, length, NULL);
}

static int result(int error)
{
	if (!error)
		return 0;
	errno = -error;
	return -1;
}

static __attribute__((noinline)) int
sync_staged(pmem_sync_fn *real, const void *addr, size_t length)
{
	bool has_other;
	int error = file_engine->sync_memory(addr, length, &has_other);
	int r = has_other ? real(addr, length) : 0;

	if (has_other && !error)
		error = file_engine->sync_memory(addr, length, NULL);
	return r ? r : result(error);
}

static inline int sync_through(pmem_sync_fn *real, const void *addr,
			       size_t length)
{
	int r;

	if (has_shadows())
		return sync_staged(real, addr, length);
	r = real(addr, length);
	if (r || !has_shadows())
		return r;
	return result(file_engine->sync_memory(addr, length, NULL));
}

EXPORT pmem_persist_fn hook_pmem_persist __asm__("pmem_persist");

void hook_pmem_persist(const void *addr, size_t length)
{
	pmem_persist_through((pmem_persist_fn *)pmem_real(PMEM_pmem_persist),
			     addr, length);
}

EXPORT pmem_persist_fn hook_pmem_flush __asm__("pmem_flush");

void hook_pmem_flush(const void *addr, size_t length)
{
	pmem_persist_through((pmem_persist_fn *)pmem_real(PMEM_pmem_flush),
			     addr, length);
}

EXPORT pmem_persist_fn hook_pmem_deep_flush __asm__("pmem_deep_flush");

void hook_pmem_deep_flush(const void *addr, size_t length)
{
	pmem_persist_through((pmem_persist_fn *)pmem_real(PMEM_pmem_deep_flush),
			     addr, length);
}

EXPORT pmem_sync_fn hook_pmem_msync __asm__("pmem_msync");

int hook_pmem_msync(const void *addr, size_t length)
{
	return sync_through((pmem_sync_fn *)pmem_real(PMEM_pmem_msync), addr,
			    length);
}

EXPORT pmem_sync_fn hook_pmem_deep_persist __asm__("pmem_deep_persist");

int hook_pmem_deep_persist(const void *addr, size_t length)
{
	return sync_through((pmem_sync_fn *)pmem_real(PMEM_pmem_deep_persist),
			    addr, length);
}

EXPORT pmem_sync_fn hook_pmem_deep_drain __asm__("pmem_deep_drain");

int hook_pmem_deep_drain(const void *addr, size_t length)
{
	return sync_through((pmem_sync_fn *)pmem_real(PMEM_pmem_deep_drain),
			    addr, length);
}

EXPORT pmem_move_fn hook_pmem_memcpy_persist __asm__("pmem_memcpy_persist");

void *hook_pmem_memcpy_persist(void *to, const void *from, size_t length)
{
	((pmem_move_fn *)pmem_real(PMEM_pmem_memcpy_persist))(to, from, length);
	return pmem_copied(to, length);
}

EXPORT pmem_move_fn hook_pmem_memmove_persist __asm__("pmem_memmove_persist");

void *hook_pmem_memmove_persist(void *to, const void *from, size_t length)
{
	((pmem_move_fn *)pmem_real(PMEM_pmem_memmove_persist))(to, from,
							       length);
	return pmem_copied(to, length);
}

EXPORT pmem_set_fn hook_pmem_memset_persist __asm__("pmem_memset_persist");

void *hook_pmem_memset_persist(void *to, int byte, size_t length)
{
	((pmem_set_fn *)pmem_real(PMEM_pmem_memset_persist))(to, byte, length);
	return pmem_copied(to, length);
}

EXPORT pmem_move_fn hook_pmem_memcpy_nodrain __asm__("pmem_memcpy_nodrain");

void *hook_pmem_memcpy_nodrain(void *to, const void *from, size_t length)
{
	((pmem_move_fn *)pmem_real(PMEM_pmem_memcpy_nodrain))(to, from, length);
	return pmem_copied(to, length);
}

EXPORT pmem_move_fn hook_pmem_memmove_nodrain __asm__("pmem_memmove_nodrain");

void *hook_pmem_memmove_nodrain(void *to, const void *from, size_t length)
{
	((pmem_move_fn *)pmem_real(PMEM_pmem_memmove_nodrain))(to, from,
							       length);
	return pmem_copied(to, length);
}

EXPORT pmem_set_fn hook_pmem_memset_nodrain __asm__("pmem_memset_nodrain");

void *hook_pmem_memset_nodrain(void *to, int byte, size_t length)
{
	((pmem_set_fn *)pmem_real(PMEM_pmem_memset_nodrain))(to, byte, length);
	return pmem_copied(to, length);
}

EXPORT pmem_move_flags_fn hook_pmem_memcpy __asm__("pmem_memcpy");

void *hook_pmem_memcpy(void *to, const void *from, size_t length,
		       unsigned int flags)
{
	((pmem_move_flags_fn *)pmem_real(PMEM_pmem_memcpy))(to, from, length,
							    flags);
	return flags & PMEM_NOFLUSH ? to : pmem_copied(to, length);
}

EXPORT pmem_move_flags_fn hook_pmem_memmove __asm__("pmem_memmove");

void *hook_pmem_memmove(void *to, const void *from, size_t length,
			unsigned int flags)
{
	((pmem_move_flags_fn *)pmem_real(PMEM_pmem_memmove))(to, from, length,
							     flags);
	return flags & PMEM_NOFLUSH ? to : pmem_copied(to, length);
}

EXPORT pmem_set_flags_fn hook_pmem_memset __asm__("pmem_memset");

void *hook_pmem_memset(void *to, int byte, size_t length, unsigned int flags)
{
	((pmem_set_flags_fn *)pmem_real(PMEM_pmem_memset))(to, byte, length,
							   flags);
	return flags & PMEM_NOFLUSH ? to : pmem_copied(to, length);
}

/* For programs that look them up by themselves: dl_hooks.c. */
const struct dl_hook dl_hooks_pmem[] = {
#define DAXMR_PMEM(name, version, what) {#name, #version, (void *)hook_##name},
#include "hooks.def"
	{NULL, NULL, NULL},
};
