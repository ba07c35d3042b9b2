/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One call on many leased files, and files of which the keeper alone has a
 * descriptor beside the program's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

#define FILES (2 * FILE_GUARD_MAX + 1)
#define MANY  40
#define LIMIT 48 /* descriptors: fewer than MANY for the engine */

static struct {
	char path[300];
	int fd;
	struct lease *lease;
	uint64_t reports;
} files[MANY];

static void lease_files(int count)
{
	for (int i = 0; i < count; i++) {
		struct lease_want want = {.type = F_WRLCK, .length = PAGE};

		snprintf(files[i].path, sizeof(files[i].path), "%s.%d",
			 own_path, i);
		files[i].fd = open(files[i].path,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		assert_true(files[i].fd >= 0);
		assert_int_equal(pwrite(files[i].fd, "x", 1, PAGE - 1), 1);
		want.fd = files[i].fd;
		assert_int_equal(
			own_engine->lease_acquire(&want, &files[i].lease), 0);
	}
}

static void release_files(int count)
{
	for (int i = 0; i < count; i++) {
		assert_int_equal(own_engine->lease_release(files[i].lease, 0,
							   PAGE, INT64_MAX),
				 0);
		if (files[i].fd >= 0)
			close(files[i].fd);
		assert_int_equal(unlink(files[i].path), 0);
	}
}

/* The keeper has seen all that was done to the file so far. */
static uint64_t reports_of(int i)
{
	struct file_guard guard;

	assert_true(own_engine->changing(&guard, files[i].fd));
	own_engine->end(&guard);
	return own_engine->lease_reports(files[i].lease);
}

static void expect_quiet(void)
{
	for (int i = 0; i < FILES; i++)
		files[i].reports = reports_of(i);
}

static void check_punched(int i)
{
	char byte;

	assert_int_equal(reports_of(i), files[i].reports);
	assert_int_equal(pread(files[i].fd, &byte, 1, PAGE - 1), 1);
	assert_int_equal(byte, 0);
	assert_int_equal(pwrite(files[i].fd, "x", 1, PAGE - 1), 1);
}

/* Side by side. */
static char *map_files(void)
{
	char *map = mmap(NULL, FILES * PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(map, MAP_FAILED);
	for (int i = 0; i < FILES; i++)
		assert_ptr_not_equal(
			mmap(map + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, files[i].fd, 0),
			MAP_FAILED);
	return map;
}

static void punch__each_of_many_files_is_announced(void **state)
{
	char *map;

	(void)state;
	lease_files(FILES);
	map = map_files();
	expect_quiet();
	errno = 77;
	assert_int_equal(madvise(map, FILES * PAGE, MADV_REMOVE), 0);
	assert_int_equal(errno, 77);
	for (int i = 0; i < FILES; i++)
		check_punched(i);
	munmap(map, FILES * PAGE);
	release_files(FILES);
}

/* As the kernel does it: the rest is punched all the same. */
static void punch__over_a_hole_says_so_in_the_end(void **state)
{
	char *map;

	(void)state;
	lease_files(FILES);
	map = map_files();
	assert_int_equal(munmap(map + PAGE, PAGE), 0);
	expect_quiet();
	assert_int_equal(madvise(map, FILES * PAGE, MADV_REMOVE), -1);
	assert_int_equal(errno, ENOMEM);
	for (int i = 0; i < FILES; i++)
		if (i != 1)
			check_punched(i);
	errno = 77;
	assert_int_equal(posix_madvise(map, FILES * PAGE, MADV_REMOVE), ENOMEM);
	munmap(map, FILES * PAGE);
	release_files(FILES);
}

/* Raw, in a child that has nothing of ours. */
static bool is_locked(const char *path)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);

		_exit(fd < 0 ? 2
			     : syscall(SYS_flock, fd, LOCK_EX | LOCK_NB) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status) == 1;
}

