/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long it takes to send a signal to another process and to have one back:
 * what an answer to the break of a lease takes at the least.
 */
#ifndef DAXMR_TESTS_ROUND_TRIP_H
#define DAXMR_TESTS_ROUND_TRIP_H

#include <sys/types.h>

/*
 * A process that answers a signal, from the call on; SIGUSR1 is blocked from
 * here on, and is the caller's thread's alone. -1: it cannot be started.
 */
pid_t round_trip_start(void);

/* There and back once, in microseconds. */
double round_trip_us(pid_t partner);

void round_trip_end(pid_t partner);

/* Each of so many, one after the other: neither has been asleep for long. */
void round_trips(double *us, unsigned int count);

#endif
