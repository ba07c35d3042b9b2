/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More leased files than the program's soft limit has descriptors: they live in
 * the keeper, and are found again when it dies.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "reason.h"
#include "unit.h"

#define FILES 60
#define LIMIT 48

static struct lease_engine *engine;
static struct file files[FILES];
static struct lease *leases[FILES];
static atomic_int keepers;
static atomic_int lost;

static void keeper_died(void *arg, int error)
{
	(void)arg;
	atomic_fetch_add(&keepers, !error);
}

static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)lease;
	(void)missed;
	atomic_fetch_add(&lost, report->to == RECALL_LOST);
}

static void limit_descriptors(rlim_t soft, rlim_t hard)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = soft;
	if (hard)
		limit.rlim_max = hard;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static int setup(void **state)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.keeper_died = keeper_died, .changed = changed},
	};

	(void)state;
	limit_descriptors(LIMIT, 0);
	atomic_store(&keepers, 0);
	atomic_store(&lost, 0);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	return 0;
}

/* Files stay open up to `open`, are closed beyond. */
static void acquire_all(int open)
{
	for (int i = 0; i < FILES; i++) {
		int r;

		file_make(&files[i], PAGE);
		r = acquire_range(engine, files[i].fd, F_WRLCK, 0, PAGE,
				  &leases[i]);
		if (r)
			fail_msg("file %d: %d: %s", i, r, reason_text());
		if (i >= open) {
			close(files[i].fd);
			files[i].fd = -1;
		}
	}
}

static void release_all(void)
{
	for (int i = 0; i < FILES; i++) {
		assert_int_equal(lease_release(leases[i], 0, PAGE, INT64_MAX),
				 0);
		file_remove(&files[i]);
	}
}

static bool are_held(void *arg)
{
	(void)arg;
	for (int i = 0; i < FILES; i++)
		if (lease_state(leases[i]) != RECALL_HELD)
			return false;
	return true;
}

static void check_goes_round(int i)
{
	file_check_let_in(&files[i], O_RDWR);
	wait_for(are_held, NULL, "all are held again");
}

static void limit__leases_are_more_than_descriptors(void **state)
{
	uint64_t size;

	(void)state;
	acquire_all(20);
	wait_for(are_held, NULL, "all are held");
	for (int i = 0; i < FILES; i++) {
		assert_int_equal(lease_size(leases[i], &size), 0);
		assert_int_equal(size, PAGE);
	}
	check_goes_round(0);
	check_goes_round(FILES - 1);
	/* the program has all its own */
	for (int i = 20; i < LIMIT - 10; i++)
		assert_true(dup(STDIN_FILENO) >= 0);
	assert_int_equal(close_range(20 + 3, ~0U, 0), 0);
	for (int i = 0; i < 20; i++)
		if (files[i].fd >= 20 + 3)
			files[i].fd = -1;
	release_all();
}

/* The engine has it back from the keeper for as long as it needs it. */
static void limit__one_region_more_without_a_descriptor(void **state)
{
	struct lease_want want = {
		.fd = -1,
		.type = LEASE_TYPE_AUTO,
		.offset = PAGE,
		.length = 2 * PAGE,
	};
	struct lease *lease, *again;
	struct file more;
	struct stat st;
	char *map;

	(void)state;
	acquire_all(0);
	file_make(&more, 4 * PAGE);
	map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, more.fd,
		   0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(
		acquire_range(engine, more.fd, F_WRLCK, 0, PAGE, &lease), 0);
	close(more.fd);
	more.fd = -1;
	want.addr = (uintptr_t)map;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(lease_acquire(engine, &want, &again), 0);
		assert_ptr_equal(lease, again);
	}
	assert_int_equal(lease_state(lease), RECALL_HELD);
	assert_int_equal(stat(more.path, &st), 0);
	assert_int_equal(st.st_blocks * 512, 3 * PAGE);
	for (int i = 0; i < 20; i++)
		assert_int_equal(
			lease_release(lease, PAGE, 2 * PAGE, INT64_MAX), 0);
	assert_int_equal(lease_release(lease, 0, PAGE, INT64_MAX), 0);
	munmap(map, 4 * PAGE);
	file_remove(&more);
	release_all();
}

