/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Own calls while the engine has something to do that takes long: blocks for a
 * large region, a truncate() that waits for a frozen file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

#define LARGE (256L << 20)

static char large_path[300];
static atomic_bool is_started, is_done;
static int result;

static void *acquire_and_release(void *arg)
{
	struct lease_want want = {.type = F_WRLCK, .length = LARGE};
	struct lease *lease;

	want.fd = *(int *)arg;
	atomic_store(&is_started, true);
	result = own_engine->lease_acquire(&want, &lease);
	atomic_store(&is_done, true);
	if (!result)
		own_engine->lease_release(lease, 0, LARGE, INT64_MAX);
	return NULL;
}

static bool has_some_blocks(void *arg)
{
	struct stat st;

	return atomic_load(&is_done) ||
	       (!fstat(*(int *)arg, &st) && st.st_blocks > 0);
}

/* What came behind it in a queue would be through when it is, not before. */
static void acquire__long_one_holds_up_no_own_call(void **state)
{
	unsigned int calls = 0;
	pthread_t thread;
	int fd;

	(void)state;
	snprintf(large_path, sizeof(large_path), "%s.large", own_path);
	fd = open(large_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LARGE), 0);
	atomic_store(&is_done, false);
	assert_int_equal(
		pthread_create(&thread, NULL, acquire_and_release, &fd), 0);
	own_wait_for(has_some_blocks, &fd, "blocks are allocated");
	while (!atomic_load(&is_done)) {
		int other = open(own_path, O_RDWR | O_CLOEXEC);

		assert_true(other >= 0);
		assert_int_equal(close(other), 0);
		assert_int_equal(truncate(own_path, FILE_SIZE + PAGE), 0);
		assert_int_equal(ftruncate(own_fd, FILE_SIZE), 0);
		calls += !atomic_load(&is_done);
	}
	pthread_join(thread, NULL);
	assert_int_equal(result, 0);
	print_message("%u rounds of own calls meanwhile\n", calls);
	assert_true(calls > 1);
	close(fd);
	assert_int_equal(unlink(large_path), 0);
}

static void *truncate_it(void *arg)
{
	(void)arg;
	result = truncate(own_path, PAGE);
	atomic_store(&is_done, true);
	return NULL;
}

static bool truncates(void *arg)
{
	(void)arg;
	return atomic_load(&is_done);
}

/* Only where the test is told that the file system is its own. */
static void truncate__frozen_file_system_holds_up_nobody_else(void **state)
{
	const char *folder = getenv("DAXMR_TEST_FREEZE");
	struct stat st;
	pthread_t thread;
	int fs;

	(void)state;
	if (!folder)
		skip();
	fs = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fs >= 0);
	atomic_store(&is_done, false);
	assert_int_equal(ioctl(fs, FIFREEZE, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, truncate_it, NULL), 0);
	for (int i = 0; i < 20; i++) {
		int fd = open(own_path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || close(fd))
			break;
		own_wait_until_held();
	}
	assert_false(atomic_load(&is_done));
	assert_int_equal(ioctl(fs, FITHAW, 0), 0);
	own_wait_for(truncates, NULL, "it goes on");
	pthread_join(thread, NULL);
	assert_int_equal(result, 0);
	assert_int_equal(stat(own_path, &st), 0);
	assert_int_equal(st.st_size, PAGE);
	close(fs);
}

#define OWN_TEST(name)                                                         \
	cmocka_unit_test_setup_teardown(name, own_setup, own_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(acquire__long_one_holds_up_no_own_call),
		OWN_TEST(truncate__frozen_file_system_holds_up_nobody_else),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
