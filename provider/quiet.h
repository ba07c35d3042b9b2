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
#include <stdint.h>
#include <time.h>

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

/* Held over fork(): what is kept is the lock's own, and is read under it. */
static inline void quiet_lock_over_fork(pthread_mutex_t *lock,
					sigset_t *ret_kept)
{
	sigset_t before;

	quiet_lock(lock, &before);
	*ret_kept = before;
}

static inline void quiet_unlock_after_fork(pthread_mutex_t *lock,
					   const sigset_t *kept)
{
	sigset_t before = *kept;

	quiet_unlock(lock, &before);
}

/* Neither a signal nor a cancellation; what the thread had before. */
struct still {
	sigset_t signals;
	int cancel_state;
};

static inline void still_begin(struct still *ret)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ret->cancel_state);
	quiet_begin(&ret->signals);
}

static inline void still_end(const struct still *still)
{
	quiet_end(&still->signals);
	pthread_setcancelstate(still->cancel_state, NULL);
}

/* CLOCK_MONOTONIC; INT64_MAX: for ever. 0 or ETIMEDOUT. */
static inline int quiet_wait(pthread_cond_t *changed, pthread_mutex_t *lock,
			     int64_t until_ns)
{
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

	if (until_ns == INT64_MAX)
		return pthread_cond_wait(changed, lock);
	return pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
}

#endif
