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

#include "mapping.h"
#include "openers.h"
#include "raw.h"

struct search {
	int own_fd;
	dev_t dev;
	ino_t ino;
	char text[64]; /* as maps shows the two */
	int same;
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

/* -1: may not be looked at. `self`: this process's entry, or NULL. */
static int count_fds(int proc, struct search *search, struct opener *self)
{
	DIR *dir = open_dir(proc, "fd");
	struct dirent *entry;
	struct stat st;
	int found = 0;

	if (!dir)
		return errno == ENOENT || errno == ESRCH ? 0 : -1;
	while ((entry = readdir(dir))) {
		if (!is_number(entry->d_name))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, 0)) {
			if (errno != EACCES && errno != EPERM)
				continue; /* closed meanwhile */
			found = -1;	  /* of none is more to be seen */
			break;
		}
		if (st.st_dev != search->dev || st.st_ino != search->ino)
			continue;
		if (self && is_own(search, entry->d_name)) {
			search->same = (int)strtol(entry->d_name, NULL, 10);
			continue;
		}
		if (self && found < OPENERS_NUMBERS)
			self->numbers[found] =
				(unsigned int)strtoul(entry->d_name, NULL, 10);
		found++;
	}
	closedir(dir);
	return found;
}

/*
 * Device and inode of a mapping stand in fields 4 and 5 of its line; only where
 * their text is somewhere in it are the fields looked at.
 */
static bool is_mapping_of(const char *line, const struct search *search)
{
	unsigned int major, minor;
	unsigned long ino;

	return strstr(line, search->text) &&
	       sscanf(line, "%*x-%*x %*4s %*x %x:%x %lu", &major, &minor,
		      &ino) == 3 &&
	       makedev(major, minor) == search->dev && ino == search->ino;
}

/* By lines, for whose text the kernel looks every path up. */
static int count_lines(int fd, const struct search *search)
{
	FILE *file = fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0;
	int found = 0;

	if (!file) {
		raw_close(fd);
		return -1;
	}
	/* Fewer calls than with what /proc says is best. */
	setvbuf(file, NULL, _IOFBF, 16384);
	while (getline(&line, &size, file) > 0)
		found += is_mapping_of(line, search);
	free(line);
	fclose(file);
	return found;
}

static int count_maps(int proc, const struct search *search)
{
	int fd = raw_open(proc, "maps", O_RDONLY);
	struct mapping mapping = {0};
	int found = 0, r;

	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -1;
	while (!(r = mapping_next(fd, mapping.end, &mapping)))
		found += mapping.dev == search->dev &&
			 mapping.ino == search->ino;
	if (r == -ENOTTY)
		return count_lines(fd, search);
	raw_close(fd);
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

/*
 * Of the kernel's own threads, most of what /proc lists, and of who is about to
 * end: no address space, so nothing mapped, and no descriptor that it can use.
 */
static bool runs_no_program(int proc)
{
	char target;

	return syscall(SYS_readlinkat, proc, "exe", &target, sizeof(target)) <
		       0 &&
	       errno == ENOENT;
}

static void look_at(int proc, pid_t pid, struct search *search,
		    struct openers *openers)
{
	bool is_self = pid == getpid();
	struct opener found = {.pid = pid};
	int fds, maps;

	if (!is_self && runs_no_program(proc))
		return;
	fds = count_fds(proc, search, is_self ? &found : NULL);
	maps = is_self ? 0 : count_maps(proc, search);
	if (fds < 0 || maps < 0)
		openers->unseen++;
	if (fds <= 0 && maps <= 0)
		return;
	if (openers->found < OPENERS_MAX) {
		found.fds = fds > 0 ? (unsigned int)fds : 0;
		found.maps = maps > 0 ? (unsigned int)maps : 0;
		read_command(proc, &found);
		openers->list[openers->found] = found;
	}
	openers->found++;
}

int openers_find(int fd, pid_t except, enum openers_whom whom,
		 struct openers *ret)
{
	struct search search = {.own_fd = fd, .same = -1};
	pid_t skipped = whom == OPENERS_OTHERS ? getpid() : 0;
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
	snprintf(search.text, sizeof(search.text), " %02x:%02x %lu ",
		 major(st.st_dev), minor(st.st_dev), (unsigned long)st.st_ino);
	while ((entry = readdir(dir))) {
		pid_t pid;
		int proc;

		if (!is_number(entry->d_name))
			continue;
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid == except || pid == skipped)
			continue;
		proc = raw_open(dirfd(dir), entry->d_name,
				O_PATH | O_DIRECTORY);
		if (proc < 0)
			continue; /* it ended */
		look_at(proc, pid, &search, &openers);
		raw_close(proc);
	}
	closedir(dir);
	openers.same = search.same;
	*ret = openers;
	errno = saved_errno;
	return 0;
}

static void write_self(const struct openers *openers, const struct opener *self,
		       FILE *out)
{
	unsigned int listed =
		self->fds < OPENERS_NUMBERS ? self->fds : OPENERS_NUMBERS;

	fprintf(out, "this program (descriptor%s ", self->fds > 1 ? "s" : "");
	for (unsigned int i = 0; i < listed; i++)
		fprintf(out, "%s%u", i ? ", " : "", self->numbers[i]);
	fputs(self->fds > listed ? ", ..." : "", out);
	if (openers->same >= 0)
		fprintf(out, " beside %d", openers->same);
	fputs(")", out);
}

char *openers_names(const struct openers *openers, char *text, size_t size)
{
	unsigned int listed =
		openers->found < OPENERS_MAX ? openers->found : OPENERS_MAX;
	FILE *out = fmemopen(text, size, "w");

	text[0] = '\0';
	if (!out)
		return text;
	for (unsigned int i = 0; i < listed; i++) {
		const struct opener *opener = &openers->list[i];

		fputs(i ? ", " : "", out);
		if (opener->pid == getpid())
			write_self(openers, opener, out);
		else
			fprintf(out, "%d (%s%s)", opener->pid, opener->command,
				opener->maps ? ", mapped" : "");
	}
	if (openers->found > listed)
		fprintf(out, " and %u more", openers->found - listed);
	fclose(out);
	text[size - 1] = '\0';
	return text;
}
