/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has a file open: openers.h.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "openers.h"
#include "raw.h"

struct search {
	int own_fd;
	dev_t dev;
	ino_t ino;
};

/* A folder of /proc below another, or NULL. */
static DIR *open_dir(int at, const char *name)
{
	int fd = raw_open(at, name, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		raw_close(fd);
	return dir;
}

static bool is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

/* The same open file description as our own? We may be a thread with its own
 * descriptor table; /proc/PID/fd is the first thread's. */
static bool is_own(const struct search *search, const char *name)
{
	unsigned long fd = strtoul(name, NULL, 10);

	return syscall(SYS_kcmp, gettid(), getpid(), KCMP_FILE,
		       (unsigned long)search->own_fd, fd) == 0;
}

/* -1: may not be looked at. */
static int count_fds(int proc, const struct search *search, bool is_self)
{
	DIR *dir = open_dir(proc, "fd");
	struct dirent *entry;
	struct stat st;
	int found = 0;

	if (!dir)
		return errno == ENOENT || errno == ESRCH ? 0 : -1;
	while ((entry = readdir(dir))) {
		if (!is_number(entry->d_name) ||
		    fstatat(dirfd(dir), entry->d_name, &st, 0) ||
		    st.st_dev != search->dev || st.st_ino != search->ino)
			continue;
		if (!is_self || !is_own(search, entry->d_name))
			found++;
	}
	closedir(dir);
	return found;
}

/* Device and inode of a mapping stand in fields 4 and 5 of its line. */
static bool is_mapping_of(const char *line, const struct search *search)
{
	unsigned int major, minor;
	unsigned long ino;

	return sscanf(line, "%*x-%*x %*4s %*x %x:%x %lu", &major, &minor,
		      &ino) == 3 &&
	       makedev(major, minor) == search->dev && ino == search->ino;
}

static int count_maps(int proc, const struct search *search)
{
	int fd = raw_open(proc, "maps", O_RDONLY);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0;
	int found = 0;

	if (!file) {
		if (fd >= 0)
			raw_close(fd);
		return fd < 0 && (errno == ENOENT || errno == ESRCH) ? 0 : -1;
	}
	while (getline(&line, &size, file) > 0)
		found += is_mapping_of(line, search);
	free(line);
	fclose(file);
	return found;
}

static void read_command(int proc, struct opener *opener)
{
	int fd = raw_open(proc, "comm", O_RDONLY);
	ssize_t n = -1;

	if (fd >= 0) {
		n = raw_read(fd, opener->command, sizeof(opener->command) - 1);
		raw_close(fd);
	}
	opener->command[n > 0 ? n : 0] = '\0';
	opener->command[strcspn(opener->command, "\n")] = '\0';
	for (char *c = opener->command; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

static void look_at(int proc, pid_t pid, const struct search *search,
		    struct openers *openers)
{
	bool is_self = pid == getpid();
	int fds = count_fds(proc, search, is_self);
	int maps = is_self ? 0 : count_maps(proc, search);

	if (fds < 0 || maps < 0)
		openers->unseen++;
	if (fds <= 0 && maps <= 0)
		return;
	if (openers->found < OPENERS_MAX) {
		struct opener *opener = &openers->list[openers->found];

		opener->pid = pid;
		opener->fds = fds > 0 ? (unsigned int)fds : 0;
		opener->maps = maps > 0 ? (unsigned int)maps : 0;
		read_command(proc, opener);
	}
	openers->found++;
}

int openers_find(int fd, pid_t except, struct openers *ret)
{
	struct search search = {.own_fd = fd};
	struct openers openers = {0};
	int saved_errno = errno;
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int r;

	if (raw_stat(fd, &st) || !(dir = open_dir(AT_FDCWD, "/proc"))) {
		r = -errno;
		errno = saved_errno;
		return r;
	}
	search.dev = st.st_dev;
	search.ino = st.st_ino;
	while ((entry = readdir(dir))) {
		pid_t pid;
		int proc;

		if (!is_number(entry->d_name))
			continue;
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid == except)
			continue;
		proc = raw_open(dirfd(dir), entry->d_name,
				O_PATH | O_DIRECTORY);
		if (proc < 0)
			continue; /* it ended */
		look_at(proc, pid, &search, &openers);
		raw_close(proc);
	}
	closedir(dir);
	*ret = openers;
	errno = saved_errno;
	return 0;
}

char *openers_names(const struct openers *openers, char *text, size_t size)
{
	unsigned int listed =
		openers->found < OPENERS_MAX ? openers->found : OPENERS_MAX;
	size_t used = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < listed && used < size; i++) {
		const struct opener *opener = &openers->list[i];

		used += (size_t)snprintf(text + used, size - used,
					 "%s%d (%s%s)", i ? ", " : "",
					 opener->pid, opener->command,
					 opener->maps ? ", mapped" : "");
	}
	if (openers->found > listed && used < size)
		snprintf(text + used, size - used, " and %u more",
			 openers->found - listed);
	return text;
}
