/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "../unit/unit.h"
#include "mapped.h"

const char *name_at(const void *addr)
{
	static __thread char name[4096];
	unsigned long start, end;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[5000];

	assert_non_null(maps);
	name[0] = '\0';
	while (fgets(line, sizeof(line), maps)) {
		char text[4096] = "";

		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %4095s", &start, &end,
			   text) >= 2 &&
		    start <= (unsigned long)addr && end > (unsigned long)addr)
			strcpy(name, text);
	}
	fclose(maps);
	return name;
}

bool is_shadow(const void *addr)
{
	return strcmp(name_at(addr), "/memfd:daxmr-shadow") == 0;
}

bool has_flag(const void *addr, const char *flag)
{
	unsigned long from, to, at = (unsigned long)addr;
	bool found = false, is_it = false;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[5000];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps))
		if (strncmp(line, "VmFlags:", 8) == 0)
			found |= is_it && strstr(line + 8, flag);
		else if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			is_it = from <= at && at < to;
	fclose(smaps);
	return found;
}
