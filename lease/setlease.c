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

/* A line "lock:	1: LEASE  BREAKING ...", or none. As setlease_look(). */
static int look_at_fdinfo(int fd)
{
	char path[64], text[4096] = "";
	bool is_ours = false;
	size_t used = 0;
	ssize_t n;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -errno;
	while (!is_ours && used < sizeof(text) - 1 &&
	       (n = read(info, text + used, sizeof(text) - 1 - used)) > 0) {
		used += (size_t)n;
		text[used] = '\0';
		is_ours = strstr(text, "LEASE  BREAKING");
	}
	close(info);
	return is_ours ? 1 : -EAGAIN;
}

/*
 * F_GETLEASE says F_UNLCK (F_RDLCK for an opener that only reads) both while a
 * break is pending and when the lease is gone. It also makes the kernel take
 * away what is overdue, so it comes first; fdinfo then tells.
 */
int setlease_look(int fd, int type)
{
	return setlease_get(fd) == type ? 0 : look_at_fdinfo(fd);
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
	    look_at_fdinfo(fd) < 0)
		r = -EAGAIN;
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : r;
}

int setlease_drop_looked_at(int fd)
{
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
}
