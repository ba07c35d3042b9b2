/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "unit.h"

static int kept_stderr;

static void put_at_stderr(int fd)
{
	assert_true(fd >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
}

static int restore_stderr(void **state)
{
	(void)state;
	return dup2(kept_stderr, STDERR_FILENO) < 0;
}

/* Logs one line and returns how many bytes arrived in the file at 2. */
static off_t logged_to_file(int open_flags)
{
	char path[] = "/tmp/daxmr-log-XXXXXX";
	int fd = mkstemp(path);
	struct stat st;

	close(fd);
	put_at_stderr(open(path, open_flags));
	log_write_at(LOG_WARN, LOG_WARN, "a line");
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	unlink(path);
	return st.st_size;
}

static void log__redirected_to_a_file_is_written(void **state)
{
	(void)state;
	assert_true(logged_to_file(O_WRONLY) > 0);
	assert_true(logged_to_file(O_WRONLY | O_APPEND) > 0);
}

static void log__data_file_at_descriptor_2_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(logged_to_file(O_RDWR), 0);
	assert_int_equal(logged_to_file(O_RDONLY), 0);
}

static void log__internet_socket_at_descriptor_2_is_left_alone(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int a = socket(AF_INET, SOCK_DGRAM, 0),
	    b = socket(AF_INET, SOCK_DGRAM, 0);
	char byte;

	(void)state;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(a, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(a, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(b, (struct sockaddr *)&address, size), 0);
	put_at_stderr(b);
	log_write_at(LOG_WARN, LOG_WARN, "a line");
	assert_int_equal(recv(a, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	close(a);
}

static void log__closed_stderr_is_no_harm(void **state)
{
	(void)state;
	close(STDERR_FILENO);
	errno = ENOSPC;
	log_write_at(LOG_WARN, LOG_WARN, "a line");
	assert_int_equal(errno, ENOSPC);
}

static void log__reader_gone_raises_no_sigpipe(void **state)
{
	sigset_t pending;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	put_at_stderr(fds[1]);
	log_write_at(LOG_WARN, LOG_WARN, "a line"); /* SIGPIPE would kill us */
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

static void log__full_file_raises_no_sigxfsz(void **state)
{
	struct rlimit before, none;
	sigset_t pending;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(logged_to_file(O_WRONLY), 0); /* would kill us */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGXFSZ), 0);
}

static void log__lines_are_whole_and_one(void **state)
{
	char buffer[4096], text[3000];
	int fds[2];
	ssize_t n;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(pipe(fds), 0);
	put_at_stderr(fds[1]);
	log_write_at(LOG_INFO, LOG_DEBUG, "not this");
	log_write_at(LOG_INFO, LOG_INFO, "%s", text);
	n = read(fds[0], buffer, sizeof(buffer));
	assert_true(n > 0 && n < 1300);
	assert_int_equal(buffer[n - 1], '\n');
	assert_ptr_equal(memchr(buffer, '\n', (size_t)n), buffer + n - 1);
	assert_memory_equal(buffer, "daxmr[", 6);
	close(fds[0]);
}

static void log__full_pipe_is_not_waited_for(void **state)
{
	static char room[1 << 20];
	sigset_t pending;
	ssize_t n;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	while (write(fds[1], room, 4096) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	/* the program's own writes wait */
	assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
	put_at_stderr(fds[1]);
	errno = ENOSPC;
	log_try_write(LOG_ERROR, "a line that there is no room for");
	assert_int_equal(errno, ENOSPC);
	while (read(fds[0], room, sizeof(room)) > 0)
		;
	log_try_write(LOG_ERROR, "the first");
	log_try_write(LOG_ERROR, "and the second");
	n = read(fds[0], room, sizeof(room) - 1);
	assert_true(n > 0);
	room[n] = '\0';
	assert_non_null(strstr(room, " error: the first\n"));
	assert_non_null(strstr(room, " error: and the second\n"));
	assert_null(strstr(room, "no room"));
	close(fds[0]);
	log_try_write(LOG_ERROR, "what nobody reads"); /* no SIGPIPE */
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

static void log__full_socket_is_not_waited_for(void **state)
{
	static char room[1 << 20];
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	while (send(fds[1], room, 4096, MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	put_at_stderr(fds[1]);
	log_try_write(LOG_ERROR, "a line that there is no room for");
	while (recv(fds[0], room, sizeof(room), MSG_DONTWAIT) > 0)
		;
	log_try_write(LOG_ERROR, "a line");
	assert_true(recv(fds[0], room, sizeof(room), MSG_DONTWAIT) > 0);
	assert_non_null(strstr(room, " error: a line\n"));
	close(fds[0]);
}

static void sentence__is_kept_until_cleared(void **state)
{
	(void)state;
	assert_string_equal(log_last_sentence(), "");
	errno = EFAULT;
	log_sentence(LOG_DEBUG, "%s is %d", "it", 7);
	assert_int_equal(errno, EFAULT);
	assert_string_equal(log_last_sentence(), "it is 7");
	log_clear_sentence();
	assert_string_equal(log_last_sentence(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(log__redirected_to_a_file_is_written,
					  restore_stderr),
		cmocka_unit_test_teardown(
			log__data_file_at_descriptor_2_is_left_alone,
			restore_stderr),
		cmocka_unit_test_teardown(
			log__internet_socket_at_descriptor_2_is_left_alone,
			restore_stderr),
		cmocka_unit_test_teardown(log__closed_stderr_is_no_harm,
					  restore_stderr),
		cmocka_unit_test_teardown(log__reader_gone_raises_no_sigpipe,
					  restore_stderr),
		cmocka_unit_test_teardown(log__full_file_raises_no_sigxfsz,
					  restore_stderr),
		cmocka_unit_test_teardown(log__lines_are_whole_and_one,
					  restore_stderr),
		cmocka_unit_test_teardown(log__full_pipe_is_not_waited_for,
					  restore_stderr),
		cmocka_unit_test_teardown(log__full_socket_is_not_waited_for,
					  restore_stderr),
		cmocka_unit_test(sentence__is_kept_until_cleared),
	};

	kept_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
