/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "outside.h"
#include "outsider_acts.h"

#define PATIENCE 60.0
/* Of the 45 s after which the kernel takes a lease away. */
#define WAIT_MAX 20.0
#define WAITS	 (1U << 20)

static double waits[WAITS];
static unsigned int waits_count;

static void rest(void)
{
	struct timespec pause = {.tv_nsec = 2000000};

	nanosleep(&pause, NULL);
}

static void has_waited(double since)
{
	double waited = now() - since;

	if (waited > WAIT_MAX)
		die("an outsider waited %.1f s for the file", waited);
	if (waits_count < WAITS)
		waits[waits_count++] = waited;
}

static int earlier(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void outsider_tell_waits(void)
{
	qsort(waits, waits_count, sizeof(*waits), earlier);
	printf("waited for the file %u times: p50 %.2f ms, p99 %.2f ms, max "
	       "%.2f ms\n",
	       waits_count, 1e3 * waits[waits_count / 2],
	       1e3 * waits[waits_count - 1 - waits_count / 100],
	       1e3 * waits[waits_count - 1]);
}

void outsider_wait_leased(const struct outsider *outsider)
{
	double until = now() + PATIENCE;

	while (!outside_is_leased(outsider->inode)) {
		if (now() > until)
			die("the file was not leased again in %.0f s",
			    PATIENCE);
		rest();
	}
}

void outsider_wait_round(const struct outsider *outsider)
{
	const struct board *board = outsider->board;
	double until = now() + PATIENCE;

	for (int i = 0; i < 2; i++) {
		uint64_t enough =
			atomic_load(&board->begun[i]) + (uint64_t)KINDS * SLOTS;

		while (atomic_load(&board->done[i]) < enough) {
			if (now() > until)
				die("a peer stands still");
			rest();
		}
	}
}

void outsider_settle(struct outsider *outsider)
{
	/* Else peers lose what they wrote before the merge, which is over
	 * before anybody else gets the file. */
	if (outsider->policy == THEIRS_WIN) {
		outsider_wait_leased(outsider);
		close(outsider_open(outsider, O_RDONLY));
	}
	outsider_wait_leased(outsider);
	outsider_wait_round(outsider);
}

void outsider_begin(struct outsider *outsider)
{
	double until = now() + PATIENCE;
	struct stat st;

	while (!atomic_load(&outsider->board->done[0]) ||
	       !atomic_load(&outsider->board->done[1])) {
		if (now() > until)
			die("no peer comes");
		rest();
	}
	if (stat(outsider->path, &st))
		die("%s: %s", outsider->path, strerror(errno));
	outsider->inode = st.st_ino;
	outsider_wait_leased(outsider);
}

int outsider_open(struct outsider *outsider, int flags)
{
	double since = now();
	int fd = open(outsider->path, flags | O_CLOEXEC);

	if (fd < 0)
		die("open %s: %s", outsider->path, strerror(errno));
	has_waited(since);
	return fd;
}

void outsider_cut(struct outsider *outsider, uint64_t size)
{
	double since = now();

	if (truncate(outsider->path, (off_t)size))
		die("truncate %s: %s", outsider->path, strerror(errno));
	has_waited(since);
}

static struct look look_before(const struct outsider *outsider)
{
	const struct board *board = outsider->board;

	return (struct look){
		.board = board,
		.policy = outsider->policy,
		.done = {atomic_load(&board->done[0]),
			 atomic_load(&board->done[1])},
	};
}

/* What stands in fd; begun may be later than it was when that was read. */
static void check(struct outsider *outsider, struct look *look, int fd,
		  const char *what)
{
	static uint64_t words[2 * SIZE / sizeof(uint64_t)];
	ssize_t n = 0, size = 0;

	while (size < (ssize_t)sizeof(words) &&
	       (n = read(fd, (char *)words + size,
			 sizeof(words) - (size_t)size)) > 0)
		size += n;
	if (n < 0 || (uint64_t)size != outsider->board->size)
		die("%s has %zd bytes and not %lu: %s", what, size,
		    (unsigned long)outsider->board->size, strerror(errno));
	for (int i = 0; i < 2; i++)
		look->begun[i] = atomic_load(&outsider->board->begun[i]);
	if (!look_is_right(look, what, words, (size_t)size)) {
		fflush(stdout);
		die("%s is not what it must be", what);
	}
}

void outsider_read(struct outsider *outsider, double until)
{
	struct look look;
	int fd;

	outsider_wait_leased(outsider);
	look = look_before(outsider);
	fd = outsider_open(outsider, O_RDONLY);
	while (now() < until)
		outsider_wait_round(outsider);
	check(outsider, &look, fd, "the file, read");
	close(fd);
}

/* Must end with 0; returns a line of what it said. */
static const char *run(const char *const argv[])
{
	static char line[256];
	int out[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		die("no pipe");
	pid = fork();
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(out[1]);
	n = read(out[0], line, sizeof(line) - 1);
	line[n < 0 ? 0 : n] = '\0';
	close(out[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("%s %s ended with %#x", argv[0], argv[1],
		    (unsigned int)status);
	return line;
}

void outsider_copy(struct outsider *outsider, const char *option,
		   const char *to)
{
	const char *const argv[] = {"cp", option, outsider->path, to, NULL};
	struct look look;
	double since;
	int fd;

	outsider_wait_leased(outsider);
	look = look_before(outsider);
	since = now();
	run(argv);
	has_waited(since);
	fd = open(to, O_RDONLY | O_CLOEXEC);
	check(outsider, &look, fd, "the copy");
	close(fd);
}

void outsider_check_still(struct outsider *outsider)
{
	const char *const argv[] = {"cksum", outsider->path, NULL};
	uint64_t first, second;

	first = strtoull(run(argv), NULL, 10);
	outsider_wait_round(outsider);
	second = strtoull(run(argv), NULL, 10);
	if (first != second)
		die("the file changes in the hands of who has it open");
}
