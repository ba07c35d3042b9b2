/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One open file description on a file: sole.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "grant.h"
#include "lines.h"
#include "raw.h"
#include "reason.h"
#include "remap.h"
#include "sole.h"

/* "1: FLOCK  ADVISORY  WRITE 12 fe:00:345 0 EOF"; with "->" it only waits. */
static bool is_lock_of_description(const char *line, const char *file)
{
	return strstr(line, file) && !strstr(line, "->") &&
	       (strstr(line, "FLOCK ") || strstr(line, "OFDLCK "));
}

/* -1: it cannot be read. */
static int count_locks(const char *path, const char *file)
{
	struct lines lines;
	char line[256];
	int n = 0;

	if (lines_open(&lines, path))
		return -1;
	while (lines_next(&lines, line, sizeof(line)))
		n += is_lock_of_description(line, file);
	lines_close(&lines);
	return n;
}

static int refuse_lock(const char *name)
{
	return reason_set_kind(
		REASON_BUSY, -EBUSY,
		"%s is locked (flock, or an OFD lock) by a "
		"descriptor that has been closed and that only a "
		"mapping keeps open: keep it open",
		name);
}

/* Nobody else has it open: what the description has not is a mapping's. */
static int check_locks(int fd, const char *name)
{
	char info[64], file[64];
	struct stat st;
	int all, own;

	if (raw_stat(fd, &st))
		return reason_set(-errno, "%s cannot be looked at", name);
	snprintf(file, sizeof(file), " %02x:%02x:%lu ", major(st.st_dev),
		 minor(st.st_dev), (unsigned long)st.st_ino);
	snprintf(info, sizeof(info), "/proc/thread-self/fdinfo/%d", fd);
	all = count_locks("/proc/locks", file);
	own = count_locks(info, file);
	if (all < 0 || own < 0)
		return reason_set(-EBUSY,
				  "%s: whether a lock would be lost cannot be "
				  "seen (/proc/locks)",
				  name);
	return all > own ? refuse_lock(name) : 0;
}

/* Of a description that has none itself. */
static int try_locks(int fd, const char *name)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return check_locks(fd, name);
	if (lock.l_type != F_UNLCK || syscall(SYS_flock, fd, LOCK_EX | LOCK_NB))
		return refuse_lock(name);
	syscall(SYS_flock, fd, LOCK_UN);
	return 0;
}

int sole_make(int fd, pid_t except)
{
	char name[REASON_FILE_MAX];
	int r = grant_check_openers(fd, except);

	if (!r)
		r = check_locks(fd, reason_file(fd, name, sizeof(name)));
	if (!r)
		r = remap_file(fd);
	return r;
}

int sole_make_at(int fd, pid_t except, uintptr_t addr)
{
	char name[REASON_FILE_MAX];
	int r = grant_check_openers(fd, except);

	if (!r)
		r = try_locks(fd, reason_file(fd, name, sizeof(name)));
	if (!r)
		r = remap_at(fd, addr);
	return r;
}
