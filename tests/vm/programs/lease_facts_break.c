/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What breaks a lease, and what does not: break_lease() is called by
 * do_dentry_open() in fs/open.c and by vfs_truncate(). What changes names and
 * attributes asks for delegations only.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_facts.h"

static void waits_for_the_holder(struct facts *f, act_fn act, long argument,
				 const char *line)
{
	holder_lease(f);
	outsider_ask(&f->one, act, f->file, argument);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_string_equal(lease_line(f->fd), line);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_false(signal_pending(LEASE_SIGNAL));
}

static void break__open_for_reading_waits_for_the_holder(void **state)
{
	waits_for_the_holder(*state, act_open, O_RDONLY, "BREAKING READ");
}

static void break__open_for_writing_waits_for_the_holder(void **state)
{
	waits_for_the_holder(*state, act_open, O_WRONLY, "BREAKING UNLCK");
}

static void break__open_with_o_trunc_waits_and_truncates_after_it(void **state)
{
	struct facts *f = *state;
	struct stat st;

	holder_lease(f);
	outsider_ask(&f->one, act_open, f->file, O_WRONLY | O_TRUNC);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, FILE_SIZE);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void break__truncate_by_path_waits_for_the_holder(void **state)
{
	waits_for_the_holder(*state, act_truncate, 4096, "BREAKING UNLCK");
}

/* By a hard link or any other way to the inode. */
static void break__open_by_another_name_waits_for_the_holder(void **state)
{
	struct facts *f = *state;
	char other[200];

	make_path(other, sizeof(other), "%s.link", f->file);
	unlink(other);
	assert_int_equal(link(f->file, other), 0);
	holder_lease(f);
	outsider_ask(&f->one, act_open, other, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	unlink(other);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

struct own_call {
	const char *path;
	int (*call)(const char *path);
	int result;
};

static int call_open(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC) < 0 ? -errno : 0;
}

static int call_truncate(const char *path)
{
	return truncate(path, 4096) < 0 ? -errno : 0;
}

static void *make_call(void *arg)
{
	struct own_call *own = arg;

	own->result = own->call(own->path);
	return NULL;
}

static void own_call_waits(struct facts *f, int (*call)(const char *path))
{
	struct own_call own = {f->file, call, 1};
	pthread_t thread;

	holder_lease(f);
	assert_int_equal(pthread_create(&thread, NULL, make_call, &own), 0);
	break_expected(f->fd);
	process_waits_for_lease(getpid());
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	pthread_join(thread, NULL);
	assert_int_equal(own.result, 0);
}

static void break__own_second_open_waits_too(void **state)
{
	own_call_waits(*state, call_open);
}

static void break__own_truncate_by_path_waits_too(void **state)
{
	own_call_waits(*state, call_truncate);
}

static void break__nonblocking_open_is_eagain_and_breaks(void **state)
{
	static const int modes[] = {O_RDONLY, O_WRONLY};
	struct facts *f = *state;
	size_t i;

	for (i = 0; i < 2; i++) {
		holder_lease(f);
		assert_int_equal(outsider_do(&f->one, act_open, f->file,
					     modes[i] | O_NONBLOCK),
				 -EAGAIN);
		break_expected(f->fd);
		assert_string_equal(lease_line(f->fd), modes[i] == O_RDONLY
							       ? "BREAKING READ"
							       : "BREAKING "
								 "UNLCK");
		/* As long as it is not answered, the next one fails too. */
		assert_int_equal(outsider_do(&f->one, act_open, f->file,
					     modes[i] | O_NONBLOCK),
				 -EAGAIN);
		assert_false(signal_pending(LEASE_SIGNAL));
		assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
		assert_int_equal(outsider_do(&f->one, act_open, f->file,
					     modes[i] | O_NONBLOCK),
				 0);
		outsider_do(&f->one, act_close, "", 0);
		close(f->fd);
	}
}

static long act_run_truncate(const char *path, long unused)
{
	char file[256];
	char *const argv[] = {(char *)"truncate", (char *)"-s", (char *)"4096",
			      file, NULL};
	char *const envp[] = {(char *)"PATH=/usr/bin:/bin", NULL};
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	(void)unused;
	make_path(file, sizeof(file), "%s", path);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, "truncate", &actions, NULL, argv, envp) != 0 ||
	    waitpid(pid, &status, 0) != pid)
		return -ECANCELED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static void break__coreutils_truncate_fails_once(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	assert_int_equal(outsider_do(&f->one, act_run_truncate, f->file, 0), 1);
	break_expected(f->fd);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_do(&f->one, act_run_truncate, f->file, 0), 0);
}

