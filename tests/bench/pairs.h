/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the benchmarks share: ours and a baseline, measured in turns in one run,
 * so that whatever the machine does meanwhile it does to both.
 */
#ifndef DAXMR_TESTS_PAIRS_H
#define DAXMR_TESTS_PAIRS_H

#include <stdbool.h>
#include <stddef.h>

#define PAIRS_MAX 64

struct pairs {
	unsigned int count;
	double ours[PAIRS_MAX];
	double base[PAIRS_MAX];
};

struct spread {
	double median, min, max;
};

/* CLOCK_MONOTONIC, in milliseconds. */
double pairs_now_ms(void);

/* Sorts. */
struct spread spread_of(double *values, size_t count);

/*
 * One line of the table (budget.h): both medians, and of the ratios of the
 * pairs the median, the least and the most. False: the median is above the
 * goal. A goal of 0 is none.
 */
bool pairs_print(const struct pairs *pairs, const char *what,
		 const char *base_name, double goal);

#endif