static void lock_files_above(int first)
{
	for (int i = 0; i < FILES; i++) {
		int fd = fcntl(files[i].fd, F_DUPFD_CLOEXEC, first);

		assert_true(fd >= first);
		assert_int_equal(flock(fd, LOCK_EX), 0);
		close(files[i].fd);
		files[i].fd = -1;
	}
	for (int i = 0; i < FILES; i++)
		assert_true(is_locked(files[i].path));
}

static void close__range_takes_the_locks_of_many_along(void **state)
{
	(void)state;
	lease_files(FILES);
	lock_files_above(500);
	assert_int_equal(close_range(500, ~0U, CLOSE_RANGE_CLOEXEC), 0);
	assert_true(is_locked(files[FILES - 1].path));
	assert_int_equal(close_range(500, ~0U, 0), 0);
	for (int i = 0; i < FILES; i++)
		assert_false(is_locked(files[i].path));
	release_files(FILES);
	lease_files(FILES);
	lock_files_above(500);
	closefrom(500);
	for (int i = 0; i < FILES; i++)
		assert_false(is_locked(files[i].path));
	assert_int_equal(fcntl(500, F_GETFD), -1);
	release_files(FILES);
}

static struct rlimit limit_before;

static void lease_more_than_the_engine_has(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit_before), 0);
	limit = limit_before;
	limit.rlim_cur = LIMIT;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* the program's own stay below the limit, too: all but the last */
	for (int i = 0; i < MANY; i++) {
		struct lease_want want = {.type = F_WRLCK, .length = PAGE};

		snprintf(files[i].path, sizeof(files[i].path), "%s.%d",
			 own_path, i);
		files[i].fd = open(files[i].path,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		assert_true(files[i].fd >= 0);
		assert_int_equal(ftruncate(files[i].fd, PAGE), 0);
		want.fd = files[i].fd;
		assert_int_equal(
			own_engine->lease_acquire(&want, &files[i].lease), 0);
		if (i == MANY - 1)
			break;
		close(files[i].fd);
		files[i].fd = -1;
	}
}

static void release_them(void)
{
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit_before), 0);
	release_files(MANY);
}

static void kept__locks_go_with_the_last_close(void **state)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int last = MANY - 1, copy;

	(void)state;
	lease_more_than_the_engine_has();
	assert_int_equal(flock(files[last].fd, LOCK_EX), 0);
	assert_int_equal(fcntl(files[last].fd, F_OFD_SETLK, &all), 0);
	copy = dup(files[last].fd);
	assert_int_equal(close(copy), 0);
	assert_true(is_locked(files[last].path));
	assert_int_equal(close(files[last].fd), 0);
	files[last].fd = -1;
	assert_false(is_locked(files[last].path));
	release_them();
}

static void kept__truncate_by_path(void **state)
{
	int last = MANY - 1;
	struct stat st;

	(void)state;
	lease_more_than_the_engine_has();
	files[last].reports = reports_of(last);
	assert_int_equal(truncate(files[last].path, 3 * PAGE), 0);
	assert_int_equal(reports_of(last), files[last].reports);
	/* with no descriptor: handed back for it, and taken again */
	assert_int_equal(close(files[last].fd), 0);
	files[last].fd = -1;
	assert_int_equal(truncate(files[last].path, 2 * PAGE), 0);
	assert_int_equal(stat(files[last].path, &st), 0);
	assert_int_equal(st.st_size, 2 * PAGE);
	release_them();
}

#define OWN_TEST(name)                                                         \
	cmocka_unit_test_setup_teardown(name, own_setup, own_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(punch__each_of_many_files_is_announced),
		OWN_TEST(punch__over_a_hole_says_so_in_the_end),
		OWN_TEST(close__range_takes_the_locks_of_many_along),
		OWN_TEST(kept__locks_go_with_the_last_close),
		OWN_TEST(kept__truncate_by_path),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
