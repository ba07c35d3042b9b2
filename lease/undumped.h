/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program wants left out of core dumps (MADV_DONTDUMP), of the places
 * where shadows are seen: no shadow is ever dumped, so the kernel's flag there
 * does not tell. When the file is mapped back it has the flag again exactly
 * where the program asked for it, before it was staged or since.
 *
 *   the file's mapping     |..dd..|......|        kernel's flag
 *   the shadow's           |dddddddddddddd|       kernel's flag
 *   ranges                 |------|               here
 *
 * Ranges of addresses, apart from each other, in order. What the program unmaps
 * stays here until another mapping of a shadow lies there.
 *
 * The engine thread's alone.
 */
#ifndef DAXMR_LEASE_UNDUMPED_H
#define DAXMR_LEASE_UNDUMPED_H

#include <stdbool.h>
#include <stdint.h>

struct undumped; /* the first of the ranges; NULL: none */

/* Without memory it is as if nothing had been asked. */
void undumped_set(struct undumped **ranges, uintptr_t start, uintptr_t end,
		  bool is_undumped);

/* The same up to *ret_end, at most end. */
bool undumped_at(const struct undumped *ranges, uintptr_t at, uintptr_t end,
		 uintptr_t *ret_end);

/* As the mappings that lie there. */
void undumped_move(struct undumped **ranges, uintptr_t from, uintptr_t to,
		   uintptr_t length);

/* How many. */
unsigned int undumped_count(const struct undumped *ranges);

#endif
