/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lease is taken and given back, by the engine thread.
 */
#ifndef DAXMR_LEASE_LEASE_TAKE_H
#define DAXMR_LEASE_LEASE_TAKE_H

#include "lease_table.h"

/* One count more: lease_acquire(). */
int lease_take(struct lease_table *table, struct lease_engine *engine,
	       const struct lease_want *want, struct lease **ret);

/*
 * One count less, of this range: lease_release(). The last gives it back,
 * waits, frees it. Not while it has shadows that cannot go, as others have the
 * file: -EAGAIN with the sentence of that, nor where the keeper does not
 * answer: -ETIMEDOUT; lease_tidy() does it later.
 */
int lease_give_back(struct lease_table *table, struct lease *lease,
		    uint64_t offset, uint64_t length, int64_t deadline_ns);

/* Gives back what could not be before. */
void lease_tidy(struct lease_table *table);

#endif
