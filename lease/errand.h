/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What may take long, or for ever while a file system is frozen: done beside
 * the engine's thread, by one that lives no longer than that. It has the
 * engine's descriptors and blocks all signals as well. The engine goes on to
 * hear the keeper and to serve the program's own calls.
 *
 * Where no thread is to be had the engine does it itself.
 */
#ifndef DAXMR_LEASE_ERRAND_H
#define DAXMR_LEASE_ERRAND_H

#include "lease_table.h"

typedef int errand_fn(void *arg);

/*
 * Comes back with what fn returns, and its sentence. Requests wait meanwhile,
 * all else is served: leases may change their state, none goes.
 */
int errand_run(struct lease_table *table, struct lease_engine *engine,
	       errand_fn *fn, void *arg);

/* Comes back at once: fn says by itself that it is through. */
void errand_send(struct lease_table *table, errand_fn *fn, void *arg);

/* Whose thread has ended is forgotten. */
void errand_reap(struct lease_table *table);

/* Is it the thread of one that was sent and not reaped yet? */
bool errand_is_sent(const struct lease_table *table, pid_t tid);

/* Waits for all that were sent. */
void errand_end(struct lease_table *table);

#endif
