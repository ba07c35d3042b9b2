/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Without signals. What threads of ours wait for is held like this: a signal
 * handler of the program may open or cut off a leased file, which waits for
 * those threads, and so for what it has interrupted; or leave by siglongjmp().
 */
#ifndef DAXMR_QUIET_H
#define DAXMR_QUIET_H

#include <pthread.h>
#include <signal.h>

static inline void quiet_begin(sigset_t *ret_before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

static inline void quiet_end(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

static inline void quiet_lock(pthread_mutex_t *lock, sigset_t *ret_before)
{
	quiet_begin(ret_before);
	pthread_mutex_lock(lock);
}

static inline void quiet_unlock(pthread_mutex_t *lock, const sigset_t *before)
{
	pthread_mutex_unlock(lock);
	quiet_end(before);
}

#endif
