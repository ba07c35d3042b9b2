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

static const char *reason_name(size_t refusal)
{
	return refusal_name((unsigned int)refusal);
}

static char *name_counts(const uint64_t *counts, size_t count,
			 const char *(*name)(size_t))
{
	const char *between = "";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (!counts[i])
			continue;
		fprintf(to, "%s%s %" PRIu64, between, name(i), counts[i]);
		between = ", ";
	}
	return fclose(to) ? NULL : text;
}

char *list_refused(const uint64_t refused[STATS_ERRNOS])
{
	return name_counts(refused, STATS_ERRNOS, list_errno_name);
}

char *list_refused_for(const uint64_t refused_for[REFUSALS])
{
	return name_counts(refused_for, REFUSALS, reason_name);
}
