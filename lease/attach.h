/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges and shadows of a lease before its keeper.
 *
 * Who registers one waits for the keeper's answer, and gets its error. A keeper
 * that comes after one that died hears of all there are; what it cannot have
 * (no descriptor, no memory) nobody waits for: the observer is told
 * (RECALL_UNATTACHED, RECALL_RANGE_UNATTACHED), it is laid before the keeper
 * again until it has it, and until then what is stored in a shadow is not in
 * the file, as a flush says.
 *
 * The engine thread's alone.
 */
#ifndef DAXMR_LEASE_ATTACH_H
#define DAXMR_LEASE_ATTACH_H

#include <stdint.h>

struct keeper_extent;
struct lease;
struct lease_table;

/* Of a range or a shadow. */
struct attached {
	uint32_t extent; /* its number for the keeper */
	int error;	 /* it does not have it, until it says it has: 0 */
	int told;	 /* of which the observer knows */
};

/*
 * Sends it; extent->id and ->extent are filled in here. Its answer is what
 * talk_expect(KEEPER_ATTACH) has announced before, if it has this number.
 */
void attach_send(struct lease_table *table, struct lease *lease,
		 struct attached *attached, struct keeper_extent *extent);

/* All of a lease, before a keeper that has none of it. */
void attach_all(struct lease_table *table, struct lease *lease);

/* KEEPER_ATTACHED */
void attach_answered(struct lease_table *table, struct lease *lease,
		     uint32_t extent, uint32_t ticket, int error);

/* What a keeper could not have, when it is time. */
void attach_again(struct lease_table *table);

/* poll(2)'s timeout until then. */
int attach_timeout_ms(const struct lease_table *table);

#endif
