/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was refused to a process, in words: list.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "list.h"

const char *list_errno_name(size_t error)
{
	const char *name = error ? strerrorname_np((int)error) : NULL;

	return name ? name : "unknown";
}

char *list_refused(const uint64_t refused[STATS_ERRNOS])
{
	const char *between = "";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (size_t i = 0; i < STATS_ERRNOS; i++) {
		if (!refused[i])
			continue;
		fprintf(to, "%s%s %" PRIu64, between, list_errno_name(i),
			refused[i]);
		between = ", ";
	}
	return fclose(to) ? NULL : text;
}