/* A lease that was adopted still names who took it first. */
static bool has_another(void *arg)
{
	(void)arg;
	for (int i = FILES - 1; i >= 0; i--)
		if (!file_lease_holder(&files[i]))
			return false;
	return atomic_load(&keepers) > 0 && are_held(NULL);
}

/* Who is let in at once was heard by somebody. */
static void check_another_keeper(void)
{
	pid_t keeper = file_lease_holder(&files[0]);

	assert_true(keeper > 0);
	atomic_store(&keepers, 0);
	assert_int_equal(kill(keeper, SIGKILL), 0);
	wait_for(has_another, NULL, "another keeper has them all");
	for (int i = 0; i < FILES; i += FILES / 5)
		check_goes_round(i);
	check_goes_round(FILES - 1);
}

/* Opened again by their paths: others may have had them meanwhile. */
static void keeper_killed__files_without_a_descriptor(void **state)
{
	(void)state;
	acquire_all(0);
	check_another_keeper();
	assert_true(atomic_load(&lost) >= FILES - LIMIT);
	check_another_keeper();
	release_all();
}

/* The program's own has the lease all the time. */
static void keeper_killed__files_that_the_program_has_open(void **state)
{
	int spare = 20, first;

	(void)state;
	acquire_all(0);
	/* the last ones, which only the keeper has */
	for (first = FILES - spare; first < FILES; first++)
		assert_int_equal(
			lease_release(leases[first], 0, PAGE, INT64_MAX), 0);
	for (int i = FILES - spare; i < FILES; i++) {
		files[i].fd = open(files[i].path, O_RDWR | O_CLOEXEC);
		assert_true(files[i].fd >= 0);
		assert_int_equal(acquire_range(engine, files[i].fd, F_WRLCK, 0,
					       PAGE, &leases[i]),
				 0);
	}
	check_another_keeper();
	for (int i = FILES - spare; i < FILES; i++)
		assert_int_equal(lease_of(files[i].fd), F_WRLCK);
	assert_true(atomic_load(&lost) <= FILES - spare);
	release_all();
}

/* Deleted, closed and not mapped: nothing leads to it any more. */
static void keeper_killed__file_that_is_gone(void **state)
{
	pid_t keeper;
	int i;

	(void)state;
	acquire_all(0);
	for (i = 1; i < FILES; i++)
		unlink(files[i].path);
	keeper = file_lease_holder(&files[0]);
	kill(keeper, SIGKILL);
	while (!atomic_load(&keepers))
		usleep(1000);
	assert_int_equal(lease_release(leases[FILES - 1], 0, PAGE, INT64_MAX),
			 -ENOENT);
	for (i = 0; i < FILES - 1; i++)
		lease_release(leases[i], 0, PAGE, INT64_MAX);
	file_remove(&files[0]);
}

/* The keeper has the hard limit, which this process hands down. */
static void keeper__has_no_descriptor_left(void **state)
{
	int status, i, r = 0;
	pid_t pid;

	(void)state;
	lease_engine_stop(engine);
	pid = fork();
	if (!pid) {
		limit_descriptors(LIMIT, LIMIT);
		setup(NULL);
		for (i = 0; i < FILES && !r; i++) {
			file_make(&files[i], PAGE);
			r = acquire_range(engine, files[i].fd, F_WRLCK, 0, PAGE,
					  &leases[i]);
			close(files[i].fd);
			unlink(files[i].path);
		}
		_exit(r != -EMFILE || i < LIMIT / 2 || i > LIMIT ||
		      !strstr(reason_text(), "daxmr-keeper has no"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	setup(NULL);
}

/* Of descriptors on their way to another process root has no limit. */
static int drop_capabilities(void **state)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3,
						  0};
	struct __user_cap_data_struct data[2];

	(void)state;
	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective &=
		~(CAP_TO_MASK(CAP_SYS_ADMIN) | CAP_TO_MASK(CAP_SYS_RESOURCE));
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	return 0;
}

#define limit_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		limit_test(limit__leases_are_more_than_descriptors),
		limit_test(limit__one_region_more_without_a_descriptor),
		limit_test(keeper_killed__files_without_a_descriptor),
		limit_test(keeper_killed__files_that_the_program_has_open),
		limit_test(keeper_killed__file_that_is_gone),
		limit_test(keeper__has_no_descriptor_left),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease limit", tests,
					   drop_capabilities, NULL);
}
