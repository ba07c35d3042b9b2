/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "gate_grace.h"
#include "gate_mark.h"
#include "raw.h"

/* A poll of some hundred completions takes microseconds. */
#define LONGER_THAN_A_POLL_NS 10000000

struct waited_for {
	pid_t tid;
	int64_t cpu_ns; /* when first looked at */
};

/* As pthread_getcpuclockid(), by tid; -1: it has ended. */
static int64_t cpu_time_of(pid_t tid)
{
	const int per_thread = 4, scheduled = 2;
	struct timespec time;

	if (clock_gettime((clockid_t)(~(unsigned int)tid << 3) | per_thread |
				  scheduled,
			  &time))
		return -1;
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* "running"; "-1 SP PC" where it waits for a page; else the call's number. */
static bool is_in_system_call(pid_t tid)
{
	char path[64], text[8];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
	fd = raw_open(AT_FDCWD, path, O_RDONLY);
	if (fd < 0)
		return false;
	n = raw_read(fd, text, sizeof(text));
	raw_close(fd);
	return n > 0 && text[0] >= '0' && text[0] <= '9';
}

static bool is_past(const struct waited_for *thread, uint32_t round)
{
	int64_t cpu_ns = cpu_time_of(thread->tid);

	return cpu_ns < 0 || cpu_ns - thread->cpu_ns > LONGER_THAN_A_POLL_NS ||
	       gate_mark_has_polled(thread->tid, round) ||
	       is_in_system_call(thread->tid);
}

/* All threads but this one. Threads that come later poll through ours. */
static int list(struct waited_for **ret, size_t *ret_count)
{
	pid_t self = (pid_t)syscall(SYS_gettid);
	struct waited_for *threads = NULL, *more;
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	size_t count = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);

		if (tid <= 0 || tid == self)
			continue;
		more = realloc(threads, (count + 1) * sizeof(*threads));
		if (!more) {
			free(threads);
			closedir(dir);
			return -ENOMEM;
		}
		threads = more;
		threads[count++] = (struct waited_for){tid, cpu_time_of(tid)};
	}
	closedir(dir);
	*ret = threads;
	*ret_count = count;
	return 0;
}

int gate_grace(int64_t deadline_ns)
{
	uint32_t round = gate_mark_next_poll_round();
	struct timespec pause = {0, 20000};
	struct waited_for *threads = NULL;
	size_t count = 0;
	int r = list(&threads, &count);

	if (r)
		return r;
	for (;;) {
		while (count && is_past(&threads[count - 1], round))
			count--;
		if (!count || clock_now_ns() >= deadline_ns)
			break;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		if (pause.tv_nsec < 2000000)
			pause.tv_nsec *= 2;
	}
	free(threads);
	return count ? -ETIMEDOUT : 0;
}
