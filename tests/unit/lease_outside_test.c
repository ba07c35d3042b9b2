/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keepers from outside: what daxmr-keeper --listen promises of its socket, and
 * the engine of a program that names it. How programs end is in
 * lease_death_test.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "keeper_connect.h"
#include "lease.h"
#include "lease_file.h"
#include "lease_listener.h"
#include "reason.h"
#include "unit.h"

#define NOT_ALLOWED 77

static struct file file;
static struct listener listener;
static struct lease_engine *engine;
static atomic_int keepers, keeper_errors;

static void keeper_died(void *arg, int error)
{
	(void)arg;
	atomic_fetch_add(error ? &keeper_errors : &keepers, 1);
}

static int setup(void **state)
{
	struct lease_config config = {
		.keeper_path = "/nonexistent/keeper",
		.keeper_socket = listener.path,
		.observer.keeper_died = keeper_died,
	};

	(void)state;
	listener.path[0] = '\0';
	listener_start(&listener);
	file_make(&file, PAGE);
	atomic_store(&keepers, 0);
	atomic_store(&keeper_errors, 0);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static void end_listener(void)
{
	char text[4096];

	assert_int_equal(listener_end(&listener, SIGTERM, text, sizeof(text)),
			 0);
	assert_int_equal(access(listener.path, F_OK), -1);
	listener.pid = 0;
}

static int teardown(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	if (listener.pid)
		end_listener();
	file_remove(&file);
	return 0;
}

static int try_acquire(struct lease **ret)
{
	struct lease_want want = {
		.fd = file.fd,
		.type = F_WRLCK,
		.length = PAGE,
	};

	return lease_acquire(engine, &want, ret);
}

static struct lease *acquire(void)
{
	struct lease *lease = NULL;
	int r = try_acquire(&lease);

	if (r)
		fail_msg("%d: %s", r, reason_text());
	return lease;
}

static bool is_held(void *lease)
{
	return lease_state(lease) == RECALL_HELD;
}

static void check_goes_round(struct lease *lease)
{
	for (int i = 0; i < 2; i++) {
		wait_for(is_held, lease, "the lease is held");
		file_check_let_in(&file, O_RDWR);
	}
	wait_for(is_held, lease, "the lease is held again");
}

static void keeper__is_as_one_of_the_programs_own(void **state)
{
	unsigned int fds = listener_fds(&listener);
	struct lease *lease = acquire();
	pid_t keeper = file_lease_holder(&file);
	char path[64], text[64] = "";
	int fd;

	(void)state;
	check_goes_round(lease);
	assert_true(keeper > 0 && keeper != listener.pid);
	assert_int_equal(getsid(keeper), keeper);
	assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), 0); /* its own */
	snprintf(path, sizeof(path), "/proc/%d/environ", keeper);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), 0);
	close(fd);
	snprintf(path, sizeof(path), "/proc/%d/comm", keeper);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof(text)) > 0);
	close(fd);
	assert_int_equal(strcmp(text, "daxmr-keeper\n"), 0);
	/* the listener has kept nothing of it */
	assert_int_equal(listener_fds(&listener), fds);
	assert_int_equal(lease_release(lease, 0, PAGE, INT64_MAX), 0);
	wait_for(process_is_gone, &keeper, "the keeper ends with its last");
}

static void listener_ended__keepers_live_on(void **state)
{
	struct lease *lease = acquire(), *other = NULL;

	(void)state;
	end_listener();
	check_goes_round(lease);
	assert_int_equal(lease_release(lease, 0, PAGE, INT64_MAX), 0);
	assert_int_equal(try_acquire(&other), -ENOENT);
	assert_non_null(strstr(reason_text(), listener.path));
	assert_non_null(strstr(reason_text(), "daxmr-keeper --listen"));
	assert_int_equal(file_lease_holder(&file), 0);
}

static bool had_errors(void *arg)
{
	(void)arg;
	return atomic_load(&keeper_errors) > 2;
}

static bool had_keeper(void *arg)
{
	(void)arg;
	return atomic_load(&keepers) > 0;
}

