/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a file could be staged: what is asked of the file, of this user, of
 * the kernel and of the keeper. No lease is taken: that would break on others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "check.h"
#include "config.h"
#include "grant.h"
#include "reason.h"
#include "stage_limits.h"
#include "trap.h"

/* The engine's thread opens it, in programs that have others. */
static bool can_trap(void)
{
	struct trap trap;

	if (trap_open(config_get()->uffd, &trap))
		return false;
	trap_close(&trap);
	return true;
}

void check_staged_find(const struct check_file *file,
		       const struct check_keeper *keeper,
		       struct check_staged *ret)
{
	int r = grant_check(file->fd, file->writable ? F_WRLCK : F_RDLCK);

	ret->error = -r;
	if (r)
		snprintf(ret->lease, sizeof(ret->lease), "%s", reason_text());
	else if (keeper->problem[0])
		ret->error = ENOENT;
	if (!can_trap())
		snprintf(ret->threads, sizeof(ret->threads), "%s",
			 reason_text());
	if (stage_limits_check(file->size, config_get()->stage_max))
		snprintf(ret->limit, sizeof(ret->limit), "%s", reason_text());
}
