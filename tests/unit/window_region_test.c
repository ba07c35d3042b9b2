/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far peers reach a region with a window, with a device, a stage and a
 * lease that are the test's own: whoever cuts the file off, the window is bound
 * to so much of it, with the key that it had.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aside.h"
#include "clock.h"
#include "leases.h"
#include "log.h"
#include "own.h"
#include "reason.h"
#include "stage_limits.h"
#include "unit.h"
#include "window/window_parts.h"
#include "window/window_test.h"
#include "window_fake.h"

#define PAGE   4096UL
#define LENGTH (16 * PAGE)
#define OFFSET (3 * PAGE) /* in the file */
#define DEV    7
#define INO    11
#define REMOTE                                                                 \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |                    \
	 IBV_ACCESS_REMOTE_ATOMIC)

static char *memory; /* the program's mapping of the shadow */
static int shadow_fd;
static struct real_verbs real;
static struct ibv_context *context;
static struct ibv_pd *pd;
static struct ibv_mr *mr;
static struct window *window;
static struct lease_terms terms;
static struct lease_listener *listener; /* NULL: nobody listens */
static bool is_one_piece;
static _Atomic uint64_t file_size;
static _Atomic enum recall_state state_now;
static _Atomic uint64_t reports;
static struct window_verdict verdict;

/* Neither is ever looked into. */
static struct lease *const lease = (struct lease *)&file_size;
static const struct stage *const stage = (const struct stage *)&file_size;

/* How the shadow was last made to follow the file: what was bound then. */
static _Atomic int clearings;
static _Atomic size_t cleared_at;
static atomic_bool has_no_room; /* for locked memory */
static _Atomic int told;	/* the last error; 0: nothing */

void log_write(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

struct lease *stage_lease(const struct stage *of, size_t i)
{
	(void)of;
	return i ? NULL : lease;
}

struct lease *stage_piece(const struct stage *of, uint64_t *ret_offset)
{
	(void)of;
	*ret_offset = OFFSET;
	return is_one_piece ? lease : NULL;
}

const struct lease_terms *lease_terms(const struct lease *of)
{
	(void)of;
	return &terms;
}

int lease_alias(struct lease *of, uint64_t offset, uint64_t length,
		uintptr_t addr)
{
	assert_ptr_equal(of, lease);
	assert_int_equal(offset, OFFSET);
	assert_int_equal(length, LENGTH);
	assert_ptr_equal(mmap((void *)addr, length, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, shadow_fd, 0),
			 (void *)addr);
	return 0;
}

struct lease_engine *leases_engine(void)
{
	return (struct lease_engine *)&file_size;
}

void own_begin(struct lease_engine *engine, dev_t dev, ino_t ino,
	       enum keeper_own kind, struct own *own)
{
	assert_ptr_equal(engine, leases_engine());
	assert_int_equal(dev, DEV);
	assert_int_equal(ino, INO);
	assert_int_equal(kind, KEEPER_OWN_CHANGE);
	own->effect = OWN_NOTHING;
}

void own_end(struct own *own)
{
	assert_int_equal(own->effect, OWN_RESIZED);
	cleared_at = window_fake.length;
	clearings++;
}

int stage_limits_check_again(uint64_t bytes)
{
	return has_no_room ? reason_set(-ENOMEM, "no room for %ju bytes",
					(uintmax_t)bytes)
			   : 0;
}

int lease_size(struct lease *of, uint64_t *ret)
{
	(void)of;
	*ret = file_size;
	return 0;
}

enum recall_state lease_state(const struct lease *of)
{
	(void)of;
	return state_now;
}

uint64_t lease_reports(const struct lease *of)
{
	(void)of;
	return reports;
}

void lease_file(const struct lease *of, dev_t *ret_dev, ino_t *ret_ino)
{
	(void)of;
	*ret_dev = DEV;
	*ret_ino = INO;
}

int lease_news_listen(struct lease_listener *who, struct lease *to)
{
	assert_ptr_equal(to, lease);
	listener = who;
	return 0;
}

void lease_news_unlisten(struct lease_listener *who)
{
	assert_ptr_equal(who, listener);
	listener = NULL;
}

void window_verdict_get(const struct verbs_table *verbs,
			struct ibv_device *device, struct window_verdict *ret)
{
	(void)verbs;
	(void)device;
	*ret = verdict;
}

static struct region_call call_with(unsigned int access)
{
	return (struct region_call){
		.real = &real,
		.pd = pd,
		.addr = memory,
		.length = LENGTH,
		.iova = (uintptr_t)memory,
		.access = IBV_ACCESS_LOCAL_WRITE | access,
	};
}

static void open_window(void)
{
	struct region_call call = call_with(REMOTE);

	assert_int_equal(window_is_wanted(&call, stage), 1);
	mr = real.table.reg_mr_iova2(pd, memory, LENGTH, (uintptr_t)memory,
				     window_mr_access(call.access));
	assert_int_equal(fake.access,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	assert_int_equal(window_open(&call, stage, mr, &window), 0);
	assert_int_equal(mr->rkey, WINDOW_KEY);
}

static void close_window(void)
{
	window_close(window);
	assert_null(listener);
	assert_int_equal(mr->rkey, mr->lkey);
	assert_int_equal(real.table.dereg_mr(mr), 0);
}

static int set_up(void **state)
{
	(void)state;
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC);
	assert_int_equal(ftruncate(shadow_fd, LENGTH), 0);
	memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
		      shadow_fd, 0);
	assert_true(memory != MAP_FAILED);
	clearings = told = 0;
	has_no_room = false;
	fake_reset();
	window_fake_reset();
	real.table = window_fake.table;
	context = real.table.open_device(&fake.device);
	pd = real.table.alloc_pd(context);
	terms.on_shrink = ON_SHRINK_ERROR;
	is_one_piece = true;
	verdict = (struct window_verdict){
		.is_right = true, .has_atomics = true, .seen = "the test"};
	file_size = OFFSET + LENGTH;
	state_now = RECALL_HELD;
	return 0;
}

