/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a shadow from the file, piece by piece, for swap.c: those first that
 * a trapped thread waits for, each let go as it is ready.
 */
#ifndef DAXMR_LEASE_FILL_H
#define DAXMR_LEASE_FILL_H

#include "swap.h"
#include "trap.h"

struct filling {
	const struct swap *swap;
	struct trap trap;
	bool is_trapped; /* else nobody waits */
	char *slice;	 /* on its way from the one to the other */
	bool *is_done;	 /* per chunk */
	size_t chunks;
	size_t next;
	uint64_t in_file; /* bytes of the extent before the end of the file */
};

/* Nothing is filled yet. 0 or -errno; fill_done() is due in any case. */
int fill_init(struct filling *filling, const struct swap *swap);
void fill_done(struct filling *filling);

/* All of it. 0, or -errno: some may have been let go. */
int fill_all(struct filling *filling);

/* What was let go may have been stored to: that goes to the file. */
void fill_take_back(const struct filling *filling);

/* Of a view, in the extent and so in the shadow. */
uint64_t fill_offset(const struct swap *swap, const struct swap_view *view);

#endif
