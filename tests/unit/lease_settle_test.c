/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a keeper has of the program that starts it: each program is a forked
 * child, so that what it does to itself ends with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "lease_file.h"
#include "unit.h"

#define NOT_ALLOWED 77

static void read_of(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
}

static unsigned long long status_of(pid_t pid, const char *field)
{
	char text[4096], *at;

	read_of(pid, "status", text, sizeof(text));
	at = strstr(text, field);
	assert_non_null(at);
	return strtoull(at + strlen(field), NULL, 16);
}

/*
 * Runs prepare() in a program of its own, starts a keeper there and looks at it
 * from here, by look(). prepare() says false where it is not allowed to.
 */
static void with_program(bool (*prepare)(void), void (*look)(pid_t keeper))
{
	volatile pid_t *keeper_pid =
		mmap(NULL, sizeof(*keeper_pid), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status, end[2];
	pid_t pid, keeper;
	char byte;

	assert_ptr_not_equal((void *)keeper_pid, MAP_FAILED);
	*keeper_pid = 0;
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct keeper own;

		close(end[1]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!prepare())
			_exit(NOT_ALLOWED);
		if (keeper_init(&own) || keeper_start(&own, KEEPER_PATH))
			_exit(1);
		*keeper_pid = own.pid;
		_exit(read(end[0], &byte, 1) != 0);
	}
	close(end[0]);
	while (!*keeper_pid && !process_is_gone(&pid))
		usleep(1000);
	keeper = *keeper_pid;
	if (keeper)
		look(keeper);
	close(end[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	munmap((void *)keeper_pid, sizeof(*keeper_pid));
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED) {
		print_message("not allowed to do that here\n");
		skip();
	}
	assert_int_equal(status, 0);
	assert_true(keeper > 0);
	wait_for(process_is_gone, &keeper, "the keeper ends");
}

static cpu_set_t all_cpus;

static bool pin(void)
{
	cpu_set_t one;
	int cpu = 0;

	while (!CPU_ISSET(cpu, &all_cpus))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return !sched_setaffinity(0, sizeof(one), &one);
}

static void look_at_cpus(pid_t keeper)
{
	cpu_set_t cpus;

	assert_int_equal(sched_getaffinity(keeper, sizeof(cpus), &cpus), 0);
	assert_true(CPU_COUNT(&cpus) >= CPU_COUNT(&all_cpus));
}

static void program_on_one_cpu__keeper_on_all(void **state)
{
	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all_cpus), &all_cpus), 0);
	if (CPU_COUNT(&all_cpus) < 2) {
		print_message("there is one CPU only\n");
		skip();
	}
	with_program(pin, look_at_cpus);
}

static bool be_real_time(void)
{
	struct sched_param param = {.sched_priority = 1};

	return !sched_setscheduler(0, SCHED_FIFO, &param);
}

static bool be_idle(void)
{
	struct sched_param param = {0};

	/* back again is for who may, and then the keeper may too */
	return !sched_setscheduler(0, SCHED_IDLE, &param) &&
	       !sched_setscheduler(0, SCHED_OTHER, &param) &&
	       !sched_setscheduler(0, SCHED_IDLE, &param) &&
	       !setpriority(PRIO_PROCESS, 0, 19) &&
	       !prctl(PR_SET_TIMERSLACK, 1000000000UL);
}

static void look_at_scheduling(pid_t keeper)
{
	char text[32];

	assert_int_equal(sched_getscheduler(keeper), SCHED_OTHER);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)keeper), 0);
	read_of(keeper, "timerslack_ns", text, sizeof(text));
	assert_int_equal(atol(text), 50000);
}

static void program_in_real_time__keeper_is_not(void **state)
{
	(void)state;
	with_program(be_real_time, look_at_scheduling);
}

static void program_idle__keeper_is_not(void **state)
{
	(void)state;
	with_program(be_idle, look_at_scheduling);
}

static const struct {
	__rlimit_resource_t which;
	rlim_t soft;
} limits[] = {
	/* a sanitizer's shadow has room */
	{RLIMIT_AS, 1UL << 47},	  {RLIMIT_CPU, 1},
	{RLIMIT_DATA, 1UL << 47}, {RLIMIT_FSIZE, 1UL << 24},
	{RLIMIT_NOFILE, 64},	  {RLIMIT_NPROC, 4000},
	{RLIMIT_SIGPENDING, 0},
};

#define LIMITS (sizeof(limits) / sizeof(limits[0]))

/* One CPU second, small files, no signal: no keeper would live long so. */
static bool be_limited(void)
{
	for (size_t i = 0; i < LIMITS; i++) {
		struct rlimit limit;

		if (getrlimit(limits[i].which, &limit))
			return false;
		if (limit.rlim_cur > limits[i].soft)
			limit.rlim_cur = limits[i].soft;
		if (setrlimit(limits[i].which, &limit))
			return false;
	}
	return true;
}