/* Nothing of ours is left in the program's PD. */
static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(fake.live, 2);
	real.table.dealloc_pd(pd);
	real.table.close_device(context);
	munmap(memory, LENGTH);
	close(shadow_fd);
	return 0;
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

static void wait_reach(size_t length)
{
	int64_t deadline_ns = clock_now_ns() + 30000000000LL;

	while (window_fake.length != length) {
		assert_true(clock_now_ns() < deadline_ns);
		usleep(1000);
	}
	assert_int_equal(mr->rkey, WINDOW_KEY);
}

static void hear(void)
{
	const struct recall_report report = {.from = RECALL_MERGING,
					     .to = RECALL_HELD,
					     .cause = RECALL_MERGED};

	reports++;
	listener->changed(listener, &report, 0);
}

static void cut_off_and_grown__by_others(void **state)
{
	(void)state;
	open_window();
	assert_int_equal(window_fake.length, LENGTH);
	file_size = OFFSET + 5 * PAGE;
	hear();
	wait_reach(5 * PAGE);
	/* whole pages */
	file_size = OFFSET + 7 * PAGE + 1;
	hear();
	wait_reach(8 * PAGE);
	file_size = OFFSET;
	hear();
	wait_reach(0);
	file_size = OFFSET + 2 * LENGTH;
	hear();
	wait_reach(LENGTH);
	assert_ptr_equal(window_fake.bound, mr);
	close_window();
}

static void grown_while_others_have_it__waits_until_it_is_ours(void **state)
{
	int binds;

	(void)state;
	open_window();
	state_now = RECALL_YIELDED;
	hear();
	/* Nobody says so: it is looked at again and again. */
	file_size = OFFSET + PAGE;
	wait_reach(PAGE);
	binds = window_fake.bindings;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.bindings, binds);
	file_size = 0;
	wait_reach(0);
	file_size = OFFSET + LENGTH;
	state_now = RECALL_HELD;
	hear();
	wait_reach(LENGTH);
	close_window();
}

static void own_change__is_seen_when_it_returns(void **state)
{
	(void)state;
	window_own_end(DEV, INO);
	open_window();
	for (size_t pages = 16; pages--;) {
		file_size = OFFSET + pages * PAGE;
		window_own_end(DEV, INO);
		assert_int_equal(window_fake.length, pages * PAGE);
	}
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO + 1);
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, LENGTH);
	close_window();
}

static void cut_off_before__is_looked_at_first(void **state)
{
	(void)state;
	file_size = OFFSET + 4 * PAGE;
	open_window();
	assert_int_equal(window_fake.length, 4 * PAGE);
	close_window();
}

static void shorter_mr_is_refused__nothing_is_reached(void **state)
{
	(void)state;
	open_window();
	file_size = OFFSET + 4 * PAGE;
	/* the first call of the look */
	fake.fail_at = fake.calls + 1;
	window_own_end(DEV, INO);
	assert_string_equal(fake.failed, "reg_mr_iova2");
	/* It is tried again without being asked. */
	wait_reach(4 * PAGE);
	close_window();
}

