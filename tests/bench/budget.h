/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line of the table that bench/run prints. budget.sh prints the same for
 * those that are scripts.
 */
#ifndef DAXMR_TESTS_BUDGET_H
#define DAXMR_TESTS_BUDGET_H

#include <stdbool.h>

struct budget {
	const char *what;
	const char *unit;
	const char *base_name;
	double ours, base; /* medians */
	double ratio, min, max;
	unsigned int count; /* of what ratio, min and max are of */
	double goal;	    /* ratio is to be at most that; 0: only told */
};

/*
 * met|missed|told | WHAT | OURS | UNIT | BASE_NAME | BASE | RATIO | MIN | MAX |
 * COUNT | at most GOAL
 * False: missed.
 */
bool budget_print(const struct budget *budget);

/* Microseconds that something takes among many of its kind, and among few. */
bool budget_print_growth(const char *what, double many, double few,
			 double goal);

#endif
