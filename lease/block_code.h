/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code of block.h, for block_plain.c and block_avx2.c: the compiler's
 * options say how wide its vectors are.
 *
 * xxHash is compiled in: a library more in somebody else's process, whose names
 * others may have taken, is not worth a function.
 */
#ifndef DAXMR_LEASE_BLOCK_CODE_H
#define DAXMR_LEASE_BLOCK_CODE_H

#define XXH_INLINE_ALL
#define XXH_NO_PREFETCH /* a block has been copied just before */
#include <xxhash.h>

#include "block.h"

#ifdef __AVX2__
#define LANE 32
#else
#define LANE 16
#endif
#define LANES  (EXTENT_BLOCK / LANE)
#define AT_ONE 8	     /* lanes between two looks at what differs */
#define LINE   (64U / LANE)  /* lanes of a cache line */
#define AHEAD  (512U / LANE) /* what is fetched before it is needed */

typedef uint64_t lane
	__attribute__((vector_size(LANE), aligned(LANE), may_alias));

static bool is_zero(lane bits)
{
#ifdef __AVX2__
	return __builtin_ia32_ptestz256((__v4di)bits, (__v4di)bits);
#else
	uint64_t any = 0;

#pragma GCC unroll 4
	for (size_t i = 0; i < LANE / sizeof(any); i++)
		any |= bits[i];
	return !any;
#endif
}

static bool is_same(const void *a, const void *b)
{
	const lane *x = a, *y = b;

	for (size_t i = 0; i < LANES; i += AT_ONE) {
		lane differ = x[i] ^ y[i];

		/* Two streams of whole pages: hardware stops at each end. */
#pragma GCC unroll 8
		for (size_t j = AHEAD; j < AHEAD + AT_ONE; j += LINE) {
			__builtin_prefetch(&x[i + j]);
			__builtin_prefetch(&y[i + j]);
		}
#pragma GCC unroll 8
		for (size_t j = 1; j < AT_ONE; j++)
			differ |= x[i + j] ^ y[i + j];
		if (!is_zero(differ))
			return false;
	}
	return true;
}

static uint64_t digest(const void *block, const uint8_t *secret)
{
	return XXH3_64bits_withSecret(block, EXTENT_BLOCK, secret,
				      EXTENT_SECRET_SIZE);
}

#endif
