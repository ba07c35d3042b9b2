/* SPDX-License-Identifier: BSD-2-Clause */
/* What the hooks on files share: file_hooks.c. */
#ifndef DAXMR_FILE_HOOKS_H
#define DAXMR_FILE_HOOKS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine.h"
#include "file_real.h"

#define EXPORT __attribute__((visibility("default")))

/* Set before main(), or never. A hook that is called earlier passes on. */
extern const struct engine *file_engine;
extern const _Atomic unsigned int *file_leases;
extern const _Atomic unsigned int *file_shadows;
extern const _Atomic unsigned int *file_kept_locks;

static inline bool has_leases(void)
{
	return atomic_load_explicit(file_leases, memory_order_relaxed) != 0;
}

static inline bool has_shadows(void)
{
	return atomic_load_explicit(file_shadows, memory_order_relaxed) != 0;
}

static inline bool has_kept_locks(void)
{
	return atomic_load_explicit(file_kept_locks, memory_order_relaxed) != 0;
}

/* What a call of the engine's came to, as the C library says it. */
static inline ssize_t file_result(ssize_t n)
{
	if (n >= 0)
		return n;
	errno = (int)-n;
	return -1;
}

/* For pthread_cleanup_push(). */
void file_end_guard(void *guard);

#endif