static void tell(struct window_ear *ear, int error)
{
	(void)ear;
	told = error;
}

static struct window_ear ear = {tell};

/* Never more than before, and never what was before. */
static void bind_fails__nothing_is_reached(void **state)
{
	(void)state;
	open_window();
	window_listen(window, &ear);
	window_fake.fault = WINDOW_REFUSES_MORE;
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	/* It is tried again, and again. */
	window_pause();
	assert_int_equal(window_fake.length, 0);
	assert_null(window_fake.bound);
	assert_int_equal(window_fake.dealloced, 0);
	assert_int_equal(told, -EIO);
	/* The MR is there, and the one that was not bound is not. */
	assert_int_equal(fake.plain_bytes, LENGTH);
	window_fake.fault = WINDOW_RIGHT;
	window_resume();
	wait_reach(4 * PAGE);
	window_fake.fault = WINDOW_REFUSES_MORE;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, 0);
	window_fake.fault = WINDOW_RIGHT;
	wait_reach(LENGTH);
	window_listen(window, NULL);
	close_window();
}

/* Nothing can be bound any more: the window goes, its key with it. */
static void no_bind_succeeds__the_window_goes(void **state)
{
	(void)state;
	open_window();
	window_listen(window, &ear);
	window_fake.fault = WINDOW_REFUSES;
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.dealloced, 1);
	assert_null(window_fake.bound);
	assert_int_equal(told, -EIO);
	told = 0;
	window_listen(window, NULL);
	window_listen(window, &ear);
	assert_int_equal(told, -EIO);
	window_fake.fault = WINDOW_RIGHT;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_null(window_fake.bound);
	assert_int_equal(window_fake.dealloced, 1);
	close_window();
	assert_int_equal(window_fake.dealloced, 1);
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
	open_window();
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
	close_window();
	assert_int_equal(msync(base, PAGE, MS_ASYNC), -1);
	assert_int_equal(errno, ENOMEM);
}

/* A child has no mapping of a shadow that nobody sees. */
static void view__is_no_childs(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	open_window();
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	pid = fork();
	if (!pid)
		_exit(!msync(window_fake.bound->base, PAGE, MS_ASYNC));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close_window();
}

/* After the bind: what came before it is cleared, what comes after is none. */
static void tail__is_cleared_after_the_bind(void **state)
{
	(void)state;
	open_window();
	assert_int_equal(clearings, 0);
	file_size = OFFSET + 5 * PAGE + 7;
	hear();
	wait_reach(6 * PAGE);
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
	close_window();
}

/*
 * No memory for the second MR before the first is gone: peers reach nothing
 * for a moment, and then what is left.
 */
static void no_room_for_a_third_mr__the_second_goes_first(void **state)
{
	(void)state;
	open_window();
	file_size = OFFSET + 8 * PAGE;
	window_own_end(DEV, INO);
	fake.plain_bytes_most = 0;
	has_no_room = true;
	fake.fail_at = fake.calls + 1;
	file_size = OFFSET + 12 * PAGE;
	window_own_end(DEV, INO);
	assert_string_equal(fake.failed, "reg_mr_iova2");
	assert_int_equal(window_fake.length, 12 * PAGE);
	assert_int_equal(fake.plain_bytes_most, LENGTH + 12 * PAGE);
	close_window();
}

static void no_room_for_a_second_mr__is_refused(void **state)
{
	struct region_call call = call_with(REMOTE);

	(void)state;
	mr = real.table.reg_mr_iova2(pd, memory, LENGTH, (uintptr_t)memory,
				     window_mr_access(call.access));
	has_no_room = true;
	assert_int_equal(window_open(&call, stage, mr, &window), -ENOMEM);
	assert_string_equal(reason_text(), "no room for 65536 bytes");
	assert_int_equal(fake.live, 3);
	real.table.dereg_mr(mr);
}