static void look_at_limits(pid_t keeper)
{
	for (size_t i = 0; i < LIMITS; i++) {
		struct rlimit limit;

		assert_int_equal(prlimit(keeper, limits[i].which, NULL, &limit),
				 0);
		assert_true(limit.rlim_cur == limit.rlim_max);
	}
}

static void program_with_limits__keeper_has_the_widest(void **state)
{
	(void)state;
	with_program(be_limited, look_at_limits);
}

static bool do_nothing(void)
{
	return true;
}

static void look_at_rest(pid_t keeper)
{
	char text[4096];
	struct stat cwd, top;
	int tty = -1;

	read_of(keeper, "stat", text, sizeof(text));
	assert_int_equal(
		sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %d", &tty), 1);
	assert_int_equal(tty, 0);
	read_of(keeper, "comm", text, sizeof(text));
	assert_string_equal(text, "daxmr-keeper\n");
	read_of(keeper, "cmdline", text, sizeof(text));
	assert_string_equal(text, "daxmr-keeper");
	/* private memory and ELF headers: no page of a file or a shadow */
	read_of(keeper, "coredump_filter", text, sizeof(text));
	assert_int_equal(strtoul(text, NULL, 16), 0x11);
	snprintf(text, sizeof(text), "/proc/%d/cwd", keeper);
	assert_int_equal(stat(text, &cwd), 0);
	assert_int_equal(stat("/", &top), 0);
	assert_true(cwd.st_ino == top.st_ino && cwd.st_dev == top.st_dev);
}

static void keeper__is_a_daemon(void **state)
{
	(void)state;
	with_program(do_nothing, look_at_rest);
}

static bool ignore_signals(void)
{
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_IGN);
	return true;
}

static void look_at_signals(pid_t keeper)
{
	/* but the C library's own two, which posix_spawn() sets to that */
	assert_int_equal(status_of(keeper, "SigIgn:") & ~0x180000000ULL, 0);
	assert_int_equal(status_of(keeper, "SigCgt:") & ~0x7fff80000000ULL, 0);
	/* SIGKILL, SIGSTOP and the C library's own two are not blocked */
	assert_int_equal(status_of(keeper, "SigBlk:") | 0x0000000180040100ULL,
			 UINT64_MAX);
}

static void program_that_ignores__keeper_does_not(void **state)
{
	(void)state;
	with_program(ignore_signals, look_at_signals);
}

/* No thread of the program sees a child, whatever it waits for. */
static void wait__finds_nobody(void **state)
{
	struct keeper own;
	pid_t keeper;

	(void)state;
	assert_int_equal(keeper_init(&own), 0);
	assert_int_equal(keeper_start(&own, KEEPER_PATH), 0);
	keeper = own.pid;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
		kill(keeper, SIGKILL);
		wait_for(process_is_gone, &keeper, "the keeper ends");
	}
	keeper_done(&own);
}

/* A subreaper, and PID 1, has it as a child in the end: it is asked for that.
 */
static void subreaper__inherits_it(void **state)
{
	struct keeper own;
	pid_t keeper;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(keeper_init(&own), 0);
	assert_int_equal(keeper_start(&own, KEEPER_PATH), 0);
	keeper = own.pid;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
	keeper_done(&own);
	assert_int_equal(waitpid(-1, NULL, 0), keeper);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* Of an ordinary user who was given CAP_LEASE, and nothing else. */
static bool have_cap_lease(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3,
						  0};
	struct __user_cap_data_struct data[2] = {{0}};

	data[0].effective = data[0].permitted = CAP_TO_MASK(CAP_LEASE);
	return !prctl(PR_SET_KEEPCAPS, 1) && !setresgid(65534, 65534, 65534) &&
	       !setresuid(65534, 65534, 65534) &&
	       !syscall(SYS_capset, &header, data) &&
	       !access(KEEPER_PATH, X_OK);
}

static void look_at_caps(pid_t keeper)
{
	assert_int_equal(status_of(keeper, "CapEff:"), CAP_TO_MASK(CAP_LEASE));
}

static void program_with_cap_lease__keeper_has_it(void **state)
{
	(void)state;
	with_program(have_cap_lease, look_at_caps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(program_on_one_cpu__keeper_on_all),
		cmocka_unit_test(program_in_real_time__keeper_is_not),
		cmocka_unit_test(program_idle__keeper_is_not),
		cmocka_unit_test(program_with_limits__keeper_has_the_widest),
		cmocka_unit_test(program_that_ignores__keeper_does_not),
		cmocka_unit_test(program_with_cap_lease__keeper_has_it),
		cmocka_unit_test(keeper__is_a_daemon),
		cmocka_unit_test(wait__finds_nobody),
		cmocka_unit_test(subreaper__inherits_it),
	};

	return cmocka_run_group_tests_name("lease settle", tests, NULL, NULL);
}
