/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper's own process: keeper_settle.h.
 *
 * Whoever waits for a file waits for the keeper to run. A program that polls at
 * real-time priority on the one CPU that it is pinned to would never let it;
 * one of SCHED_IDLE would have it run when nobody else wants to.
 */
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper_proto.h"
#include "keeper_settle.h"

#define TIMER_SLACK_NS 50000UL /* the kernel's own */

static ssize_t read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n;
}

/*
 * Off the CPUs that were set aside (isolcpus), where the scheduler would leave
 * us beside the program for good. The kernel leaves the cpuset's of the mask.
 */
static void use_all_cpus(void)
{
	char text[4096], *at = text;
	cpu_set_t all, most;

	memset(&all, 0xff, sizeof(all));
	most = all;
	read_text("/sys/devices/system/cpu/isolated", text, sizeof(text));
	while (*at >= '0' && *at <= '9') {
		unsigned long first = strtoul(at, &at, 10), last = first;

		if (*at == '-')
			last = strtoul(at + 1, &at, 10);
		for (; first <= last && first < CPU_SETSIZE; first++)
			CPU_CLR(first, &most);
		at += *at == ',';
	}
	if (sched_setaffinity(0, sizeof(most), &most))
		sched_setaffinity(0, sizeof(all), &all);
}

static void use_ordinary_priority(void)
{
	struct sched_param none = {0};

	sched_setscheduler(0, SCHED_OTHER, &none);
	if (getpriority(PRIO_PROCESS, 0) > 0)
		setpriority(PRIO_PROCESS, 0, 0);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
}

static void widen_limits(void)
{
	static const int limits[] = {
		RLIMIT_AS,     RLIMIT_CPU,   RLIMIT_DATA,	RLIMIT_FSIZE,
		RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_SIGPENDING,
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit limit;

		if (getrlimit(limits[i], &limit))
			continue;
		limit.rlim_cur = limit.rlim_max;
		setrlimit(limits[i], &limit);
	}
}

/* Private memory and headers only: no shadow, no page of a file. */
static void keep_data_out_of_cores(void)
{
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0x11", 4) < 0)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (fd >= 0)
		close(fd);
}

void keeper_settle(void)
{
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	prctl(PR_SET_NAME, KEEPER_NAME, 0, 0, 0);
	use_ordinary_priority();
	use_all_cpus();
	widen_limits();
	keep_data_out_of_cores();
}
