/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round of the trust test: one operation, between two memories of certain
 * kinds, over messages of every awkward shape, as often as the memory has
 * states to be found in.
 */
#ifndef DAXMR_ODP_TRUST_CASES_H
#define DAXMR_ODP_TRUST_CASES_H

#include <stddef.h>

#include "trust_loop.h"
#include "trust_side.h"

enum round_op {
	ROUND_SEND,
	ROUND_WRITE,
	ROUND_WRITE_IMM,
	ROUND_READ,
	/* `from` is the word that is changed, `to` is where the old one goes */
	ROUND_ATOMIC,
};

struct round {
	enum link_type link;
	enum round_op op;
	enum side_memory from;
	enum side_memory to;
	unsigned int stages; /* bits 1 << enum side_stage */
	uint32_t needs;	     /* what the capabilities have to claim */
};

enum round_result {
	ROUND_RIGHT,
	ROUND_WRONG,  /* *seen says what */
	ROUND_FAILED, /* the loop's reason says why; its link is unmade */
};

/* Adds the transfers that were looked at to *cases. */
enum round_result round_run(struct loop *loop, const struct round *round,
			    char *seen, size_t size, unsigned int *cases);

/* "RC write from on-demand memory" */
char *round_name(const struct round *round, char *text, size_t size);

#endif
