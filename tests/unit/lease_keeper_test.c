/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keeper in real processes: it hears breaks, hands back and takes again,
 * whatever becomes of the program. Outsiders are forked children that open the
 * file; programs that die are forked children that start a keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "lease_kept.h"
#include "reason.h"
#include "unit.h"

static void read_of(const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", keeper.pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
}

static void start__nothing_of_the_programs_is_in_it(void **state)
{
	char text[4096], *at;
	unsigned int fds = 0;

	(void)state;
	/* nobody's child here, in a session of its own */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(getsid(keeper.pid), keeper.pid);
	read_of("environ", text, sizeof(text));
	assert_string_equal(text, "");
	/* SIGKILL, SIGSTOP and the C library's own two are not blocked */
	read_of("status", text, sizeof(text));
	at = strstr(text, "SigBlk:");
	assert_non_null(at);
	assert_int_equal(strtoull(at + 7, NULL, 16) | 0x0000000180040100ULL,
			 UINT64_MAX);
	assert_non_null(strstr(text, "Name:\tdaxmr-keeper"));
	for (int fd = 0; fd < 1000; fd++) {
		char path[64];
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", keeper.pid, fd);
		fds += !stat(path, &st);
	}
	/* null thrice, socket, pidfd, board, signalfd, inotify, a sysctl */
	assert_int_equal(fds, 9);
}

static void start__no_such_program_is_said(void **state)
{
	struct keeper none;

	(void)state;
	assert_int_equal(keeper_init(&none), 0);
	errno = 77;
	assert_int_equal(keeper_start(&none, "/nonexistent/keeper"), -ENOENT);
	assert_int_equal(errno, 77);
	assert_non_null(strstr(reason_text(), "/nonexistent/keeper"));
	assert_int_equal(keeper_start(&none, "/bin/true"), -EPIPE);
	assert_int_equal(waitpid(-1, NULL, __WALL), -1);
	keeper_done(&none);
}

static void break__goes_round_and_is_told_with_times(void **state)
{
	struct keeper_message message;
	int64_t at_ns = 0;
	static const struct {
		enum recall_state to;
		enum recall_cause cause;
	} expected[] = {
		{RECALL_BREAKING, RECALL_BREAK_HEARD},
		{RECALL_YIELDED, RECALL_FLUSHED},
		{RECALL_MERGING, RECALL_RETAKEN},
		{RECALL_HELD, RECALL_MERGED},
	};

	(void)state;
	kept_acquire(0);
	file_check_let_in(&file, O_RDWR);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		message = kept_receive(KEEPER_REPORT);
		assert_int_equal(message.report.to, expected[i].to);
		assert_int_equal(message.report.cause, expected[i].cause);
		assert_int_equal(message.report.generation, i + 2);
		assert_true(message.report.at_ns > at_ns);
		at_ns = message.report.at_ns;
	}
	assert_int_equal(lease_of(file.fd), F_WRLCK);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_HELD);
}

static void acquire__others_have_it_is_refused(void **state)
{
	int other = open(file.path, O_RDONLY | O_CLOEXEC);
	struct keeper_request wanted = kept_request(3);

	(void)state;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), -EAGAIN);
	close(other);
	kept_acquire(3); /* the id is free */
}

static void release__gives_it_back(void **state)
{
	(void)state;
	kept_acquire(0);
	assert_int_equal(keeper_release(&keeper, 0, INT64_MAX), 0);
	assert_int_equal(kept_until(0, RECALL_FREE).error, 0);
	assert_int_equal(file_lease_holder(&file), 0);
	kept_acquire(0);
	assert_int_equal(keeper_release(&keeper, 7, 0), 0); /* no such */
}

static void open_for_reading(void *arg)
{
	if (open(arg, O_RDONLY | O_CLOEXEC) < 0)
		_exit(1);
}

static void yielded__long_reader_then_retaken(void **state)
{
	struct child reader;
	double start;

	(void)state;
	kept_acquire(0);
	child_start(&reader, open_for_reading, file.path);
	kept_until(0, RECALL_YIELDED);
	file_check_let_in(&file, O_RDWR);
	/* tried and refused meanwhile */
	usleep(100000);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_YIELDED);
	assert_int_equal(lease_of(file.fd), F_UNLCK);
	child_end(&reader);
	start = now_sec();
	kept_until(0, RECALL_HELD);
	assert_true(now_sec() - start < 2);
}

