/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What pinned regions have cost those who use a device, in words: list.h.
 */
#include <inttypes.h>
#include <stdio.h>

#include "list.h"

uint64_t list_device_sum(const struct list_process *process,
			 enum stats_device_count what)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < process->devices; i++)
		sum += process->device[i].count[what];
	return sum;
}

const char *list_left_name(enum gate_left why)
{
	static const char *const names[GATE_LEFTS] = {
		[GATE_DRAINED] = "drained",  [GATE_LEFT_LATE] = "late",
		[GATE_LEFT_KIND] = "kind",   [GATE_LEFT_STATE] = "state",
		[GATE_LEFT_CQ] = "cq",	     [GATE_LEFT_POLL] = "poll",
		[GATE_LEFT_POST] = "marker", [GATE_LEFT_DIRECT] = "direct",
	};

	return names[why];
}

char *list_left(const struct list_device *device)
{
	const char *between = "";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (unsigned int i = GATE_DRAINED + 1; i < GATE_LEFTS; i++) {
		if (!device->count[STATS_DRAINED + i])
			continue;
		fprintf(to, "%s%s %" PRIu64, between, list_left_name(i),
			device->count[STATS_DRAINED + i]);
		between = ", ";
	}
	if (!between[0])
		fputs("none", to);
	return fclose(to) ? NULL : text;
}
