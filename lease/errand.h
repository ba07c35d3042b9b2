/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What may take long, or for ever while a file system is frozen: done beside
 * the engine's thread, by one of a few that wait for it. They have the engine's
 * descriptors and block all signals as well. The engine goes on to hear the
 * keeper and to serve the program's own calls.
 *
 *   engine --errand--> queue --> two workers, from the engine's start on
 *                        |
 *                        +-----> the maker: where nobody is left for it, makes
 *                                one worker more
 *
 * To make a thread the C library asks malloc(), whose memory may lie in what is
 * held up just then, and whose lock may belong to who waits for the engine
 * (heap.h). So the engine makes none once there may be leases: the maker does,
 * which nobody waits for as long as a worker is left. No worker ends before the
 * engine: there are as many as had to do at once.
 *
 * Where no threads are to be had at the start the engine does it all itself.
 */
#ifndef DAXMR_LEASE_ERRAND_H
#define DAXMR_LEASE_ERRAND_H

#include "lease_table.h"

typedef int errand_fn(void *arg);

/* By the engine's thread, before anything is leased. */
void errand_start(struct lease_table *table);

/*
 * Comes back with what fn returns, and its sentence. Requests wait meanwhile,
 * all else is served: leases may change their state, none goes.
 */
int errand_run(struct lease_table *table, struct lease_engine *engine,
	       errand_fn *fn, void *arg);

/* Comes back at once: fn says by itself that it is through. */
void errand_send(struct lease_table *table, errand_fn *fn, void *arg);

/* Is it the thread of a worker, or the maker's? */
bool errand_is_worker(const struct lease_table *table, pid_t tid);

/* Waits for all that were sent, and ends the workers. Any thread. */
void errand_end(struct lease_table *table);

#endif
