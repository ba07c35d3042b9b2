/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done to each block, many thousands at a time: comparing two, a copy
 * and the digest of one. The same code twice, for vectors of 16 bytes and,
 * where the processor has AVX2, of 32; both say the same. Blocks are
 * EXTENT_BLOCK bytes, secrets EXTENT_SECRET_SIZE.
 */
#ifndef DAXMR_LEASE_BLOCK_H
#define DAXMR_LEASE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extent_page.h"

struct block_code {
	/*
	 * Both aligned to 32 bytes; either may change meanwhile. Not memcmp():
	 * what it says of memory that changes while it reads is nobody's
	 * promise (glibc's for SSE2 crashed on it once).
	 */
	bool (*is_same)(const void *a, const void *b);
	/* A copy, aligned as well, of one that may change meanwhile. */
	void (*take)(void *to, const void *from);
	/* XXH3, 64 bits, of a block that nobody writes to. */
	uint64_t (*digest)(const void *block, const uint8_t *secret);
};

extern const struct block_code block_plain;
#ifdef __x86_64__
extern const struct block_code block_avx2;
#endif

static inline const struct block_code *block_code(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return &block_avx2;
#endif
	return &block_plain;
}

#endif
