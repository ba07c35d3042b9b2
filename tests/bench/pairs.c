/* SPDX-License-Identifier: BSD-2-Clause */
/* Ours and a baseline, in turns: pairs.h. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "budget.h"
#include "pairs.h"

double pairs_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return (struct spread){values[count / 2], values[0], values[count - 1]};
}

bool pairs_print(const struct pairs *pairs, const char *what,
		 const char *base_name, double goal)
{
	double ratios[PAIRS_MAX] = {0}, copy[PAIRS_MAX], ours, base;
	size_t bytes = pairs->count * sizeof(*copy);
	struct spread ratio;

	for (unsigned int i = 0; i < pairs->count; i++)
		ratios[i] = pairs->ours[i] / pairs->base[i];
	ratio = spread_of(ratios, pairs->count);
	memcpy(copy, pairs->ours, bytes);
	ours = spread_of(copy, pairs->count).median;
	memcpy(copy, pairs->base, bytes);
	base = spread_of(copy, pairs->count).median;
	return budget_print(&(struct budget){
		.what = what,
		.unit = "ms",
		.base_name = base_name,
		.ours = ours,
		.base = base,
		.ratio = ratio.median,
		.min = ratio.min,
		.max = ratio.max,
		.count = pairs->count,
		.goal = goal,
	});
}
