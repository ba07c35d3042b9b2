/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An extent with a shadow, for the files of staged.h.
 */
#ifndef DAXMR_LEASE_STAGED_PARTS_H
#define DAXMR_LEASE_STAGED_PARTS_H

#include "staged.h"

struct staged {
	struct staged *next; /* of the lease */
	struct lease *lease;
	dev_t shadow_dev;
	ino_t shadow_ino;
	uint64_t offset;
	uint64_t end;
	unsigned int refs;
	struct attached attached;
	uint32_t slot; /* shadows.h */
	int shadow_fd;
	struct extent extent;
	uint8_t *bytes;	    /* of the shadow, for own_io.h; no view */
	bool is_sync;	    /* the file was mapped with MAP_SYNC */
	bool has_uncounted; /* views that no lease tells of: staged_swap.c */
	bool is_let_go; /* the keeper has it no more, when this is answered: */
	uint32_t left_ticket; /* 0: it is */
};

static inline bool staged_overlaps(const struct staged *staged, uint64_t offset,
				   uint64_t end)
{
	return staged->offset < end && staged->end > offset;
}

/* What the steps of a swap need to know. */
struct swapping {
	struct lease_table *table;
	struct lease *lease;
	struct staged *staged;
	const struct staged_mover *mover;
};

/* Other mappings came or went while they were swapped: looked at again. */
#define STAGED_TRIES 8

/* staged_swap.c: shadow and file change places. */

/* 0, -errno; -EAGAIN: mappings have changed, look again. */
int staged_swap_in(const struct swapping *swapping);

/*
 * Flushes, and has the keeper let go of it before the file is back. Leaves the
 * gate of own_gate.h closed.
 */
int staged_swap_out(const struct swapping *swapping);

/*
 * What is mapped of the shadow: a description of its own, so that it can be
 * found out whether any is; only for reading where the file is, so that it can
 * be made writable as little. -1 and errno.
 */
int staged_open_view(struct staged *staged);
void staged_close_view(const struct staged *staged, int view_fd);

/* A mapping of the shadow: what it has as the file's. */
void staged_describe_as_file(const struct staged *staged,
			     struct mapping_state *state);

/*
 * What is in shadows of [offset, end) is in the file and durable; else with a
 * sentence: staged_flush().
 */
int staged_persist(struct lease_table *table, struct lease *lease,
		   uint64_t offset, uint64_t end);

/* The same of one whose file is ours. -EAGAIN: it is not. */
int staged_flush_one(const struct swapping *swapping);

/*
 * The keeper flushes this extent no more: 0. -ETIMEDOUT with a sentence: it has
 * not said so, and staged->left_ticket is what it will answer.
 */
int staged_let_go(const struct swapping *swapping);
/* The same, and its answer is not waited for. */
void staged_let_go_soon(const struct swapping *swapping);

/*
 * staged_sleepers.c: does nobody wait in the shadow for a mutex that hands on
 * priorities? 0, -EOPNOTSUPP with a sentence.
 */
int staged_check_sleepers(const struct staged *staged);

/* A shadow has taken a file's place under threads. */
void staged_expect_sleepers(struct lease_table *table);

/* staged_count.c: it is none of the lease's from now on; its counts stay. */
void staged_count_gone(struct lease *lease, const struct staged *staged);

#endif
