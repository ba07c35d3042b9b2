/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ranges of a file that a lease was acquired for: where others have had the
 * file in between, the keeper gives them blocks again. Ranges that touch are
 * one for the keeper, so those are few: as many as there are gaps between the
 * regions of one file. Which regions there are is counted here, so that what
 * belongs to none any more is left alone.
 */
#ifndef DAXMR_LEASE_RANGE_H
#define DAXMR_LEASE_RANGE_H

#include "lease_table.h"

/*
 * One more: laid before the keeper, whose answer is waited for. 0, or -errno
 * with a sentence, and nothing has changed.
 */
int range_add(struct lease_table *table, struct lease *lease, uint64_t offset,
	      uint64_t length);

/* Of this or a shadow: why the keeper does not have it, as a sentence. */
int range_refuse(int error);

/* One less, as it was added. -EINVAL with a sentence: there is none like it. */
int range_remove(struct lease_table *table, struct lease *lease,
		 uint64_t offset, uint64_t length);

/* All, with the lease. */
void range_free_all(struct lease *lease);

/* For attach.h: those that this keeper could not have, or all of them. */
void range_attach(struct lease_table *table, struct lease *lease,
		  bool failed_only);

/* The one with this number; NULL: there is none. */
struct attached *range_attached(struct lease *lease, uint32_t extent);

#endif
