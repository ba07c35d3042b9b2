/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr-keeper --listen: its socket, and peers that are not as they should be.
 * Each time a program gets its keeper all the same.
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
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "keeper_connect.h"
#include "lease.h"
#include "lease_file.h"
#include "lease_listener.h"
#include "reason.h"
#include "unit.h"

static struct listener listener;

static int setup(void **state)
{
	(void)state;
	listener.path[0] = '\0';
	listener_start(&listener);
	return 0;
}

static int teardown(void **state)
{
	char text[4096];

	(void)state;
	assert_int_equal(listener_end(&listener, SIGTERM, text, sizeof(text)),
			 0);
	assert_int_equal(access(listener.path, F_OK), -1);
	return 0;
}

static int start_keeper(void)
{
	struct keeper keeper;
	pid_t pid;
	int r;

	assert_int_equal(keeper_init(&keeper), 0);
	keeper.listener = listener.path;
	r = keeper_start(&keeper, "/nonexistent/keeper");
	pid = keeper.pid;
	keeper_done(&keeper);
	if (!r)
		wait_for(process_is_gone, &pid, "the keeper ends");
	return r;
}

static char *const *listen_arguments(const char *path)
{
	static char *arguments[4];

	arguments[0] = (char *)"daxmr-keeper";
	arguments[1] = (char *)"--listen";
	arguments[2] = (char *)path;
	return arguments;
}

