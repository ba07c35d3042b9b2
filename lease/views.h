/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program's shared mappings of a file, as far as they show a part of it,
 * with all that they have: what a swap is about. Whatever way they came there,
 * so all that is mapped is looked at, once.
 */
#ifndef DAXMR_LEASE_VIEWS_H
#define DAXMR_LEASE_VIEWS_H

#include "skipped.h"
#include "swap.h"

struct views_of {
	dev_t dev;
	ino_t ino;
	uint64_t offset;
	uint64_t end;
	const void *own;     /* the engine's, which is none of them; NULL */
	bool may_be_trapped; /* by a userfaultfd of the program's */
	bool is_alone;	     /* it can be found out */
	bool is_frozen;	     /* by one of ours */
	const struct skipped *skipped;
};

/*
 * 0; *ret is for heap_put(), also where there is none. -errno with a sentence:
 * /proc cannot be read, -ENOMEM.
 */
int views_find(const struct views_of *of, struct swap_view **ret,
	       unsigned int *ret_count);

#endif
