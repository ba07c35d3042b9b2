/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has a file open: openers.h.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lines.h"
#include "mapping.h"
#include "numbers.h"
#include "openers.h"
#include "raw.h"

struct search {
	int own_fd;
	dev_t dev;
	ino_t ino;
	char text[64]; /* as maps shows the two */
	int same;
};

/* The same open file description as our own? We may be a thread with its own
 * descriptor table; /proc/PID/fd is the first thread's. */
static bool is_own(const struct search *search, int fd)
{
	return syscall(SYS_kcmp, gettid(), getpid(), KCMP_FILE, search->own_fd,
		       fd) == 0;
}

/* -1: may not be looked at. `self`: this process's entry, or NULL. */
static int count_fds(int proc, struct search *search, struct opener *self)
{
	struct numbers numbers;
	int r = numbers_open(&numbers, proc, "fd"), found = 0, fd;
	struct stat st;
	char name[16];

	if (r)
		return r == -ENOENT || r == -ESRCH ? 0 : -1;
	while (numbers_next(&numbers, &fd) > 0) {
		snprintf(name, sizeof(name), "%d", fd);
		if (raw_stat_at(numbers.fd, name, &st, 0)) {
			if (errno != EACCES && errno != EPERM)
				continue; /* closed meanwhile */
			found = -1;	  /* of none is more to be seen */
			break;
		}
		if (st.st_dev != search->dev || st.st_ino != search->ino)
			continue;
		if (self && is_own(search, fd)) {
			search->same = fd;
			continue;
		}
		if (self && found < OPENERS_NUMBERS)
			self->numbers[found] = (unsigned int)fd;
		found++;
	}
	numbers_close(&numbers);
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
	struct lines lines;
	char line[128]; /* to the inode, before the path */
	int found = 0;

	lines_begin(&lines, fd);
	while (lines_next(&lines, line, sizeof(line)))
		found += is_mapping_of(line, search);
	lines_close(&lines);
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
static bool runs_no_program(int procs, pid_t pid)
{
	char exe[24], target;

	snprintf(exe, sizeof(exe), "%d/exe", pid);
	return syscall(SYS_readlinkat, procs, exe, &target, sizeof(target)) <
		       0 &&
	       errno == ENOENT;
}

static void look_at(int proc, pid_t pid, struct search *search,
		    struct openers *openers)
{
	bool is_self = pid == getpid();
	struct opener found = {.pid = pid};
	int fds, maps;

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
	struct numbers numbers;
	struct stat st;
	pid_t pid;
	int r;

	r = raw_stat(fd, &st) ? -errno
			      : numbers_open(&numbers, AT_FDCWD, "/proc");
	if (r) {
		errno = saved_errno;
		return r;
	}
	search.dev = st.st_dev;
	search.ino = st.st_ino;
	snprintf(search.text, sizeof(search.text), " %02x:%02x %lu ",
		 major(st.st_dev), minor(st.st_dev), (unsigned long)st.st_ino);
	while (numbers_next(&numbers, &pid) > 0) {
		char name[16];
		int proc;

		if (pid == except || pid == skipped ||
		    (pid != getpid() && runs_no_program(numbers.fd, pid)))
			continue;
		snprintf(name, sizeof(name), "%d", pid);
		proc = raw_open(numbers.fd, name, O_PATH | O_DIRECTORY);
		if (proc < 0)
			continue; /* it ended */
		look_at(proc, pid, &search, &openers);
		raw_close(proc);
	}
	numbers_close(&numbers);
	openers.same = search.same;
	*ret = openers;
	errno = saved_errno;
	return 0;
}

/* Cut where there is no room; size: of all. */
static __attribute__((format(printf, 3, 4))) void add(char *text, size_t size,
						      const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, size - used, format, args);
	va_end(args);
}

static void add_self(char *text, size_t size, const struct openers *openers,
		     const struct opener *self)
{
	unsigned int listed =
		self->fds < OPENERS_NUMBERS ? self->fds : OPENERS_NUMBERS;

	add(text, size, "this program (descriptor%s ",
	    self->fds > 1 ? "s" : "");
	for (unsigned int i = 0; i < listed; i++)
		add(text, size, "%s%u", i ? ", " : "", self->numbers[i]);
	add(text, size, "%s", self->fds > listed ? ", ..." : "");
	if (openers->same >= 0)
		add(text, size, " beside %d", openers->same);
	add(text, size, ")");
}

char *openers_names(const struct openers *openers, char *text, size_t size)
{
	unsigned int listed =
		openers->found < OPENERS_MAX ? openers->found : OPENERS_MAX;

	text[0] = '\0';
	for (unsigned int i = 0; i < listed; i++) {
		const struct opener *opener = &openers->list[i];

		add(text, size, "%s", i ? ", " : "");
		if (opener->pid == getpid())
			add_self(text, size, openers, opener);
		else
			add(text, size, "%d (%s%s)", opener->pid,
			    opener->command, opener->maps ? ", mapped" : "");
	}
	if (openers->found > listed)
		add(text, size, " and %u more", openers->found - listed);
	return text;
}
