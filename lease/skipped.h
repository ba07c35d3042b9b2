/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the engine has mapped shadows for itself. Nothing of the program's is
 * there, so that who walks over all that is mapped need not stop at each: they
 * lie side by side, and what touches is one.
 */
#ifndef DAXMR_LEASE_SKIPPED_H
#define DAXMR_LEASE_SKIPPED_H

#include <stdint.h>

/* All zero: nothing. By address. */
struct skipped {
	struct skipped_range {
		uintptr_t start;
		uintptr_t end;
	} * ranges;
	unsigned int count;
	unsigned int room;
};

/* Of what is mapped. Without memory it is not skipped. */
void skipped_add(struct skipped *skipped, uintptr_t start, uintptr_t end);
/* Before it is unmapped: what was added, or a part. */
void skipped_remove(struct skipped *skipped, uintptr_t start, uintptr_t end);
void skipped_free(struct skipped *skipped);

/* The first address from `at` on that is not skipped. */
uintptr_t skipped_next(const struct skipped *skipped, uintptr_t at);

#endif
