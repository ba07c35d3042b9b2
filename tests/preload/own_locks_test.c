/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors, mappings and locks of a leased file: what the program closes
 * takes its locks along as if nobody else had the description, and what the
 * preload passes on touches no lease.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

/* Is there a lock that keeps another process from an exclusive one? */
static bool is_locked(int command)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int fd =
			(int)syscall(SYS_openat, AT_FDCWD, own_path, O_RDWR, 0);
		long r = command ? syscall(SYS_fcntl, fd, command, &all)
				 : syscall(SYS_flock, fd, LOCK_EX | LOCK_NB);

		_exit(fd < 0 ? 2 : r ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status) == 1;
}

static bool is_unlocked(void *arg)
{
	(void)arg;
	return !is_locked(0);
}

static void take_flock(void)
{
	assert_int_equal(flock(own_fd, LOCK_EX), 0);
	assert_true(is_locked(0));
}

static void close__last_takes_the_flock_along(void **state)
{
	(void)state;
	take_flock();
	errno = 77;
	assert_int_equal(close(own_fd), 0);
	assert_int_equal(errno, 77);
	own_fd = -1;
	assert_false(is_locked(0));
}

static void close__last_takes_the_ofd_lock_along(void **state)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	(void)state;
	assert_int_equal(fcntl(own_fd, F_OFD_SETLK, &all), 0);
	assert_true(is_locked(F_OFD_SETLK));
	assert_int_equal(close(own_fd), 0);
	own_fd = -1;
	assert_false(is_locked(F_OFD_SETLK));
}

static void close__another_descriptor_keeps_it(void **state)
{
	int fd = dup(own_fd);

	(void)state;
	take_flock();
	assert_int_equal(close(own_fd), 0);
	assert_true(is_locked(0));
	own_fd = fd;
	assert_int_equal(dup2(STDIN_FILENO, fd), fd);
	assert_false(is_locked(0));
}

static void close__range_takes_it_along(void **state)
{
	(void)state;
	take_flock();
	own_fd = fcntl(own_fd, F_DUPFD, 300);
	assert_int_equal(own_fd, 300);
	assert_int_equal(close_range(3, 299, 0), 0);
	assert_true(is_locked(0));
	assert_int_equal(close_range(300, 300, CLOSE_RANGE_CLOEXEC), 0);
	assert_true(is_locked(0));
	assert_int_equal(close_range(300, ~0U, 0), 0);
	own_fd = -1;
	assert_false(is_locked(0));
}

static void close__from_and_dup3_take_it_along(void **state)
{
	int fd;

	(void)state;
	take_flock();
	fd = fcntl(own_fd, F_DUPFD, 300);
	assert_int_equal(fd, 300);
	assert_int_equal(dup3(STDIN_FILENO, own_fd, O_CLOEXEC), own_fd);
	assert_true(is_locked(0));
	closefrom(300);
	assert_false(is_locked(0));
}

static void close__mapping_keeps_it_until_it_goes(void **state)
{
	char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, own_fd, 0);
	double start;

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	take_flock();
	assert_int_equal(close(own_fd), 0);
	own_fd = -1;
	assert_true(is_locked(0));
	assert_int_equal(munmap(map, PAGE), 0);
	start = own_now();
	own_wait_for(is_unlocked, NULL, "the lock went with the mapping");
	print_message("flock gone %.0f ms after the last munmap()\n",
		      (own_now() - start) * 1000);
}

static void close__child_keeps_it_until_it_ends(void **state)
{
	int end[2];
	pid_t pid;
	char byte;

	(void)state;
	assert_int_equal(pipe(end), 0);
	take_flock();
	pid = fork();
	if (!pid) {
		syscall(SYS_close, end[1]);
		_exit(read(end[0], &byte, 1) != 0);
	}
	assert_int_equal(close(own_fd), 0);
	own_fd = -1;
	assert_true(is_locked(0));
	close(end[0]);
	close(end[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	own_wait_for(is_unlocked, NULL, "the lock went with the child");
}

/* POSIX locks go with any close, and not with those of ours. */
static void close__posix_locks_are_as_ever(void **state)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd;

	(void)state;
	assert_int_equal(fcntl(own_fd, F_SETLK, &all), 0);
	own_check_let_in();
	assert_true(is_locked(F_SETLK));
	fd = dup(own_fd);
	assert_int_equal(close(fd), 0);
	assert_false(is_locked(F_SETLK));
}

static atomic_bool is_over;
static atomic_int failures, rounds;

/* What hooks.def says is passed on, over and over. */
static void *pass_on(void *arg)
{
	(void)arg;
	while (!atomic_load(&is_over)) {
		int fd = dup(own_fd),
		    copy = fcntl(own_fd, F_DUPFD_CLOEXEC, 100);
		char *map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED, own_fd, 0);
		bool is_right = map != MAP_FAILED && fd >= 0 && copy >= 0;

		is_right = is_right && !mprotect(map, PAGE, PROT_READ) &&
			   !madvise(map, PAGE, MADV_DONTNEED) &&
			   !mprotect(map, PAGE, PROT_READ | PROT_WRITE);
		map = mremap(map, 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE);
		is_right = is_right && map != MAP_FAILED &&
			   dup2(own_fd, fd) == fd && !close(fd) &&
			   !close_range((unsigned int)copy, (unsigned int)copy,
					0) &&
			   !munmap(map, 2 * PAGE);
		if (!is_right)
			atomic_fetch_add(&failures, 1);
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

static bool many_rounds(void *arg)
{
	(void)arg;
	return atomic_load(&rounds) >= 2000;
}

static void passed_on__nothing_touches_lease_or_locks(void **state)
{
	pthread_t threads[4];

	(void)state;
	atomic_store(&is_over, false);
	assert_int_equal(flock(own_fd, LOCK_SH), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, pass_on, NULL), 0);
	own_expect_quiet();
	atomic_store(&rounds, 0);
	own_wait_for(many_rounds, NULL, "2000 rounds of it");
	own_check_quiet();
	/* and breaks are served */
	for (int i = 0; i < 5; i++)
		own_check_let_in();
	assert_true(is_locked(0));
	own_wait_until_held();
	atomic_store(&is_over, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&failures), 0);
	assert_int_equal(flock(own_fd, LOCK_UN), 0);
}

/* The lease belongs to the file, not to its name. */
static void passed_on__rename_and_unlink(void **state)
{
	char path[300];

	(void)state;
	snprintf(path, sizeof(path), "%s.moved", own_path);
	own_expect_quiet();
	assert_int_equal(rename(own_path, path), 0);
	assert_int_equal(link(path, own_path), 0);
	assert_int_equal(unlink(path), 0);
	own_check_quiet();
	own_check_let_in();
}

#define OWN_TEST(name)                                                         \
	cmocka_unit_test_setup_teardown(name, own_setup, own_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(close__last_takes_the_flock_along),
		OWN_TEST(close__last_takes_the_ofd_lock_along),
		OWN_TEST(close__another_descriptor_keeps_it),
		OWN_TEST(close__range_takes_it_along),
		OWN_TEST(close__from_and_dup3_take_it_along),
		OWN_TEST(close__mapping_keeps_it_until_it_goes),
		OWN_TEST(close__child_keeps_it_until_it_ends),
		OWN_TEST(close__posix_locks_are_as_ever),
		OWN_TEST(passed_on__nothing_touches_lease_or_locks),
		OWN_TEST(passed_on__rename_and_unlink),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
