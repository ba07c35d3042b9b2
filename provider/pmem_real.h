/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The originals behind our hooks on libpmem and libpmem2, neither of which we
 * link: they come with the program, possibly by dlopen() without RTLD_GLOBAL,
 * and are found as real.h has it. Those of a program that is linked to them are
 * looked up before main(); else it is the first call that takes the loader's
 * lock.
 *
 * A program that is not linked to libpmem but refers to it weakly finds our
 * hook. It gets what the call says, made of msync() and memmove().
 */
#ifndef DAXMR_PMEM_REAL_H
#define DAXMR_PMEM_REAL_H

#include <stdatomic.h>
#include <stddef.h>

#include "dl_library.h"

struct pmem2_map;

typedef void pmem_persist_fn(const void *addr, size_t length);
typedef int pmem_sync_fn(const void *addr, size_t length);
typedef void *pmem_move_fn(void *to, const void *from, size_t length);
typedef void *pmem_set_fn(void *to, int byte, size_t length);
/* With flags, the same in both libraries. */
typedef void *pmem_move_flags_fn(void *to, const void *from, size_t length,
				 unsigned int flags);
typedef void *pmem_set_flags_fn(void *to, int byte, size_t length,
				unsigned int flags);
#define PMEM_NOFLUSH (1U << 5)

typedef void *pmem2_get_fn(struct pmem2_map *map);
typedef int pmem2_deep_flush_fn(struct pmem2_map *map, void *addr,
				size_t length);

enum pmem_call {
#define DAXMR_PMEM(name, version, what) PMEM_##name,
#include "hooks.def"
	PMEM_CALLS
};

extern const struct dl_library pmem_library;
extern const struct dl_library pmem2_library;

extern void *_Atomic pmem_originals[PMEM_CALLS];

/* Looks one up; never NULL. */
void *pmem_real_find(enum pmem_call call);

/* What stands in for one that is not there: pmem_alone.c. */
void *pmem_alone(enum pmem_call call);

static inline void *pmem_real(enum pmem_call call)
{
	void *real = atomic_load_explicit(&pmem_originals[call],
					  memory_order_relaxed);

	return real ? real : pmem_real_find(call);
}

#endif
