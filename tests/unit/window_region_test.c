/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far peers reach a region with a window: whoever cuts the file off, the
 * window is bound to so much of it, with the key that it had.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aside.h"
#include "reason.h"
#include "window_world.h"

static void cut_off_and_grown__by_others(void **state)
{
	(void)state;
	world_open();
	assert_int_equal(window_fake.length, LENGTH);
	file_size = OFFSET + 5 * PAGE;
	world_hear();
	world_wait_reach(5 * PAGE);
	/* whole pages */
	file_size = OFFSET + 7 * PAGE + 1;
	world_hear();
	world_wait_reach(8 * PAGE);
	file_size = OFFSET;
	world_hear();
	world_wait_reach(0);
	file_size = OFFSET + 2 * LENGTH;
	world_hear();
	world_wait_reach(LENGTH);
	assert_ptr_equal(window_fake.bound, mr);
	world_close();
}

static void grown_while_others_have_it__waits_until_it_is_ours(void **state)
{
	int binds;

	(void)state;
	world_open();
	state_now = RECALL_YIELDED;
	world_hear();
	/* Nobody says so: it is looked at again and again. */
	file_size = OFFSET + PAGE;
	world_wait_reach(PAGE);
	binds = window_fake.bindings;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.bindings, binds);
	file_size = 0;
	world_wait_reach(0);
	file_size = OFFSET + LENGTH;
	state_now = RECALL_HELD;
	world_hear();
	world_wait_reach(LENGTH);
	world_close();
}

static void own_change__is_seen_when_it_returns(void **state)
{
	(void)state;
	window_own_end(DEV, INO);
	world_open();
	for (size_t pages = 16; pages--;) {
		file_size = OFFSET + pages * PAGE;
		window_own_end(DEV, INO);
		assert_int_equal(window_fake.length, pages * PAGE);
	}
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO + 1);
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, LENGTH);
	world_close();
}

static void cut_off_before__is_looked_at_first(void **state)
{
	(void)state;
	file_size = OFFSET + 4 * PAGE;
	world_open();
	assert_int_equal(window_fake.length, 4 * PAGE);
	world_close();
}

static const struct fake_mr *bound(void)
{
	const struct fake_mr *on = window_fake.bound;

	assert_non_null(on);
	return on;
}

/*
 * The program's mapping is gone, and memory of its own in its place: no MR is
 * ever made there.
 */
static void shorter__is_never_at_the_programs_address(void **state)
{
	uint8_t *base, byte;

	(void)state;
	world_open();
	memory = mmap(memory, LENGTH, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (size_t pages = 15; pages; pages--) {
		file_size = OFFSET + pages * PAGE;
		window_own_end(DEV, INO);
		assert_int_equal(window_fake.length, pages * PAGE);
		base = bound()->base;
		assert_true(base + LENGTH <= (uint8_t *)memory ||
			    base >= (uint8_t *)memory + LENGTH);
		assert_int_equal(bound()->iova, (uintptr_t)memory);
		/* as a peer does */
		base[pages * PAGE - 1] = (uint8_t)pages;
		assert_int_equal(
			pread(shadow_fd, &byte, 1, (off_t)(pages * PAGE - 1)),
			1);
		assert_int_equal(byte, pages);
		assert_int_equal(memory[pages * PAGE - 1], 0);
	}
	base = bound()->base;
	assert_int_equal(msync(base, PAGE, MS_ASYNC), 0);
	world_close();
	assert_int_equal(msync(base, PAGE, MS_ASYNC), -1);
	assert_int_equal(errno, ENOMEM);
}

/* A child has no mapping of a shadow that nobody sees. */
static void view__is_no_childs(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	world_open();
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	pid = fork();
	if (!pid)
		_exit(!msync(window_fake.bound->base, PAGE, MS_ASYNC));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	world_close();
}

/* After the bind: what came before it is cleared, what comes after is none. */
static void tail__is_cleared_after_the_bind(void **state)
{
	(void)state;
	world_open();
	assert_int_equal(clearings, 0);
	file_size = OFFSET + 5 * PAGE + 7;
	world_hear();
	world_wait_reach(6 * PAGE);
	window_own_end(DEV, INO);
	assert_int_equal(clearings, 1);
	assert_int_equal(cleared_at, 6 * PAGE);
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, LENGTH);
	assert_int_equal(clearings, 1);
	file_size = 0;
	window_own_end(DEV, INO);
	assert_int_equal(clearings, 2);
	assert_int_equal(cleared_at, 0);
	world_close();
}

