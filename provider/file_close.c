/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Closing descriptors of leased files that have locks: file_guard.h, and why in
 * lease/own_locks.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "file_guard.h"
#include "leases.h"
#include "raw.h"

#define FOLDER "/proc/thread-self/fdinfo/"

/* snprintf() is no function for signal handlers. */
static void name_of(unsigned int fd, char path[sizeof(FOLDER) + 10])
{
	char digits[10];
	size_t n = 0;
	char *end;

	do
		digits[n++] = (char)('0' + fd % 10);
	while (fd /= 10);
	end = memcpy(path, FOLDER, sizeof(FOLDER) - 1);
	end += sizeof(FOLDER) - 1;
	while (n)
		*end++ = digits[--n];
	*end = '\0';
}

/*
 * The kernel shows the locks of this very description. A list longer than the
 * room is one of many POSIX locks: said to have others, which costs a look.
 */
bool guard_has_lock(unsigned int fd)
{
	char path[sizeof(FOLDER) + 10], text[2048];
	ssize_t n = 0, more;
	int info;

	name_of(fd, path);
	info = raw_open(AT_FDCWD, path, O_RDONLY);
	if (info < 0)
		return false;
	while (n < (ssize_t)sizeof(text) - 1 &&
	       (more = raw_read(info, text + n, sizeof(text) - 1 - (size_t)n)) >
		       0)
		n += more;
	raw_close(info);
	text[n] = '\0';
	return n == sizeof(text) - 1 || strstr(text, ": FLOCK ") ||
	       strstr(text, ": OFDLCK ");
}

/* False: there is no room for it. */
static bool look_at(struct file_guard *guard, unsigned int fd)
{
	struct lease_engine *engine = leases_engine();
	struct stat st;

	if (!engine || syscall(SYS_fstat, fd, &st) || !S_ISREG(st.st_mode) ||
	    !own_is_leased(engine, st.st_dev, st.st_ino) || !guard_has_lock(fd))
		return true;
	if (guard->count == FILE_GUARD_MAX)
		return false;
	guard->file[guard->count].dev = st.st_dev;
	guard->file[guard->count++].ino = st.st_ino;
	return true;
}

/*
 * Those that are open: a range has up to 2^32 numbers. The kernel lists them in
 * ascending order.
 */
static void look_at_all(struct file_guard *guard, unsigned int first,
			unsigned int last)
{
	bool has_room = true;
	char room[1024] __attribute__((aligned(8)));
	int dir = raw_open(AT_FDCWD, FOLDER, O_RDONLY | O_DIRECTORY);
	long n;

	if (dir < 0)
		return;
	while (has_room &&
	       (n = syscall(SYS_getdents64, dir, room, sizeof(room))) > 0) {
		for (char *at = room; at < room + n && has_room;) {
			const struct dirent64 *entry = (const void *)at;
			unsigned int fd = (unsigned int)atoi(entry->d_name);

			if (entry->d_name[0] != '.' && fd >= first &&
			    fd <= last)
				has_room = look_at(guard, fd);
			if (!has_room)
				guard->last = fd - 1;
			at += entry->d_reclen;
		}
	}
	raw_close(dir);
}

bool guard_closing(struct file_guard *guard, unsigned int first,
		   unsigned int last)
{
	int saved_errno = errno;

	guard->count = 0;
	guard->last = last;
	if (first == last)
		look_at(guard, first);
	else if (first < last)
		look_at_all(guard, first, last);
	errno = saved_errno;
	return guard->count > 0;
}

void guard_closed(const struct file_guard *guard)
{
	struct lease_engine *engine = leases_engine();

	for (unsigned int i = 0; engine && i < guard->count; i++)
		own_closed(engine, guard->file[i].dev, guard->file[i].ino);
}
