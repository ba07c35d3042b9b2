/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads of daxmr's own, in somebody else's process: they take little of its
 * memory, whatever thread-local storage it has.
 *
 * The C library puts that storage on each thread's stack, and makes no thread
 * whose stack has no room for it (EINVAL): a program may have megabytes
 * (Fortran does). Linux before 6.7 puts a huge page under any stack that has
 * room for one, or whose mapping has grown together with others: 2 MiB for some
 * kilobytes.
 */
#ifndef DAXMR_LEASE_OWN_THREAD_H
#define DAXMR_LEASE_OWN_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/*
 * With a stack of this size, or as much more as the program's storage takes. As
 * pthread_create(): 0 or a positive errno.
 */
int own_thread_start(pthread_t *ret, size_t stack, bool is_detached,
		     void *(*fn)(void *arg), void *arg);

/* By the thread, first of all. errno is kept. */
void own_thread_keep_small(void);

#endif
