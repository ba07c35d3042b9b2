/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A round under way: its two sides, with the messages laid out.
 */
#ifndef DAXMR_ODP_TRUST_BENCH_H
#define DAXMR_ODP_TRUST_BENCH_H

#include "trust_cases.h"

struct bench {
	struct loop *loop;
	const struct round *round;
	struct side from;
	struct side to;
	unsigned int messages;
	unsigned int *cases;
	/* the completions of a batch */
	struct loop_done sent[SHAPE_MESSAGES];
	struct loop_done received[SHAPE_MESSAGES];
};

static inline bool link_has_srq(enum link_type link)
{
	return link == LINK_RC_SRQ || link == LINK_UD_SRQ;
}

/* Something differs from the images: the sentence about it. */
void bench_describe(const struct bench *bench, enum side_stage stage,
		    char *seen, size_t size);

#endif