static void keeper_killed__another_is_asked_for(void **state)
{
	struct lease *lease = acquire();
	pid_t keeper = file_lease_holder(&file);

	(void)state;
	kill(keeper, SIGKILL);
	file_check_let_in(&file, O_RDONLY);
	wait_for(had_keeper, NULL, "there is another");
	check_goes_round(lease);
	assert_int_not_equal(file_lease_holder(&file), keeper);

	/* while nobody listens, and when somebody does again */
	end_listener();
	atomic_store(&keepers, 0);
	kill(file_lease_holder(&file), SIGKILL);
	wait_for(had_errors, NULL, "it was told that there is no other");
	listener_start(&listener);
	wait_for(had_keeper, NULL, "there is another");
	check_goes_round(lease);
	assert_int_equal(lease_release(lease, 0, PAGE, INT64_MAX), 0);
}

/* A peer that has connected and says nothing yet. */
static int peer(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, listener.path);
	assert_true(fd >= 0);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* As nobody: what keeper_start() says, in the sentence. */
static int start_as(uid_t uid, const char *path)
{
	struct keeper own;

	if (uid && setresuid(uid, uid, uid))
		return NOT_ALLOWED;
	if (keeper_init(&own))
		return 1;
	own.listener = path;
	if (keeper_start(&own, "/nonexistent") != -EACCES)
		return 2;
	return strstr(reason_text(), "another user") ? 0 : 3;
}

static void check_child(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED) {
		print_message("not allowed to do that here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void user__another_gets_no_keeper(void **state)
{
	char text[4096];
	pid_t pid;

	(void)state;
	/* past what keeps them away first, and past the program's own look */
	assert_int_equal(chmod(listener.path, 0666), 0);
	pid = fork();
	if (!pid) {
		struct keeper_message message;
		int fd;

		if (geteuid() || setresuid(65534, 65534, 65534))
			_exit(NOT_ALLOWED);
		fd = peer();
		_exit(recv(fd, &message, sizeof(message), 0) !=
			      sizeof(message) ||
		      message.error != -EACCES);
	}
	check_child(pid);
	pid = fork();
	if (!pid)
		_exit(start_as(65534, listener.path));
	check_child(pid);
	listener_end(&listener, SIGTERM, text, sizeof(text));
	assert_non_null(strstr(text, "user 65534 is refused"));
	listener.pid = 0;
}

/* Its descriptors would be another's: root does not ask a user for a keeper. */
static void user__no_files_for_anothers_listener(void **state)
{
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		snprintf(address.sun_path, sizeof(address.sun_path), "%s-2",
			 listener.path);
		if (geteuid() ||
		    bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
		    setresuid(-1U, 65534, -1U))
			_exit(NOT_ALLOWED);
		listen(fd, 1);
		if (setresuid(-1U, 0, -1U))
			_exit(1);
		fd = start_as(0, address.sun_path);
		unlink(address.sun_path);
		_exit(fd);
	}
	check_child(pid);
}

/* Where the keeper cannot be seen it has no pid that could be another's. */
static void pid_namespace__keeper_outside_has_no_pid(void **state)
{
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		if (unshare(CLONE_NEWPID))
			_exit(NOT_ALLOWED);
		pid = fork();
		if (!pid) {
			struct keeper own;

			if (getpid() != 1 || keeper_init(&own))
				_exit(1);
			own.listener = listener.path;
			own.pid = 99;
			_exit(keeper_start(&own, "/nonexistent") || own.pid);
		}
		check_child(pid);
		_exit(0);
	}
	check_child(pid);
}

#define outside_test(name)                                                     \
	cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		outside_test(keeper__is_as_one_of_the_programs_own),
		outside_test(listener_ended__keepers_live_on),
		outside_test(keeper_killed__another_is_asked_for),
		outside_test(user__another_gets_no_keeper),
		outside_test(user__no_files_for_anothers_listener),
		outside_test(pid_namespace__keeper_outside_has_no_pid),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease outside", tests, NULL, NULL);
}
