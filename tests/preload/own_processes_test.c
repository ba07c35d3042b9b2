/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that leases a file and is replaced by exec(), and a forked child
 * that leases one for itself. Built as distributions build (-O2,
 * _FORTIFY_SOURCE, 64-bit offsets by macro): other functions are called then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

static char path[300];
static int fd;
static struct lease *lease;

/* Not known to the compiler, so that it calls __open64_2() and the like. */
static int flags_of(const char *text)
{
	return (int)strtol(text, NULL, 0) | O_CLOEXEC;
}

/* For children: no assertion, which would run the parent's teardown. */
static bool lease_a_file(void)
{
	struct lease_want want = {.type = F_WRLCK, .length = PAGE};

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, PAGE))
		return false;
	want.fd = fd;
	return !own_engine->lease_acquire(&want, &lease);
}

static void fortified__opens_are_let_in(void **state)
{
	const int rdwr = flags_of("2");
	double start = own_now();
	int opened[4];

	(void)state;
	for (int i = 0; i < 3; i++) {
		opened[0] = open(own_path, rdwr);
		opened[1] = openat(AT_FDCWD, own_path, rdwr);
		opened[2] = open64(own_path, rdwr);
		opened[3] = openat64(AT_FDCWD, own_path, rdwr);
		for (int n = 0; n < 4; n++) {
			assert_true(opened[n] >= 0);
			assert_int_equal(close(opened[n]), 0);
		}
		own_wait_until_held();
	}
	assert_true(own_now() - start < 5);
	own_expect_quiet();
	assert_int_equal(ftruncate(own_fd, FILE_SIZE + PAGE), 0);
	assert_int_equal(truncate(own_path, FILE_SIZE), 0);
	assert_int_equal(fallocate(own_fd, 0, 0, FILE_SIZE), 0);
	own_check_quiet();
}

static int use_a_lease_of_its_own(void)
{
	struct file_guard guard;
	uint64_t reports;
	int other;

	if (*own_engine->leased_files || !lease_a_file())
		return 1;
	if (*own_engine->leased_files != 1)
		return 2;
	other = open(path, flags_of("2"));
	if (other < 0 || close(other))
		return 3;
	for (double end = own_now() + WAIT_SEC;
	     own_engine->lease_state(lease) != RECALL_HELD;)
		if (own_now() > end)
			return 4;
	reports = own_engine->lease_reports(lease);
	if (ftruncate(fd, 2 * PAGE) || truncate(path, PAGE))
		return 5;
	if (!own_engine->changing(&guard, fd))
		return 6;
	own_engine->end(&guard);
	if (own_engine->lease_reports(lease) != reports)
		return 7;
	/* what its parent has leased is somebody else's */
	other = open(own_path, flags_of("2"));
	if (other < 0 || ftruncate(other, FILE_SIZE) || close(other))
		return 8;
	if (own_engine->lease_release(lease, 0, PAGE, INT64_MAX))
		return 9;
	return *own_engine->leased_files ? 10 : 0;
}

static void child__leases_a_file_of_its_own(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s.child", own_path);
	pid = fork();
	if (!pid)
		_exit(use_a_lease_of_its_own());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	own_wait_until_held();
	assert_int_equal(unlink(path), 0);
}

static bool is_unleased(void *arg)
{
	long other =
		syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_NONBLOCK, 0);

	(void)arg;
	if (other >= 0)
		syscall(SYS_close, other);
	return other >= 0;
}

/* What exec() makes of it runs on, and knows nothing of a lease. */
static void exec__gives_the_lease_back(void **state)
{
	int to[2], from[2], status;
	char text[8] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	snprintf(path, sizeof(path), "%s.child", own_path);
	pid = fork();
	if (!pid) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		if (!lease_a_file() || fcntl(fd, F_SETFD, 0))
			_exit(1);
		/* it has the file open, too */
		execl("/bin/sh", "sh", "-c", "echo begun; read -r line",
		      (char *)NULL);
		_exit(2);
	}
	close(to[0]);
	close(from[1]);
	assert_int_equal(read(from[0], text, 6), 6);
	assert_string_equal(text, "begun\n");
	own_wait_for(is_unleased, NULL, "the file is given back");
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	close(to[1]);
	close(from[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(unlink(path), 0);
}

#define OWN_TEST(name)                                                         \
	cmocka_unit_test_setup_teardown(name, own_setup, own_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(fortified__opens_are_let_in),
		OWN_TEST(child__leases_a_file_of_its_own),
		OWN_TEST(exec__gives_the_lease_back),
	};
	int r = own_cannot_lease();

	/* glibc's, of -D_FORTIFY_SOURCE and -O: without it nothing is proved */
	if (__USE_FORTIFY_LEVEL < 2)
		return 1;
	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
