/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The trust test's own thread: with stack enough for libibverbs and its
 * providers, whatever the caller has, and all signals blocked, so that a
 * program's handlers run on the program's threads.
 */
#ifndef DAXMR_ODP_TRUST_THREAD_H
#define DAXMR_ODP_TRUST_THREAD_H

#include <stdbool.h>

/*
 * Runs it there and waits until it is through; the wait cannot be cancelled.
 * 0, or -errno and it did not run.
 */
int thread_run(void (*run)(void *), void *arg);

/* Whether the calling thread is such a one. */
bool thread_is_ours(void);

#endif
