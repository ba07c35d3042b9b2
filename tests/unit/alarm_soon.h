/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals for handlers that interrupt what is tested, one after another: the
 * next is asked for when the one before is handled. One that comes in steady
 * steps leaves no time for anything else where the handler takes longer than a
 * step, and an emulated machine is such a place.
 */
#ifndef DAXMR_TESTS_ALARM_SOON_H
#define DAXMR_TESTS_ALARM_SOON_H

#include <sys/time.h>

/* SIGALRM in so many microseconds, once. As setitimer(2). */
static inline int alarm_soon(int us)
{
	struct itimerval once = {.it_value = {.tv_usec = us}};

	return setitimer(ITIMER_REAL, &once, NULL);
}

#endif
