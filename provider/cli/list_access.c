/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access flags by name: list.h.
 */
#include <infiniband/verbs.h>
#include <stdio.h>

#include "list.h"

static const struct {
	uint32_t bit;
	const char *name;
} flags[] = {
	{IBV_ACCESS_LOCAL_WRITE, "local-write"},
	{IBV_ACCESS_REMOTE_WRITE, "remote-write"},
	{IBV_ACCESS_REMOTE_READ, "remote-read"},
	{IBV_ACCESS_REMOTE_ATOMIC, "remote-atomic"},
	{IBV_ACCESS_MW_BIND, "mw-bind"},
	{IBV_ACCESS_ZERO_BASED, "zero-based"},
	{IBV_ACCESS_ON_DEMAND, "on-demand"},
	{IBV_ACCESS_HUGETLB, "hugetlb"},
	/* newer than the oldest rdma-core that this is built with */
	{1U << 8, "flush-global"},
	{1U << 9, "flush-persistent"},
	{1U << 20, "relaxed-ordering"},
};

char *list_access(uint32_t access)
{
	const char *between = "";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (!(access & flags[i].bit))
			continue;
		fprintf(to, "%s%s", between, flags[i].name);
		between = " ";
		access &= ~flags[i].bit;
	}
	if (access)
		fprintf(to, "%s%#x", between, access);
	else if (!between[0])
		fputs("local-read", to);
	return fclose(to) ? NULL : text;
}
