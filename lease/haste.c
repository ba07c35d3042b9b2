/* SPDX-License-Identifier: BSD-2-Clause */
/* Going before others: haste.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "haste.h"
#include "privilege.h"

static bool is_refused;		/* for good */
static int task_nice, ordinary; /* now, and before the haste */
static int group_nice;

/*
 * What a keeper runs for is not kept from it by what it runs with. Without
 * CAP_SYS_ADMIN the kernel takes two changes in a row for too many: it would
 * stay in haste.
 */
static void set_group_nice(int nice)
{
	char text[8];
	int fd, length;

	if (nice == group_nice || !privilege_has(CAP_SYS_ADMIN))
		return;
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	length = snprintf(text, sizeof(text), "%d", nice);
	if (write(fd, text, (size_t)length) == length)
		group_nice = nice;
	close(fd);
}

void haste_begin(void)
{
	if (is_refused || task_nice)
		return;
	ordinary = getpriority(PRIO_PROCESS, 0);
	if (ordinary <= HASTE_NICE ||
	    setpriority(PRIO_PROCESS, 0, HASTE_NICE)) {
		is_refused = true;
		return;
	}
	task_nice = HASTE_NICE;
	set_group_nice(HASTE_NICE);
}

void haste_end(void)
{
	if (task_nice)
		setpriority(PRIO_PROCESS, 0, ordinary);
	task_nice = 0;
	set_group_nice(0);
}
