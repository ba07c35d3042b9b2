/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls on a leased file from many threads, signal handlers, threads that are
 * cancelled, and children: none hangs, none fails, and in the end the lease is
 * held.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alarm_soon.h"
#include "own_lease.h"
#include "unit.h"

#define THREADS 8
#define ROUNDS	40
#define HANDLED 100

/* What went wrong first, in any thread: a line number and an errno. */
static atomic_int failed_line;
static atomic_int failed_errno;

#define NEED(condition)                                                        \
	do {                                                                   \
		int expected_ = 0;                                             \
		if (!(condition) &&                                            \
		    atomic_compare_exchange_strong(&failed_line, &expected_,   \
						   __LINE__))                  \
			atomic_store(&failed_errno, errno);                    \
	} while (0)

static void check_nothing_failed(void)
{
	int line = atomic_exchange(&failed_line, 0);

	if (line)
		fail_msg("line %d: %s", line,
			 strerrordesc_np(atomic_load(&failed_errno)));
}

static void *do_all(void *arg)
{
	char *map = arg;

	for (int i = 0; i < ROUNDS; i++) {
		int fd = open(own_path, O_RDWR | O_CLOEXEC);

		NEED(fd >= 0);
		NEED(ftruncate(own_fd, FILE_SIZE) == 0);
		NEED(fallocate(own_fd, 0, 0, FILE_SIZE) == 0);
		NEED(close(fd) == 0);
		NEED(truncate(own_path, FILE_SIZE + PAGE * (1 + i % 3)) == 0);
		NEED(posix_fallocate(own_fd, 0, PAGE) == 0);
		NEED(madvise(map, PAGE, MADV_REMOVE) == 0);
		fd = openat(AT_FDCWD, own_path, O_RDONLY | O_CLOEXEC);
		NEED(fd >= 0);
		NEED(close(fd) == 0);
	}
	return NULL;
}

static char *map_file(void)
{
	char *map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 own_fd, 0);

	assert_ptr_not_equal(map, MAP_FAILED);
	return map;
}

static void threads__all_calls_at_once(void **state)
{
	pthread_t threads[THREADS];
	char *map = map_file();

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, do_all, map),
				 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_nothing_failed();
	munmap(map, FILE_SIZE);
}

/* Without waiting, but for our own threads, who may have it leased meanwhile.
 */
static void *open_without_waiting(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		int fd = open(own_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

		NEED(fd >= 0);
		NEED(close(fd) == 0);
	}
	return NULL;
}

static void threads__nonblocking_opens_at_once(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						open_without_waiting, NULL),
				 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_nothing_failed();
}

static atomic_int handled;

static void open_in_handler(int signal)
{
	int saved_errno = errno, fd;

	(void)signal;
	fd = open(own_path, O_RDWR | O_CLOEXEC);
	NEED(fd >= 0);
	NEED(ftruncate(fd, FILE_SIZE) == 0);
	NEED(close(fd) == 0);
	if (atomic_fetch_add(&handled, 1) + 1 < HANDLED)
		NEED(alarm_soon(700) == 0);
	errno = saved_errno;
}

static bool enough_handled(void *arg)
{
	int fd = open(own_path, O_RDWR | O_CLOEXEC);

	(void)arg;
	NEED(fd >= 0);
	NEED(ftruncate(own_fd, FILE_SIZE) == 0);
	NEED(close(fd) == 0);
	return atomic_load(&handled) >= HANDLED;
}

static void signals__handlers_call_what_they_interrupt(void **state)
{
	struct sigaction before, action = {.sa_handler = open_in_handler,
					   .sa_flags = SA_RESTART};

	(void)state;
	atomic_store(&handled, 0);
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	NEED(alarm_soon(700) == 0);
	own_wait_for(enough_handled, NULL, "all signals are handled");
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	check_nothing_failed();
}