/* The thread's, which has a name of its own. */
static pid_t thread_tid(void)
{
	DIR *tasks = opendir("/proc/self/task");
	char path[300], name[32] = "";
	struct dirent *entry;
	pid_t tid = 0;
	FILE *file;

	while (!tid && (entry = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) &&
		    !strcmp(name, "daxmr-window\n"))
			tid = (pid_t)strtol(entry->d_name, NULL, 10);
		fclose(file);
	}
	closedir(tasks);
	assert_true(tid);
	return tid;
}

/* While it is paused nobody looks, and the thread does not count. */
static void paused__the_thread_is_aside(void **state)
{
	struct window_still still, second;
	int binds;

	(void)state;
	world_open();
	state_now = RECALL_YIELDED;
	file_size = OFFSET + PAGE;
	world_hear();
	world_wait_reach(PAGE);
	for (int i = 0; i < 50; i++) {
		window_pause(&still);
		window_pause(&second);
		window_resume(&second);
		assert_true(aside_is(thread_tid()));
		binds = window_fake.bindings;
		file_size = OFFSET + (uint64_t)(i % 2) * PAGE;
		world_hear();
		assert_true(aside_is(thread_tid()));
		assert_int_equal(window_fake.bindings, binds);
		window_resume(&still);
	}
	file_size = 0;
	world_wait_reach(0);
	world_close();
}

/* Not interrupted by who needs the lock himself. */
static _Atomic int handled;

static void on_signal(int number)
{
	(void)number;
	window_own_end(DEV, INO);
	handled++;
}

static void *send_signals(void *arg)
{
	pthread_t to = *(pthread_t *)arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < 300; i++) {
		pthread_kill(to, SIGUSR1);
		while (handled <= i)
			usleep(20);
	}
	return arg;
}

static void signal_handler__may_need_the_lock(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, before;
	pthread_t self = pthread_self(), thread;
	sigset_t set;

	(void)state;
	handled = 0;
	sigaction(SIGUSR1, &action, &before);
	world_open();
	assert_int_equal(pthread_create(&thread, NULL, send_signals, &self), 0);
	for (int i = 0; handled < 300; i++) {
		file_size = OFFSET + (uint64_t)(1 + i % 16) * PAGE;
		window_own_end(DEV, INO);
		assert_int_equal(window_fake.length, file_size - OFFSET);
	}
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	assert_false(sigismember(&set, SIGUSR1));
	world_close();
	sigaction(SIGUSR1, &before, NULL);
}

static void raise_unheard(void)
{
	int before = handled;

	raise(SIGUSR1);
	assert_int_equal(handled, before);
}

/* A handler might wait for what it has interrupted. */
static void signal__is_heard_when_nobody_waits_for_it(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, before;
	struct window_still still;

	(void)state;
	handled = 0;
	sigaction(SIGUSR1, &action, &before);
	file_size = OFFSET + 4 * PAGE;
	window_fake.on_bind = raise_unheard;
	world_open();
	window_fake.on_bind = NULL;
	assert_int_equal(handled, 1);
	assert_int_equal(window_fake.length, 4 * PAGE);
	window_pause(&still);
	raise_unheard();
	window_resume(&still);
	assert_int_equal(handled, 2);
	world_close();
	sigaction(SIGUSR1, &before, NULL);
}

static atomic_bool is_over;

static void *hear_all_the_time(void *arg)
{
	for (unsigned int i = 0; !is_over; i++) {
		file_size = OFFSET + (1 + i % 16) * PAGE;
		window_own_end(DEV, INO);
	}
	return arg;
}

