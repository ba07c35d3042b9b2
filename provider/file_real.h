/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The originals behind our hooks on files: those of the next interposer, or the
 * C library's. All are looked up before main(), or when the first call comes
 * earlier than that: from a constructor, or from a malloc() that sets itself
 * up.
 */
#ifndef DAXMR_FILE_REAL_H
#define DAXMR_FILE_REAL_H

#include <stdatomic.h>

enum file_call {
#define DAXMR_FILE(name, what) FILE_##name,
#include "hooks.def"
	FILE_CALLS
};

extern void *_Atomic file_originals[FILE_CALLS];

/* Looks one up; never NULL where the C library has the function. */
void *file_real_find(enum file_call call);

static inline void *file_real(enum file_call call)
{
	void *real = atomic_load_explicit(&file_originals[call],
					  memory_order_relaxed);

	return real ? real : file_real_find(call);
}

#endif
