/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ends.h"
#include "outside.h"

bool outside_is_leased(ino_t inode)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256], name[32];
	bool found = false;

	if (!locks)
		die("leases cannot be seen");
	snprintf(name, sizeof(name), ":%lu ", (unsigned long)inode);
	while (fgets(line, sizeof(line), locks))
		found |= strstr(line, "LEASE  ACTIVE") && strstr(line, name);
	fclose(locks);
	return found;
}

/* A shadow's mapping has an inode of its own. */
static bool is_mapped_back(ino_t inode, const void *addr)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, number;
	char line[4096];
	bool found = false;

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &start, &end,
			   &number) == 3 &&
		    start <= (unsigned long)addr && end > (unsigned long)addr)
			found = number == inode;
	if (maps)
		fclose(maps);
	return found;
}

bool outside_comes_back(ino_t inode, const void *addr)
{
	struct timespec pause = {.tv_nsec = 1000000};
	double until = now() + 20;

	while (!is_mapped_back(inode, addr)) {
		if (now() > until)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}
