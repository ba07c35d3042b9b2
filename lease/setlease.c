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

/* One that shows the descriptor: that of the last time, or a new one. */
static int open_info(struct setlease_info *info, int fd)
{
	char path[64];
	int number;

	if (info && info->of == fd)
		return info->number;
	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
	number = open(path, O_RDONLY | O_CLOEXEC);
	if (!info || number < 0)
		return number;
	setlease_info_close(info);
	*info = (struct setlease_info){.of = fd, .number = number};
	return number;
}

#define BREAKING "LEASE  BREAKING"

/*
 * A line "lock:	1: LEASE  BREAKING ...", or none. As setlease_look().
 * There may be thousands of lines before it, one for each lock of the
 * program's.
 */
static int look_at_info(int fd, struct setlease_info *info)
{
	char text[4096];
	size_t kept = 0;
	bool is_ours = false;
	int number, error = 0;
	off_t at = 0;
	ssize_t n;

	number = open_info(info, fd);
	if (number < 0)
		return -errno;
	while (!is_ours && (n = pread(number, text + kept,
				      sizeof(text) - 1 - kept, at)) != 0) {
		if (n < 0) {
			error = -errno;
			break;
		}
		at += n;
		kept += (size_t)n;
		text[kept] = '\0';
		is_ours = strstr(text, BREAKING);
		/* Half of it may be there. */
		if (kept >= sizeof(BREAKING)) {
			memmove(text, text + kept - sizeof(BREAKING),
				sizeof(BREAKING));
			kept = sizeof(BREAKING);
		}
	}
	if (!info)
		close(number);
	return is_ours ? 1 : error ? error : -EAGAIN;
}

/*
 * F_GETLEASE says F_UNLCK (F_RDLCK for an opener that only reads) both while a
 * break is pending and when the lease is gone. It also makes the kernel take
 * away what is overdue, so it comes first; fdinfo then tells.
 */
int setlease_look(int fd, int type, struct setlease_info *info)
{
	return setlease_get(fd) == type ? 0 : look_at_info(fd, info);
}

int setlease_drop(int fd)
{
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
}

void setlease_info_close(struct setlease_info *info)
{
	if (info->of >= 0)
		close(info->number);
	info->of = -1;
}