/* The calls leave the mask of the program as it was. */
static void signals__mask_is_kept(void **state)
{
	sigset_t before, after;
	int fd;

	(void)state;
	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
	fd = open(own_path, O_RDWR);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(ftruncate(own_fd, PAGE), 0);
	assert_int_equal(truncate(own_path, 2 * PAGE), 0);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
	for (int signal = 1; signal < SIGRTMAX; signal++)
		assert_int_equal(sigismember(&after, signal) == 1,
				 signal == SIGUSR2);
	sigemptyset(&before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static char fifo[300];
static atomic_int thread_id;

static void *open_fifo(void *arg)
{
	(void)arg;
	atomic_store(&thread_id, gettid());
	return (void *)(long)open(fifo, O_RDONLY);
}

static bool is_asleep_in_open(void *arg)
{
	char path[64], text[64] = "";
	int fd;

	(void)arg;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall",
		 atomic_load(&thread_id));
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	return atoi(text) == SYS_openat && text[0] != 'r';
}

static void cancel__open_that_waits_is_a_cancellation_point(void **state)
{
	void *result = NULL;
	pthread_t thread;

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s.fifo", own_path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	atomic_store(&thread_id, 0);
	assert_int_equal(pthread_create(&thread, NULL, open_fifo, NULL), 0);
	own_wait_for(is_asleep_in_open, NULL, "a thread waits in open()");
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	unlink(fifo);
}

/* Cancelled between announcement and call: the announcement is taken back. */
static void *open_when_cancelled(void *arg)
{
	(void)arg;
	pthread_cancel(pthread_self());
	open(own_path, O_RDWR);
	return NULL;
}

static void cancel__announced_call_is_taken_back(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		void *result = NULL;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL,
						open_when_cancelled, NULL),
				 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, PTHREAD_CANCELED);
		own_wait_until_held();
	}
}

static void check_child(pid_t pid)
{
	int status;

	assert_true(pid >= 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	own_wait_until_held();
}

static void children__are_like_others(void **state)
{
	char *touch[] = {(char *)"cat", own_path, NULL};
	char *environment[] = {NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		int fd = open(own_path, O_RDWR);

		_exit(fd < 0 || ftruncate(fd, PAGE) || close(fd) ||
		      truncate(own_path, FILE_SIZE));
	}
	check_child(pid);
	/* the child of a vfork() has our memory, engine and all */
	pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (!pid) {
		int fd = open(own_path, O_RDWR | O_CLOEXEC);

		if (fd < 0 || close(fd) || dup2(own_fd, 200) != 200)
			_exit(1);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	check_child(pid);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	assert_int_equal(
		posix_spawnp(&pid, "cat", &actions, NULL, touch, environment),
		0);
	posix_spawn_file_actions_destroy(&actions);
	check_child(pid);
}

static void open_and_close(void)
{
	int fd = open(own_path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
	own_wait_until_held();
}

/* A pipe in the place of standard error, until stderr_is_back(). */
static int stderr_is_pipe(int *ret_before)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	*ret_before = dup(STDERR_FILENO);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	return ends[0];
}

static void stderr_is_back(int before)
{
	assert_int_equal(dup2(before, STDERR_FILENO), STDERR_FILENO);
	close(before);
}

/* Though the thread that writes it has another table of descriptors. */
static void log__tells_on_the_programs_stderr(void **state)
{
	static const char wanted[] = "this program opens the file once more";
	char text[8192] = "";
	size_t used = 0;
	int before, end = stderr_is_pipe(&before);

	(void)state;
	open_and_close();
	while (!strstr(text, wanted)) {
		struct pollfd source = {.fd = end, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&source, 1, WAIT_SEC * 1000), 1);
		n = read(end, text + used, sizeof(text) - 1 - used);
		assert_true(n > 0);
		used += (size_t)n;
		text[used] = '\0';
	}
	stderr_is_back(before);
	close(end);
}

static void log__full_pipe_holds_up_nobody(void **state)
{
	int before, end = stderr_is_pipe(&before);

	(void)state;
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
	while (write(STDERR_FILENO, own_path, sizeof(own_path)) > 0)
		;
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
	for (int i = 0; i < 5; i++)
		open_and_close();
	stderr_is_back(before);
	close(end);
}

#define OWN_TEST(name)                                                         \
	cmocka_unit_test_setup_teardown(name, own_setup, own_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(threads__all_calls_at_once),
		OWN_TEST(threads__nonblocking_opens_at_once),
		OWN_TEST(signals__handlers_call_what_they_interrupt),
		OWN_TEST(signals__mask_is_kept),
		OWN_TEST(cancel__open_that_waits_is_a_cancellation_point),
		OWN_TEST(cancel__announced_call_is_taken_back),
		OWN_TEST(children__are_like_others),
		OWN_TEST(log__tells_on_the_programs_stderr),
		OWN_TEST(log__full_pipe_holds_up_nobody),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
