/* SPDX-License-Identifier: BSD-2-Clause */
/* lease_many_seen.h */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lease_many_seen.h"

unsigned int seen_entries(const char *path, bool only_numbers)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int n = 0;

	if (!dir)
		return ~0U;
	while ((entry = readdir(dir)))
		n += only_numbers ? entry->d_name[0] >= '0' &&
					    entry->d_name[0] <= '9'
				  : entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int compare_inodes(const void *a, const void *b)
{
	ino_t x = *(const ino_t *)a, y = *(const ino_t *)b;

	return (x > y) - (x < y);
}

unsigned int seen_keepers(ino_t *inodes, size_t count, unsigned long *held,
			  int *pid)
{
	FILE *locks = fopen("/proc/locks", "re");
	unsigned int keepers = 0;
	char line[256];

	*held = 0;
	*pid = 0;
	if (!locks)
		return ~0U;
	qsort(inodes, count, sizeof(*inodes), compare_inodes);
	while (fgets(line, sizeof(line), locks)) {
		unsigned long inode;
		ino_t wanted;
		int holder;

		if (!strstr(line, "LEASE") ||
		    sscanf(line, "%*s %*s %*s %*s %d %*x:%*x:%lu", &holder,
			   &inode) != 2)
			continue;
		wanted = inode;
		if (!bsearch(&wanted, inodes, count, sizeof(wanted),
			     compare_inodes))
			continue;
		++*held;
		keepers += !keepers || holder != *pid;
		*pid = holder;
	}
	fclose(locks);
	return keepers;
}

unsigned int seen_threads(char *table, size_t size)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned int n = 0;

	while (dir && (entry = readdir(dir))) {
		int tid = atoi(entry->d_name);

		if (!tid || tid == getpid())
			continue;
		snprintf(table, size, "/proc/self/task/%d/fd", tid);
		n++;
	}
	closedir(dir);
	return n;
}
