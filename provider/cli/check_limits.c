/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "check.h"

/*
 * The effective set of this process. One in a user namespace of its own has
 * the bit and not the right: the kernel asks for the first namespace's.
 */
static bool has_cap_ipc_lock(void)
{
	unsigned long long caps = 0, first = 0, below = 0, count = 0;
	char line[256];
	FILE *file;

	file = fopen("/proc/self/status", "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (file)
		fclose(file);
	if (!(caps & (1ULL << CAP_IPC_LOCK)))
		return false;
	file = fopen("/proc/self/uid_map", "re");
	if (file && fscanf(file, "%llu %llu %llu", &first, &below, &count) != 3)
		count = 0;
	if (file)
		fclose(file);
	return !file || (first == 0 && below == 0 && count == 4294967295ULL);
}

void check_limits_get(struct check_limits *ret)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	ret->memlock_soft =
		limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
	ret->memlock_hard =
		limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
	ret->cap_ipc_lock = has_cap_ipc_lock();
}
