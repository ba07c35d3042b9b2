/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program asked for when it registered an MR, for the time it changes
 * it (ibv_rereg_mr) or gives it up. One record per living MR, found by its
 * address.
 */
#ifndef DAXMR_MR_RECORD_H
#define DAXMR_MR_RECORD_H

#include <stdbool.h>

#include <infiniband/verbs.h>

#include "route.h"

struct pinned;
struct stage;
struct window;

struct mr_record {
	const struct ibv_mr *mr;
	unsigned int access; /* the program's own flags */
	enum strategy strategy;
	struct stage *stage;   /* STAGED: what the MR lies in (stage.h) */
	struct window *window; /* whose key its rkey is (window.h); or NULL */
	struct pinned *pinned; /* PINNED: whose MR it is (pinned.h) */
	uint64_t listed;       /* of a region on a file: stats.h */
};

/* Keeps a copy. 0; -ENOMEM, never where it takes the place of an older one. */
int mr_record_put(const struct mr_record *record);

/* Copies it out, or takes it out; false where there is none. */
bool mr_record_get(const struct ibv_mr *mr, struct mr_record *ret);
bool mr_record_take(const struct ibv_mr *mr, struct mr_record *ret);

#endif
