/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that takes its time before each look at its lease, so that a flush
 * lasts long enough for a test to stop it half way. Nothing else of it differs.
 */
#include <time.h>

#include "setlease.h"

int __real_setlease_get(int fd);
int __wrap_setlease_get(int fd);

int __wrap_setlease_get(int fd)
{
	struct timespec pause = {0, 20 * 1000000L};

	nanosleep(&pause, NULL);
	return __real_setlease_get(fd);
}
