/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing memory that may not be there: of a mapped file that has
 * become shorter, whose file system has no room, whose device cannot be read.
 * The kernel says so by SIGBUS.
 *
 * For the keeper: it installs a handler, which is nothing to do in somebody
 * else's process.
 */
#ifndef DAXMR_LEASE_FAULT_H
#define DAXMR_LEASE_FAULT_H

#include <stdbool.h>

/*
 * SIGBUS is ours from now on, and unblocked in the calling thread. Again: does
 * no harm. 0, or -errno.
 */
int fault_init(void);

/*
 * Runs fn. False: it got a SIGBUS and was left there, as by longjmp(): what it
 * has to be known by afterwards stands in memory before each access that may
 * fail (atomic_signal_fence()). Not nested.
 */
bool fault_try(void (*fn)(void *arg), void *arg);

#endif
