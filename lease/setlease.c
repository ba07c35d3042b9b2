/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * F_SETLEASE and what belongs to it: setlease.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "setlease.h"

int setlease_take(int fd, int type, int signal)
{
	struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = gettid()};

	if (fcntl(fd, F_SETSIG, signal) || fcntl(fd, F_SETOWN_EX, &owner) ||
	    fcntl(fd, F_SETLEASE, type))
		return -errno;
	return 0;
}

int setlease_get(int fd)
{
	return fcntl(fd, F_GETLEASE);
}

/*
 * F_GETLEASE says F_UNLCK both while a break is pending and when the lease is
 * gone. It also makes the kernel take away what is overdue, so it comes first;
 * fdinfo then has a line "lock:	1: LEASE  BREAKING ..." or none.
 */
int setlease_look(int fd, int type)
{
	char path[64], text[4096];
	size_t used = 0;
	ssize_t n;
	int info;

	if (setlease_get(fd) == type)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -errno;
	while (used < sizeof(text) - 1 &&
	       (n = read(info, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	close(info);
	text[used] = '\0';
	return strstr(text, "LEASE  BREAKING") ? 1 : -EAGAIN;
}

/*
 * An opener that only reads makes the kernel wait for a read lease, and that is
 * what it makes of a write lease whose time is over: F_UNLCK then has something
 * to take away, and says 0 as if it had been ours all the time.
 */
int setlease_drop(int fd, int type)
{
	int r = 0;

	if (type == F_WRLCK && setlease_get(fd) == F_RDLCK &&
	    setlease_look(fd, type) < 0)
		r = -EAGAIN;
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : r;
}

int setlease_drop_looked_at(int fd)
{
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
}