static void break__ones_own_ftruncate_and_fallocate_do_not(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	holder_map(f);
	assert_int_equal(ftruncate(f->fd, 4096), 0);
	assert_int_equal(ftruncate(f->fd, FILE_SIZE), 0);
	assert_int_equal(fallocate(f->fd, 0, 0, 2 * FILE_SIZE), 0);
	assert_int_equal(fallocate(f->fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   0, 4096),
			 0);
	assert_int_equal(pwrite(f->fd, "x", 1, 0), 1);
	f->map[0] = 1;
	no_break_expected(f->fd);
}

static long act_change_given(const char *path, long unused)
{
	(void)path;
	(void)unused;
	if (ftruncate(outsider_given, 4096) < 0 ||
	    fallocate(outsider_given, 0, 0, FILE_SIZE) < 0 ||
	    pwrite(outsider_given, "x", 1, 0) != 1)
		return -errno;
	return 0;
}

static void break__who_got_the_fd_over_a_socket_does_not(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	outsider_ask_fd(&f->one, act_change_given, "", 0, f->fd);
	assert_int_equal(outsider_answer(&f->one), 0);
	no_break_expected(f->fd);
}

static void break__forked_child_does_not(void **state)
{
	struct facts *f = *state;
	int status;
	pid_t pid;

	holder_lease(f);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0)
		_exit(ftruncate(f->fd, 4096) < 0 ||
		      fallocate(f->fd, 0, 0, FILE_SIZE) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	no_break_expected(f->fd);
}

static long act_names_and_attributes(const char *path, long unused)
{
	const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
	char other[256];
	struct stat st;

	(void)unused;
	make_path(other, sizeof(other), "%s.other", path);
	if (stat(path, &st) < 0 || access(path, W_OK) < 0 ||
	    chmod(path, 0600) < 0 || chown(path, 0, 0) < 0 ||
	    utimensat(AT_FDCWD, path, now, 0) < 0 || link(path, other) < 0 ||
	    unlink(other) < 0 || rename(path, other) < 0)
		return -errno;
	outsider_fd = open(other, O_PATH | O_CLOEXEC);
	if (outsider_fd < 0 || fstat(outsider_fd, &st) < 0)
		return -errno;
	return unlink(other) < 0 ? -errno : 0;
}

static void break__names_and_attributes_do_not(void **state)
{
	struct facts *f = *state;
	struct stat st;

	holder_lease(f);
	assert_int_equal(
		outsider_do(&f->one, act_names_and_attributes, f->file, 0), 0);
	no_break_expected(f->fd);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
}

int break_tests(void)
{
	const struct CMUnitTest breaks[] = {
		FACT(break__open_for_reading_waits_for_the_holder),
		FACT(break__open_for_writing_waits_for_the_holder),
		FACT(break__open_with_o_trunc_waits_and_truncates_after_it),
		FACT(break__truncate_by_path_waits_for_the_holder),
		FACT(break__open_by_another_name_waits_for_the_holder),
		FACT(break__own_second_open_waits_too),
		FACT(break__own_truncate_by_path_waits_too),
		FACT(break__nonblocking_open_is_eagain_and_breaks),
		FACT(break__coreutils_truncate_fails_once),
		FACT(break__ones_own_ftruncate_and_fallocate_do_not),
		FACT(break__who_got_the_fd_over_a_socket_does_not),
		FACT(break__forked_child_does_not),
		FACT(break__names_and_attributes_do_not),
	};

	return cmocka_run_group_tests(breaks, NULL, NULL);
}
