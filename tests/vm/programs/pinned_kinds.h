/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kinds of work that rdma_pinned_kinds does on a pinned region at once:
 * each has a thread, QPs and an area of the region of its own. Its peers are in
 * another context, which the region has nothing to do with.
 */
#ifndef DAXMR_TESTS_PINNED_KINDS_H
#define DAXMR_TESTS_PINNED_KINDS_H

#include <stdatomic.h>

#include "ends.h"

#define AREA 262144U

struct kind {
	const char *name;
	/* Works until kinds_are_over; dies where it sees what must not be. */
	void (*work)(struct kind *kind);
	unsigned char *area; /* of the region */
	atomic_ulong done;   /* operations that succeeded */
	atomic_ulong failed; /* what a peer did by itself, and may fail */
};

extern struct end kinds_local, kinds_peer; /* contexts and PDs */
extern struct ibv_mr *kinds_region;
extern atomic_bool kinds_are_over;

void kind_batches(struct kind *kind);
void kind_chains(struct kind *kind);
void kind_shared_cq(struct kind *kind);
void kind_shared_receives(struct kind *kind);
void kind_receives(struct kind *kind);

#endif
