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
#define AT_ONE 16	     /* lanes between two looks at what differs */
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

	/*
	 * Two streams of whole pages, of which hardware fetches what comes up
	 * to the end of each: the begin of the next is ours.
	 */
#pragma GCC unroll 8
	for (size_t i = LANES; i < LANES + AHEAD; i += LINE) {
		__builtin_prefetch(&x[i]);
		__builtin_prefetch(&y[i]);
	}
	for (size_t i = 0; i < LANES; i += AT_ONE) {
		lane differ = x[i] ^ y[i];

#pragma GCC unroll 16
		for (size_t j = 1; j < AT_ONE; j++)
			differ |= x[i + j] ^ y[i + j];
		if (!is_zero(differ))
			return false;
	}
	return true;
}

static void take(void *to, const void *from)
{
	lane *y = to;
	const lane *x = from;

	for (size_t i = 0; i < LANES; i += AT_ONE) {
		lane part[AT_ONE];

#pragma GCC unroll 16
		for (size_t j = 0; j < AT_ONE; j++)
			part[j] = x[i + j];
#pragma GCC unroll 16
		for (size_t j = 0; j < AT_ONE; j++)
			y[i + j] = part[j];
	}
}

static uint64_t digest(const void *block, const uint8_t *secret)
{
	return XXH3_64bits_withSecret(block, EXTENT_BLOCK, secret,
				      EXTENT_SECRET_SIZE);
}

#endif
