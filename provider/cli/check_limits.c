/* SPDX-License-Identifier: BSD-2-Clause */
#include <sys/resource.h>

#include "check.h"
#include "stage_limits.h"

void check_limits_get(struct check_limits *ret)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	ret->memlock_soft =
		limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
	ret->memlock_hard =
		limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
	ret->cap_ipc_lock = stage_limits_has_ipc_lock("/proc");
}