/* While it is paused nobody looks, and the thread does not count. */
static void paused__the_thread_is_aside(void **state)
{
	int binds;

	(void)state;
	open_window();
	state_now = RECALL_YIELDED;
	file_size = OFFSET + PAGE;
	hear();
	wait_reach(PAGE);
	for (int i = 0; i < 50; i++) {
		window_pause();
		window_pause();
		window_resume();
		assert_true(aside_is(thread_tid()));
		binds = window_fake.bindings;
		file_size = OFFSET + (uint64_t)(i % 2) * PAGE;
		hear();
		assert_true(aside_is(thread_tid()));
		assert_int_equal(window_fake.bindings, binds);
		window_resume();
	}
	file_size = 0;
	wait_reach(0);
	close_window();
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
	open_window();
	assert_int_equal(pthread_create(&thread, NULL, send_signals, &self), 0);
	for (int i = 0; handled < 300; i++) {
		file_size = OFFSET + (uint64_t)(1 + i % 16) * PAGE;
		window_own_end(DEV, INO);
		assert_int_equal(window_fake.length, file_size - OFFSET);
	}
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	assert_false(sigismember(&set, SIGUSR1));
	close_window();
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

static void fork__while_it_is_at_work(void **state)
{
	pthread_t thread;
	int status;

	(void)state;
	open_window();
	is_over = false;
	assert_int_equal(pthread_create(&thread, NULL, hear_all_the_time, NULL),
			 0);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid) {
			window_own_end(DEV, INO);
			window_pause();
			window_resume();
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	is_over = true;
	pthread_join(thread, NULL);
	close_window();
}

static void context_closes__all_goes(void **state)
{
	(void)state;
	open_window();
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
	open_window();
	pid = fork();
	if (!pid) {
		window_own_end(DEV, INO);
		window_close(window);
		_exit(mr->rkey != mr->lkey || fake.live != 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close_window();
}

static void check_refused(struct region_call call, const char *why)
{
	assert_int_equal(window_is_wanted(&call, stage), -EOPNOTSUPP);
	if (!strstr(reason_text(), why))
		fail_msg("'%s' is not in: %s", why, reason_text());
}

static void refused__with_the_reason(void **state)
{
	struct region_call call = call_with(REMOTE);

	(void)state;
	check_refused(call_with(IBV_ACCESS_MW_BIND), "of the program's own");
	check_refused(call_with(REMOTE | IBV_ACCESS_ZERO_BASED), "iova");
	check_refused(call_with(REMOTE | 1 << 8), "FLUSH");
	call.iova++;
	check_refused(call, "iova");
	is_one_piece = false;
	check_refused(call_with(REMOTE), "one piece");
	is_one_piece = true;
	verdict.has_atomics = false;
	check_refused(call_with(REMOTE), "atomics");
	call = call_with(IBV_ACCESS_REMOTE_READ);
	assert_int_equal(window_is_wanted(&call, stage), 1);
	verdict.is_right = false;
	check_refused(call, "the test");
}

static void needless__no_window(void **state)
{
	struct region_call call = call_with(0);

	(void)state;
	assert_int_equal(window_is_wanted(&call, stage), 0);
	call = call_with(REMOTE);
	terms.on_shrink = ON_SHRINK_DISCARD;
	assert_int_equal(window_is_wanted(&call, stage), 0);
}

static void no_window_left__nothing_stays(void **state)
{
	const enum window_fault faults[] = {WINDOW_NO_MORE, WINDOW_REFUSES,
					    WINDOW_FULL};
	struct region_call call = call_with(REMOTE);

	(void)state;
	mr = real.table.reg_mr_iova2(pd, memory, LENGTH, (uintptr_t)memory,
				     window_mr_access(call.access));
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		window_fake.fault = faults[i];
		assert_true(window_open(&call, stage, mr, &window) < 0);
		assert_int_equal(mr->rkey, mr->lkey);
		assert_int_equal(fake.live, 3);
	}
	real.table.dereg_mr(mr);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cut_off_and_grown__by_others),
		TEST(grown_while_others_have_it__waits_until_it_is_ours),
		TEST(own_change__is_seen_when_it_returns),
		TEST(cut_off_before__is_looked_at_first),
		TEST(shorter_mr_is_refused__nothing_is_reached),
		TEST(bind_fails__nothing_is_reached),
		TEST(no_bind_succeeds__the_window_goes),
		TEST(shorter__is_never_at_the_programs_address),
		TEST(view__is_no_childs),
		TEST(tail__is_cleared_after_the_bind),
		TEST(no_room_for_a_third_mr__the_second_goes_first),
		TEST(no_room_for_a_second_mr__is_refused),
		TEST(paused__the_thread_is_aside),
		TEST(signal_handler__may_need_the_lock),
		TEST(fork__while_it_is_at_work),
		TEST(context_closes__all_goes),
		TEST(child__can_deregister),
		TEST(refused__with_the_reason),
		TEST(needless__no_window),
		TEST(no_window_left__nothing_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
