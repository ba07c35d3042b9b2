/* SPDX-License-Identifier: BSD-2-Clause */
/* The one clock of program and keeper: CLOCK_MONOTONIC, in ns. */
#ifndef DAXMR_LEASE_CLOCK_H
#define DAXMR_LEASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

#endif