static void socket__is_for_one_user_and_one_listener(void **state)
{
	char text[1024], command[256];
	struct stat st;

	(void)state;
	assert_int_equal(stat(listener.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(keeper_command_run(listen_arguments(listener.path),
					    text, sizeof(text)),
			 1);
	assert_non_null(strstr(text, "in use"));
	snprintf(command, sizeof(command), "%s.lock", listener.path);
	assert_int_equal(access(command, F_OK), -1);
	assert_int_equal(start_keeper(), 0);
}

static void socket__of_a_dead_listener_is_replaced(void **state)
{
	char text[1024];

	(void)state;
	listener_end(&listener, SIGKILL, text, sizeof(text));
	assert_int_equal(access(listener.path, F_OK), 0);
	assert_int_equal(start_keeper(), -ECONNREFUSED);
	assert_non_null(strstr(reason_text(), listener.path));
	listener_start(&listener);
	assert_int_equal(start_keeper(), 0);
}

static void socket__other_things_are_left_alone(void **state)
{
	struct file file = {0};
	char text[1024];
	struct stat st;

	(void)state;
	file_make(&file, PAGE);
	assert_int_equal(keeper_command_run(listen_arguments(file.path), text,
					    sizeof(text)),
			 1);
	assert_non_null(strstr(text, file.path));
	assert_int_equal(stat(file.path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	file_remove(&file);
	memset(text, 'x', 200);
	text[200] = '\0';
	assert_int_equal(keeper_command_run(listen_arguments(strdupa(text)),
					    text, sizeof(text)),
			 1);
	assert_non_null(strstr(text, "107 bytes"));
}

static void say(int fd, const void *text, size_t size, const int *fds,
		size_t count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(16 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)text, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	}
	assert_true(sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0);
}

/* Refused, with an errno, and the end. */
static void check_refused(int fd)
{
	struct keeper_message message;

	assert_int_equal(recv(fd, &message, sizeof(message), 0),
			 sizeof(message));
	assert_int_equal(message.kind, KEEPER_READY);
	assert_int_equal(message.error, -EPROTO);
	assert_int_equal(recv(fd, &message, sizeof(message), 0), 0);
	close(fd);
}

static void peers__nonsense_is_refused(void **state)
{
	struct keeper_message hello = {KEEPER_VERSION, .kind = KEEPER_HELLO};
	struct keeper_message other = {KEEPER_VERSION + 1,
				       .kind = KEEPER_HELLO};
	struct keeper_message wrong = {KEEPER_VERSION, .kind = KEEPER_RELEASE};
	unsigned int before = listener_fds(&listener);
	int board = memfd_create("daxmr-test", MFD_CLOEXEC), fds[12];
	const struct {
		const void *text;
		size_t size, count;
	} cases[] = {
		{"x", 1, 0},
		{"x", 1, 2},
		{&hello, sizeof(hello), 0},
		{&hello, sizeof(hello), 1},
		{&hello, sizeof(hello), 3},
		{&hello, sizeof(hello), 12},
		{&hello, sizeof(hello) - 1, 2},
		{&other, sizeof(other), 2},
		{&wrong, sizeof(wrong), 2},
	};

	(void)state;
	assert_int_equal(ftruncate(board, BOARD_SIZE), 0);
	for (size_t i = 0; i < 12; i++)
		fds[i] = board;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = listener_peer(&listener);

		say(fd, cases[i].text, cases[i].size, fds, cases[i].count);
		check_refused(fd);
	}
	/* a board of another size would kill the keeper later */
	assert_int_equal(ftruncate(board, 4096), 0);
	fds[2] = listener_peer(&listener);
	say(fds[2], &hello, sizeof(hello), fds, 2);
	check_refused(fds[2]);
	close(board);
	close(listener_peer(&listener));
	assert_int_equal(start_keeper(), 0);
	/* all that they left is closed */
	assert_int_equal(listener_fds(&listener), before);
}

static void peers__that_are_silent_hold_up_nobody(void **state)
{
	struct keeper_message message;
	double start;
	int fds[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		fds[i] = listener_peer(&listener);
	start = now_sec();
	assert_int_equal(start_keeper(), 0);
	assert_true(now_sec() - start < 2);
	/* the oldest had to go, the last one's time is over some day */
	assert_int_equal(recv(fds[0], &message, sizeof(message), 0), 0);
	assert_int_equal(recv(fds[99], &message, sizeof(message), 0),
			 sizeof(message));
	assert_int_equal(message.error, -ETIMEDOUT);
	assert_true(now_sec() - start > 3);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
}

static void listener_that_is_stopped__is_not_waited_for_long(void **state)
{
	int board = memfd_create("daxmr-test", MFD_CLOEXEC);
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	double start = now_sec();
	pid_t pid;

	(void)state;
	assert_int_equal(ftruncate(board, BOARD_SIZE), 0);
	kill(listener.pid, SIGSTOP);
	assert_int_equal(keeper_connect(listener.path, pidfd, board, 200, &pid),
			 -ETIMEDOUT);
	assert_true(now_sec() - start < 5);
	assert_non_null(strstr(reason_text(), listener.path));
	kill(listener.pid, SIGCONT);
	close(board);
	close(pidfd);
}

static void command__what_it_takes(void **state)
{
	char *const help[] = {(char *)"daxmr-keeper", (char *)"--help", NULL};
	char *const version[] = {(char *)"daxmr-keeper", (char *)"--version",
				 NULL};
	char *const none[] = {(char *)"daxmr-keeper", NULL};
	char *const word[] = {(char *)"daxmr-keeper", (char *)"word", NULL};
	char *const option[] = {(char *)"daxmr-keeper", (char *)"--word", NULL};
	char text[4096];

	(void)state;
	assert_int_equal(keeper_command_run(help, text, sizeof(text)), 0);
	assert_non_null(strstr(text, "--listen=PATH"));
	assert_int_equal(keeper_command_run(version, text, sizeof(text)), 0);
	assert_ptr_equal(strstr(text, "daxmr-keeper "), text);
	assert_int_equal(keeper_command_run(none, text, sizeof(text)), 2);
	assert_non_null(strstr(text, "--listen"));
	assert_int_equal(keeper_command_run(word, text, sizeof(text)), 2);
	assert_non_null(strstr(text, "'word'"));
	assert_int_equal(keeper_command_run(option, text, sizeof(text)), 2);
	assert_non_null(strstr(text, "--help"));
}

#define listen_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		listen_test(socket__is_for_one_user_and_one_listener),
		listen_test(socket__of_a_dead_listener_is_replaced),
		listen_test(socket__other_things_are_left_alone),
		listen_test(peers__nonsense_is_refused),
		listen_test(peers__that_are_silent_hold_up_nobody),
		listen_test(listener_that_is_stopped__is_not_waited_for_long),
		cmocka_unit_test(command__what_it_takes),
	};

	return cmocka_run_group_tests_name("lease listen", tests, NULL, NULL);
}