static void *end_all_the_time(void *arg)
{
	while (!is_over)
		window_own_end(DEV, INO);
	return arg;
}

/* Another thread's end of a change does not put off what this one waits for. */
static void own_changes__of_two_threads_are_seen_when_they_return(void **state)
{
	pthread_t thread;

	(void)state;
	world_open();
	is_over = false;
	assert_int_equal(pthread_create(&thread, NULL, end_all_the_time, NULL),
			 0);
	for (unsigned int i = 0; i < 200; i++) {
		size_t pages = 1 + i % 16;

		file_size = OFFSET + pages * PAGE;
		window_own_end(DEV, INO);
		assert_int_equal(window_fake.length, pages * PAGE);
	}
	is_over = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	world_close();
}

static void fork__while_it_is_at_work(void **state)
{
	struct window_still still;
	pthread_t thread;
	sigset_t set;
	int status;

	(void)state;
	world_open();
	is_over = false;
	assert_int_equal(pthread_create(&thread, NULL, hear_all_the_time, NULL),
			 0);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid) {
			window_own_end(DEV, INO);
			window_pause(&still);
			window_resume(&still);
			pthread_sigmask(SIG_SETMASK, NULL, &set);
			_exit(sigismember(&set, SIGUSR1));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	is_over = true;
	pthread_join(thread, NULL);
	world_close();
}

static void context_closes__all_goes(void **state)
{
	(void)state;
	world_open();
	window_context_closing(context);
	assert_null(listener);
	assert_int_equal(mr->rkey, mr->lkey);
	window_close(window);
	assert_int_equal(real.table.dereg_mr(mr), 0);
}

static void child__can_deregister(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	world_open();
	pid = fork();
	if (!pid) {
		window_own_end(DEV, INO);
		window_close(window);
		_exit(mr->rkey != mr->lkey || fake.live != 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	world_close();
}

static void check_refused(struct region_call call, const char *why)
{
	assert_int_equal(window_is_wanted(&call, stage), -EOPNOTSUPP);
	if (!strstr(reason_text(), why))
		fail_msg("'%s' is not in: %s", why, reason_text());
}

static void refused__with_the_reason(void **state)
{
	struct region_call call = world_call(REMOTE);

	(void)state;
	check_refused(world_call(IBV_ACCESS_MW_BIND), "of the program's own");
	check_refused(world_call(REMOTE | IBV_ACCESS_ZERO_BASED), "iova");
	check_refused(world_call(REMOTE | 1 << 8), "FLUSH");
	call.iova++;
	check_refused(call, "iova");
	is_one_piece = false;
	check_refused(world_call(REMOTE), "one piece");
	is_one_piece = true;
	verdict.has_atomics = false;
	check_refused(world_call(REMOTE), "atomics");
	call = world_call(IBV_ACCESS_REMOTE_READ);
	assert_int_equal(window_is_wanted(&call, stage), 1);
	verdict.is_right = false;
	check_refused(call, "the test");
}

static void needless__no_window(void **state)
{
	struct region_call call = world_call(0);

	(void)state;
	assert_int_equal(window_is_wanted(&call, stage), 0);
	call = world_call(REMOTE);
	terms.on_shrink = ON_SHRINK_DISCARD;
	assert_int_equal(window_is_wanted(&call, stage), 0);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cut_off_and_grown__by_others),
		TEST(grown_while_others_have_it__waits_until_it_is_ours),
		TEST(own_change__is_seen_when_it_returns),
		TEST(cut_off_before__is_looked_at_first),
		TEST(shorter__is_never_at_the_programs_address),
		TEST(view__is_no_childs),
		TEST(tail__is_cleared_after_the_bind),
		TEST(paused__the_thread_is_aside),
		TEST(signal_handler__may_need_the_lock),
		TEST(signal__is_heard_when_nobody_waits_for_it),
		TEST(own_changes__of_two_threads_are_seen_when_they_return),
		TEST(fork__while_it_is_at_work),
		TEST(context_closes__all_goes),
		TEST(child__can_deregister),
		TEST(refused__with_the_reason),
		TEST(needless__no_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