static void break__nonblocking_openers_get_in_too(void **state)
{
	bool refused = false;
	int fd = -1;

	(void)state;
	kept_acquire(0);
	for (int i = 0; i < 1000 && fd < 0; i++) {
		fd = open(file.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		refused |= fd < 0;
		usleep(1000);
	}
	assert_true(refused);
	assert_true(fd >= 0);
	close(fd);
}

static void read_lease__only_writers_break_it(void **state)
{
	struct keeper_request wanted = kept_request(0);
	struct child reader;

	(void)state;
	wanted.type = F_RDLCK;
	wanted.fd = open(file.path, O_RDONLY | O_CLOEXEC);
	close(file.fd);
	file.fd = wanted.fd;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	child_start(&reader, open_for_reading, file.path);
	assert_int_equal(lease_of(file.fd), F_RDLCK);
	file_check_let_in(&file, O_WRONLY);
	assert_int_equal(kept_until(0, RECALL_BREAKING).report.cause,
			 RECALL_BREAK_HEARD);
	kept_until(0, RECALL_HELD);
	child_end(&reader);
}

static void consent__given_or_out_of_time(void **state)
{
	enum {
		NONE,
		OF_ANOTHER,
		GIVEN,
		CASES
	};
	struct keeper_request wanted = kept_request(0);
	struct keeper_message message;
	pid_t pid;

	(void)state;
	wanted.consent_ns = 300 * MS;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	for (int given = NONE; given < CASES; given++) {
		pid = fork();
		if (!pid)
			_exit(open(file.path, O_RDONLY | O_CLOEXEC) < 0);
		kept_until(0, RECALL_BREAKING);
		message = kept_receive(KEEPER_ASK);
		assert_true(message.deadline_ns > 0);
		if (given)
			assert_int_equal(
				keeper_consent(&keeper, 0,
					       message.deadline_ns -
						       (given == OF_ANOTHER)),
				0);
		message = kept_until(0, RECALL_YIELDED);
		if (given != GIVEN)
			assert_true(message.report.spent_ns >= 300 * MS);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		kept_until(0, RECALL_HELD);
	}
}

/* What shows the break comes after them in fdinfo. */
static void break__seen_behind_hundreds_of_locks(void **state)
{
	struct flock lock = {.l_type = F_WRLCK, .l_len = 1};

	(void)state;
	kept_acquire(0);
	for (lock.l_start = 0; lock.l_start < 600; lock.l_start += 2)
		assert_int_equal(fcntl(file.fd, F_OFD_SETLK, &lock), 0);
	for (int i = 0; i < 3; i++) {
		file_check_let_in(&file, O_RDONLY);
		kept_next(RECALL_BREAKING, RECALL_BREAK_HEARD);
		kept_next(RECALL_YIELDED, RECALL_FLUSHED);
		kept_until(0, RECALL_HELD);
	}
}

/* With no room in the queue the kernel sends SIGIO, without a descriptor. */
static void break__full_signal_queue(void **state)
{
	struct rlimit none = {0, 0};

	(void)state;
	kept_acquire(0);
	if (prlimit(keeper.pid, RLIMIT_SIGPENDING, &none, NULL)) {
		print_message("the limit cannot be set: %s\n", strerror(errno));
		skip();
	}
	for (int i = 0; i < 5; i++) {
		file_check_let_in(&file, O_RDONLY);
		kept_until(0, RECALL_HELD);
	}
}

static bool is_held(void *arg)
{
	(void)arg;
	return keeper_state(&keeper, 0) == RECALL_HELD;
}

/* Nobody reads the socket: nobody waits, and the last state comes through. */
static void reports__a_program_that_does_not_read(void **state)
{
	struct keeper_request wanted = kept_request(0);
	_Atomic uint64_t *reports = &keeper.board[0].generation;
	uint64_t generation = 0, received = 0;
	struct keeper_message message;
	double deadline = now_sec() + 6 * WAIT_SEC;

	(void)state;
	wanted.pause_min_ns = wanted.pause_max_ns = MS / 10;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	/* whoever has the file open meanwhile has it refused */
	wait_for(is_held, NULL, "the lease is granted");
	while (atomic_load(reports) < 500) {
		int fd = open(file.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

		assert_true(now_sec() < deadline);
		if (fd >= 0)
			close(fd);
		usleep(100);
	}
	assert_int_equal(kept_answer(), 0);
	do {
		assert_int_equal(keeper_receive(&keeper, 2000, &message), 0);
		assert_int_equal(message.kind, KEEPER_REPORT);
		assert_true(message.report.generation > generation);
		generation = message.report.generation;
		received++;
	} while (message.report.to != RECALL_HELD ||
		 generation != atomic_load(reports));
	assert_true(received < generation);
}

static void many_files__each_has_its_own_state(void **state)
{
	struct file files[50];

	(void)state;
	for (uint32_t id = 0; id < 50; id++) {
		struct keeper_request wanted = {.id = id, .type = F_WRLCK};

		file_make(&files[id], PAGE);
		wanted.fd = files[id].fd;
		assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
		assert_int_equal(kept_answer(), 0);
	}
	for (uint32_t id = 0; id < 50; id += 7) {
		int fd = open(files[id].path, O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		kept_until(id, RECALL_YIELDED);
		for (uint32_t other = 0; other < 50; other++)
			assert_int_equal(keeper_state(&keeper, other),
					 other == id ? RECALL_YIELDED
						     : RECALL_HELD);
		close(fd);
		kept_until(id, RECALL_HELD);
	}
	for (uint32_t id = 0; id < 50; id++)
		file_remove(&files[id]);
}

/* A program: a child with a keeper of its own that holds the file. */
struct program {
	pid_t pid;
	volatile pid_t child_pid; /* forked by the program, where it has one */
	volatile pid_t keeper_pid;
};

static struct program *program;

static void program_start(void (*then)(void))
{
	pid_t pid;

	program = mmap(NULL, sizeof(*program), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(program, MAP_FAILED);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct keeper_request wanted = kept_request(0);
		struct keeper_message message;
		struct keeper own;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (keeper_init(&own) || keeper_start(&own, KEEPER_PATH) ||
		    keeper_acquire(&own, &wanted) ||
		    keeper_receive(&own, 10000, &message) || message.error)
			_exit(1);
		close(file.fd);
		program->keeper_pid = own.pid;
		then();
		for (;;)
			pause();
	}
	program->pid = pid; /* the child shares this page */
	/* as nobody else has the program's description */
	close(file.fd);
	file.fd = -1;
}

static bool is_kept(void *arg)
{
	(void)arg;
	return program->keeper_pid && file_lease_holder(&file);
}

static void program_gone(void)
{
	pid_t pid = program->keeper_pid;

	wait_for(process_is_gone, &pid, "the keeper ends after the program");
	assert_int_equal(file_lease_holder(&file), 0);
	munmap(program, sizeof(*program));
}

static void nothing(void)
{
}

static void death__killed_leaves_nothing_behind(void **state)
{
	(void)state;
	program_start(nothing);
	wait_for(is_kept, NULL, "the program has its lease");
	kill(program->pid, SIGKILL);
	file_check_let_in(&file, O_RDWR);
	waitpid(program->pid, NULL, 0);
	program_gone();
}

static void leave(void)
{
	_exit(0);
}

static void death__exit_leaves_nothing_behind(void **state)
{
	(void)state;
	program_start(leave);
	waitpid(program->pid, NULL, 0);
	program_gone();
}

static void become_another(void)
{
	execl("/bin/sleep", "sleep", "60", (char *)NULL);
	_exit(1);
}

/* It may have ended since. */
static bool has_started(void *arg)
{
	(void)arg;
	return program->keeper_pid;
}

static void death__exec_is_one_too(void **state)
{
	pid_t pid;

	(void)state;
	program_start(become_another);
	wait_for(has_started, NULL, "the program has had its lease");
	file_check_let_in(&file, O_RDWR);
	pid = program->pid;
	program_gone();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The child has the socket: only the pidfd tells. */
static void fork_one(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, 0);
		alarm(60);
		for (;;)
			pause();
	}
	program->child_pid = pid;
}

static void death__a_forked_child_lives_on(void **state)
{
	pid_t child;

	(void)state;
	program_start(fork_one);
	wait_for(is_kept, NULL, "the program has its lease");
	while (!program->child_pid)
		usleep(200);
	child = program->child_pid;
	kill(program->pid, SIGKILL);
	waitpid(program->pid, NULL, 0);
	program_gone();
	assert_false(process_is_gone(&child));
	kill(child, SIGKILL);
}

static void stop(void)
{
	raise(SIGSTOP);
}

static void stopped__outsiders_get_in(void **state)
{
	(void)state;
	program_start(stop);
	waitpid(program->pid, NULL, WUNTRACED);
	for (int i = 0; i < 3; i++) {
		wait_for(is_kept, NULL, "the lease is taken again");
		file_check_let_in(&file, O_RDWR);
	}
	kill(program->pid, SIGKILL);
	waitpid(program->pid, NULL, 0);
	program_gone();
}

static void socket__closed_gives_all_back(void **state)
{
	pid_t pid = keeper.pid;

	(void)state;
	kept_acquire(0);
	close(keeper.socket);
	keeper.socket = -1;
	wait_for(process_is_gone, &pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
}

static void kill_keeper(void)
{
	struct keeper_message message;
	int r;

	kill(keeper.pid, SIGKILL);
	while (!(r = keeper_receive(&keeper, 10000, &message)))
		;
	assert_int_equal(r, -EPIPE);
	assert_int_equal(keeper_release(&keeper, 0, 0), -EPIPE);
}

static void adopt(void)
{
	struct keeper_request wanted = kept_request(0);

	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	assert_int_equal(keeper_adopt(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
}

static void keeper_killed__the_next_one_goes_on(void **state)
{
	(void)state;
	kept_acquire(0);
	for (int i = 0; i < 3; i++) {
		kill_keeper();
		assert_int_equal(lease_of(file.fd), F_WRLCK);
		adopt();
		file_check_let_in(&file, O_RDONLY);
		kept_until(0, RECALL_HELD);
	}
}

/* Its numbers of descriptors are others than the last one's. */
static void keeper_killed__numbers_may_differ(void **state)
{
	struct keeper_request wanted = kept_request(1);
	struct file other;

	(void)state;
	file_make(&other, PAGE);
	kept_acquire(0);
	wanted.fd = other.fd;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	kill_keeper();
	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	assert_int_equal(keeper_adopt(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	wanted = kept_request(0);
	assert_int_equal(keeper_adopt(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	file_check_let_in(&file, O_RDONLY);
	kept_until(0, RECALL_HELD);
	assert_int_equal(keeper_state(&keeper, 1), RECALL_HELD);
	file_remove(&other);
}

/* The break's signal went to the dead one. */
static void keeper_killed__a_break_meanwhile_is_seen(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	kept_acquire(0);
	kill_keeper();
	pid = fork();
	if (!pid)
		_exit(open(file.path, O_RDONLY | O_CLOEXEC) < 0);
	while (lease_of(file.fd) == F_WRLCK)
		usleep(200);
	adopt();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	kept_until(0, RECALL_YIELDED);
	kept_until(0, RECALL_HELD);
}

static void keeper_killed__lost_meanwhile_is_seen(void **state)
{
	(void)state;
	kept_acquire(0);
	kill_keeper();
	/* as the kernel does when the time is over */
	assert_int_equal(fcntl(file.fd, F_SETLEASE, F_UNLCK), 0);
	adopt();
	assert_int_equal(kept_until(0, RECALL_LOST).report.cause,
			 RECALL_REVOKED);
	kept_until(0, RECALL_MERGING);
	kept_until(0, RECALL_HELD);
}

static void keeper_killed__while_somebody_reads(void **state)
{
	struct child reader;

	(void)state;
	kept_acquire(0);
	child_start(&reader, open_for_reading, file.path);
	kept_until(0, RECALL_YIELDED);
	kill_keeper();
	adopt();
	assert_int_equal(keeper_state(&keeper, 0), RECALL_YIELDED);
	child_end(&reader);
	assert_int_equal(kept_until(0, RECALL_MERGING).report.cause,
			 RECALL_RETAKEN);
	kept_until(0, RECALL_HELD);
}

static void protocol__nonsense_ends_it(void **state)
{
	struct keeper_message message = {.version = KEEPER_VERSION + 1};
	pid_t pid = keeper.pid;

	(void)state;
	kept_acquire(0);
	assert_int_equal(write(keeper.socket, &message, sizeof(message)),
			 sizeof(message));
	wait_for(process_is_gone, &pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		keeper_test(start__nothing_of_the_programs_is_in_it),
		keeper_test(start__no_such_program_is_said),
		keeper_test(break__goes_round_and_is_told_with_times),
		keeper_test(acquire__others_have_it_is_refused),
		keeper_test(release__gives_it_back),
		keeper_test(yielded__long_reader_then_retaken),
		keeper_test(break__nonblocking_openers_get_in_too),
		keeper_test(read_lease__only_writers_break_it),
		keeper_test(consent__given_or_out_of_time),
		keeper_test(break__seen_behind_hundreds_of_locks),
		keeper_test(break__full_signal_queue),
		keeper_test(reports__a_program_that_does_not_read),
		keeper_test(many_files__each_has_its_own_state),
		keeper_test(death__killed_leaves_nothing_behind),
		keeper_test(death__exit_leaves_nothing_behind),
		keeper_test(death__exec_is_one_too),
		keeper_test(death__a_forked_child_lives_on),
		keeper_test(stopped__outsiders_get_in),
		keeper_test(socket__closed_gives_all_back),
		keeper_test(keeper_killed__the_next_one_goes_on),
		keeper_test(keeper_killed__numbers_may_differ),
		keeper_test(keeper_killed__a_break_meanwhile_is_seen),
		keeper_test(keeper_killed__lost_meanwhile_is_seen),
		keeper_test(keeper_killed__while_somebody_reads),
		keeper_test(protocol__nonsense_ends_it),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease keeper", tests, NULL, NULL);
}
