/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line of the table that bench/run prints, and one point of the plots that
 * it draws. budget.sh prints the same for those that are scripts.
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

/*
 * point | PLOT | SERIES | X | Y | MIN | MAX
 * A point of one of the plots; bench/plot knows what each is called and in
 * which units it is. Where Y is all there is, MIN and MAX are the same.
 */
void budget_point(const char *plot, const char *series, double x, double y,
		  double min, double max);

#endif
