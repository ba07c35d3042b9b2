/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One side of a transfer: memory, its MR, and where in it the messages lie.
 *
 * The MR lasts while the memory goes through its stages: only so the pages
 * that are replaced between two of them are pages that the device had taken
 * note of.
 */
#ifndef DAXMR_ODP_TRUST_SIDE_H
#define DAXMR_ODP_TRUST_SIDE_H

#include <stdbool.h>

#include "trust_loop.h"
#include "trust_mem.h"
#include "trust_shape.h"

enum side_memory {
	SIDE_PLAIN,    /* an ordinary MR */
	SIDE_ODP,      /* an on-demand MR */
	SIDE_READONLY, /* an on-demand MR, mapping and MR not writable */
	SIDE_SHIFTED,  /* an on-demand MR whose iova isn't its address */
};

/* The states that the on-demand memory goes through, in order. */
enum side_stage {
	STAGE_UNTOUCHED, /* no page is there: the device has to fault them in */
	STAGE_WRITTEN,	 /* the CPU has written to what the device knew */
	STAGE_DROPPED,	 /* other pages, MADV_DONTNEED, written by the CPU */
	/* another mapping in its place; prefetched, where that is possible */
	STAGE_REMAPPED,
	STAGE_COUNT,
};

#define STAGES_ALL ((1u << STAGE_COUNT) - 1)

struct side {
	enum side_memory kind;
	struct scratch scratch;
	struct ibv_mr *mr;
	uint64_t iova; /* of the first byte */
	unsigned int access;
	bool prefetched; /* in this stage */
	struct message message[SHAPE_MESSAGES];
};

static inline bool side_is_odp(const struct side *side)
{
	return side->kind != SIDE_PLAIN;
}

/*
 * Both return 0, or -1 and the loop has a reason. A side that is all zeroes,
 * or could not be opened, can be closed.
 */
int side_open(struct loop *loop, struct side *side, enum side_memory kind,
	      size_t length);
void side_close(struct loop *loop, struct side *side);

/*
 * Brings the memory into its state, filled with these letters, and the image
 * with it. Plain memory is filled in every stage. A memory that is to be left
 * untouched is nothing but zeroes.
 */
int side_prepare(struct loop *loop, struct side *side, enum side_stage stage,
		 enum scratch_letters letters, uint32_t seed);

#endif
