/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one lease engine of this process (lease.h), started with the first lease.
 * What happens to leases goes to the log.
 *
 * A forked child has none of its parent's leases, and starts an engine of its
 * own if it wants one.
 */
#ifndef DAXMR_LEASES_H
#define DAXMR_LEASES_H

#include <stdbool.h>

#include "lease.h"

/*
 * The engine, started where there is none. 0, or -errno with a sentence
 * (reason.h). errno is kept.
 */
int leases_start(struct lease_engine **ret);

/* As lease_acquire(), -errno with this thread's sentence (log.h). */
int leases_acquire(const struct lease_want *want, struct lease **ret);

/* As lease_release(). */
int leases_release(struct lease *lease, uint64_t offset, uint64_t length,
		   int64_t deadline_ns);

/*
 * Another copy of this library in the process (of another build, or under
 * another name) has leases, and we have none: what it has staged would be
 * ordinary memory to us, and swapped under our MR. Reads /proc.
 */
bool leases_have_another(void);

/* NULL: there has been no lease in this process. Never waits, for hooks. */
struct lease_engine *leases_engine(void);

#endif
