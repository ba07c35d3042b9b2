/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long it takes to send a signal to another process and to have one back:
 * what an answer to the break of a lease takes at the least.
 */
#ifndef DAXMR_TESTS_ROUND_TRIP_H
#define DAXMR_TESTS_ROUND_TRIP_H

/* In microseconds, each of so many; SIGUSR1 is blocked from here on. */
void round_trips(double *us, unsigned int count);

#endif
