/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadows in a program that has one thread and may not hold up anybody
 * (userfaultfd is forbidden here): they come and go while that thread waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aside.h"
#include "lease.h"
#include "lease_file.h"
#include "lease_stage.h"
#include "unit.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define LENGTH (16 * PAGE)

static struct lease_engine *engine;
static struct file file;
static char *map;

static int set_up(void **state)
{
	struct lease_config config = {.keeper_path = KEEPER_PATH};

	(void)state;
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	file_remove(&file);
	return 0;
}

static void unstage__at_once_while_it_waits(void **state)
{
	struct lease *lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);

	(void)state;
	assert_false(stage_is_file_at(&file, map));
	map[5 * PAGE] = '!';
	unstage_range(lease, 0, LENGTH);
	assert_true(stage_is_file_at(&file, map));
	assert_int_equal(map[5 * PAGE], '!');
}

/* Ours, in the program's table: it waits for an order, aside or not. */
static pthread_barrier_t ordered;
static bool is_to_step_out;

static void *wait_aside(void *arg)
{
	if (is_to_step_out)
		aside_step_out();
	pthread_barrier_wait(&ordered); /* it is where it should be */
	pthread_barrier_wait(&ordered);
	aside_step_in();
	return arg;
}

static pthread_t start_aside(bool is_aside)
{
	pthread_t thread;

	is_to_step_out = is_aside;
	pthread_barrier_init(&ordered, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, wait_aside, NULL), 0);
	pthread_barrier_wait(&ordered);
	return thread;
}

static void end_aside(pthread_t thread)
{
	pthread_barrier_wait(&ordered);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_barrier_destroy(&ordered);
}

static void thread_of_ours_that_is_aside__is_nobody(void **state)
{
	struct lease_want want = {
		.fd = file.fd, .type = F_WRLCK, .length = LENGTH};
	pthread_t thread = start_aside(true);
	struct lease *lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);

	(void)state;
	map[5 * PAGE] = '!';
	unstage_range(lease, 0, LENGTH);
	assert_true(stage_is_file_at(&file, map));
	end_aside(thread);
	/* Else it is a thread as any. */
	thread = start_aside(false);
	assert_int_equal(lease_acquire(engine, &want, &lease), 0);
	assert_true(lease_stage(lease, 0, LENGTH) < 0);
	end_aside(thread);
	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	unstage_range(lease, 0, LENGTH);
}

static void open_file(void *arg)
{
	(void)arg;
	if (open(file.path, O_RDONLY | O_CLOEXEC) < 0)
		_exit(1);
}

static bool has_no_lease(void *arg)
{
	return !file_lease_holder(arg);
}

static bool is_leased(void *arg)
{
	return !has_no_lease(arg);
}

/* With much to close, after its end has been told to who joins it. */
static void *end_slowly(void *arg)
{
	assert_int_equal(unshare(CLONE_FILES), 0);
	for (int i = 0; i < 800; i++)
		open("/dev/null", O_RDONLY | O_CLOEXEC);
	return arg;
}

/* The kernel shows it for a while after it has been joined. */
static void thread_that_has_ended__is_nobody(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct lease *lease;
		pthread_t thread;

		assert_int_equal(
			pthread_create(&thread, NULL, end_slowly, NULL), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
		assert_int_equal(
			pthread_create(&thread, NULL, end_slowly, NULL), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		unstage_range(lease, 0, LENGTH);
	}
}

/*
 * Others have the file when its last region goes. When it is ours again the
 * next call maps it back, whatever it asks for.
 */
static void left_over__goes_with_the_next_call(void **state)
{
	struct lease *lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
	struct child child;

	(void)state;
	map[5 * PAGE] = '!';
	child_start(&child, open_file, NULL);
	assert_int_equal(lease_unstage(lease, 0, LENGTH), -EAGAIN);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), -EAGAIN);
	map[6 * PAGE] = '?';
	child_end(&child);
	wait_for(is_leased, &file, "the file is leased again");
	for (double until = now_sec() + WAIT_SEC;
	     !stage_is_file_at(&file, map);) {
		assert_true(now_sec() < until);
		assert_int_equal(lease_flush_file(engine, 0, 0, 0, 1), 0);
		usleep(5000);
	}
	wait_for(has_no_lease, &file, "the file is given back");
	assert_int_equal(map[5 * PAGE], '!');
	assert_int_equal(map[6 * PAGE], '?');
}

/* Of all that this process starts, too. */
static bool forbid_userfaultfd(void)
{
	const uint32_t number = offsetof(struct seccomp_data, nr),
		       request = offsetof(struct seccomp_data, args[1]);
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, request),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, USERFAULTFD_IOC_NEW, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]),
				     filter};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) &&
	       stage_cannot_trap() == 77;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unstage__at_once_while_it_waits,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			thread_that_has_ended__is_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			thread_of_ours_that_is_aside__is_nobody, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			left_over__goes_with_the_next_call, set_up, tear_down),
	};

#ifdef __SANITIZE_THREAD__
	printf("ThreadSanitizer has a thread of its own in here\n");
	return 77;
#endif
	if (file_cannot_lease())
		return 77;
	if (!forbid_userfaultfd())
		return 1;
	return cmocka_run_group_tests_name("lease staged alone", tests, NULL,
					   NULL);
}
