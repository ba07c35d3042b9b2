/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the hooks on libpmem and libpmem2 share.
 *
 * As long as there are no shadows each is the original between two relaxed
 * loads: the second one is for a range that gets its shadow meanwhile, from
 * another thread, so that the original has flushed the wrong memory. With
 * shadows the range is looked up and written through (file_sync.h); the
 * original is left out where it would flush nothing but the shadow's own DRAM.
 * Else it is looked up once more after the original, as above. Where there are
 * shadows, but none anywhere near, that is two looks at a short list
 * (shadow_places.h).
 *
 * What returns nothing can say nothing: the log does.
 *
 * A flush without a drain writes through as well. A later drain has no range,
 * and would have to remember one for each thread.
 */
#ifndef DAXMR_PMEM_HOOKS_H
#define DAXMR_PMEM_HOOKS_H

#include "file_hooks.h"
#include "pmem_real.h"

/* With shadows. */
void pmem_persist_staged(pmem_persist_fn *real, const void *addr,
			 size_t length);

static inline void pmem_persist_through(pmem_persist_fn *real, const void *addr,
					size_t length)
{
	if (has_shadows()) {
		pmem_persist_staged(real, addr, length);
		return;
	}
	real(addr, length);
	if (has_shadows())
		file_engine->sync_memory(addr, length, NULL);
}

/* What has been copied there, and flushed by the original. */
static inline void *pmem_copied(void *to, size_t length)
{
	if (has_shadows())
		file_engine->sync_memory(to, length, NULL);
	return to;
}

/* pmem2_hooks.c, for dl_hooks_pmem. */
EXPORT pmem2_get_fn hook_pmem2_get_persist_fn __asm__("pmem2_get_persist_fn");
EXPORT pmem2_get_fn hook_pmem2_get_flush_fn __asm__("pmem2_get_flush_fn");
EXPORT pmem2_get_fn hook_pmem2_get_memcpy_fn __asm__("pmem2_get_memcpy_fn");
EXPORT pmem2_get_fn hook_pmem2_get_memmove_fn __asm__("pmem2_get_memmove_fn");
EXPORT pmem2_get_fn hook_pmem2_get_memset_fn __asm__("pmem2_get_memset_fn");
EXPORT pmem2_deep_flush_fn hook_pmem2_deep_flush __asm__("pmem2_deep_flush");

#endif
