/* SPDX-License-Identifier: BSD-2-Clause */
/* A line of the table: budget.h. */
#include <stdio.h>

#include "budget.h"

bool budget_print(const struct budget *budget)
{
	bool is_met = budget->ratio <= budget->goal;

	printf("%s | %s | %.6g | %s | %s | %.6g | %.3f | %.3f | %.3f | %u | ",
	       budget->goal == 0 ? "told"
	       : is_met		 ? "met"
				 : "missed",
	       budget->what, budget->ours, budget->unit, budget->base_name,
	       budget->base, budget->ratio, budget->min, budget->max,
	       budget->count);
	if (budget->goal == 0)
		printf("-\n");
	else
		printf("at most %g\n", budget->goal);
	fflush(stdout);
	return budget->goal == 0 || is_met;
}

bool budget_print_growth(const char *what, double many, double few, double goal)
{
	double ratio = many / few;

	return budget_print(&(struct budget){
		.what = what,
		.unit = "us",
		.base_name = "among few",
		.ours = many,
		.base = few,
		.ratio = ratio,
		.min = ratio,
		.max = ratio,
		.count = 1,
		.goal = goal,
	});
}

void budget_point(const char *plot, const char *series, double x, double y,
		  double min, double max)
{
	printf("point | %s | %s | %.6g | %.6g | %.6g | %.6g\n", plot, series, x,
	       y, min, max);
	fflush(stdout);
}
