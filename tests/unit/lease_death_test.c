/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program with a leased file ends, in every way there is, and nothing of it
 * is left behind: no process, no memory, no lease; who opens the file is let
 * in. Each with a keeper that the program started and with one from outside.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "lease.h"
#include "lease_file.h"
#include "lease_listener.h"
#include "unit.h"

/* An open that waits for nobody but the keeper; scheduling may be slow. */
#define AT_ONCE_SEC 2

static struct file file;
static struct listener listener;
static bool is_outside;

/* The program: a child with an engine. In memory that both have. */
static struct program {
	pid_t pid;
	volatile bool is_alone; /* with its description */
	volatile bool is_ready;
	volatile pid_t child_pid; /* that it forked, and that lives on */
} * program;

static pid_t keeper_pid;
static ino_t board; /* of the memfd that program and keeper share */

static int setup(bool outside)
{
	is_outside = outside;
	listener.path[0] = '\0';
	if (outside)
		listener_start(&listener);
	file_make(&file, PAGE);
	program = mmap(NULL, sizeof(*program), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(program, MAP_FAILED);
	return 0;
}

static int setup_spawned(void **state)
{
	(void)state;
	return setup(false);
}

static int setup_outside(void **state)
{
	(void)state;
	return setup(true);
}

static int teardown(void **state)
{
	char text[1024];

	(void)state;
	munmap(program, sizeof(*program));
	file_remove(&file);
	if (!is_outside)
		return 0;
	assert_int_equal(listener_end(&listener, SIGTERM, text, sizeof(text)),
			 0);
	assert_string_equal(text, "");
	return 0;
}

static bool is_ready(void *arg)
{
	(void)arg;
	return program->is_ready || process_is_gone(&program->pid);
}

static void run_program(void (*then)(void))
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.keeper_socket = is_outside ? listener.path : NULL,
	};
	struct lease_want want = {
		.fd = file.fd,
		.type = F_WRLCK,
		.length = PAGE,
	};
	struct lease_engine *engine;
	struct lease *lease;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!program->is_alone)
		usleep(200);
	if (lease_engine_start(&config, &engine) ||
	    lease_acquire(engine, &want, &lease))
		_exit(1);
	program->is_ready = true;
	then();
	for (;;)
		pause();
}

/* The program has its lease and is on its way to `then`. */
static void program_start(void (*then)(void))
{
	char path[64];
	struct stat st;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		run_program(then);
	program->pid = pid;
	/* as nobody but the program has its description */
	close(file.fd);
	file.fd = -1;
	program->is_alone = true;
	wait_for(is_ready, NULL, "the program has its lease");
	assert_true(program->is_ready);
	keeper_pid = file_lease_holder(&file);
	if (!keeper_pid)
		return; /* it has ended already */
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", keeper_pid,
		 KEEPER_BOARD_FD);
	board = stat(path, &st) ? 0 : st.st_ino;
}

static bool board_is_gone(void *arg)
{
	(void)arg;
	return !memfd_is_held(board, program->child_pid);
}

static void check_let_in_at_once(void)
{
	double start = now_sec();

	file_check_let_in(&file, O_RDWR);
	assert_true(now_sec() - start < AT_ONCE_SEC);
}

static void check_nothing_is_left(void)
{
	wait_for(process_is_gone, &keeper_pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
	wait_for(board_is_gone, NULL, "the board is nobody's");
}

static void reap(void)
{
	kill(program->pid, SIGKILL);
	assert_int_equal(waitpid(program->pid, NULL, 0), program->pid);
}

static void nothing(void)
{
}

static void killed(void **state)
{
	(void)state;
	program_start(nothing);
	assert_true(keeper_pid > 0 && board);
	assert_false(board_is_gone(NULL));
	kill(program->pid, SIGKILL);
	check_let_in_at_once();
	reap();
	check_nothing_is_left();
}

static void leave(void)
{
	_exit(0);
}

static void exits(void **state)
{
	(void)state;
	program_start(leave);
	check_let_in_at_once();
	reap();
	check_nothing_is_left();
}

static void become_another(void)
{
	close(STDOUT_FILENO);
	execl("/bin/sleep", "sleep", "60", (char *)NULL);
	_exit(1);
}

static void execs(void **state)
{
	(void)state;
	program_start(become_another);
	check_let_in_at_once();
	check_nothing_is_left();
	assert_false(process_is_gone(&program->pid));
	reap();
}

static bool is_leased(void *arg)
{
	(void)arg;
	return file_lease_holder(&file) == keeper_pid;
}

/* The program, which does nothing about it, has its lease again each time. */
static void check_goes_round(void)
{
	for (int i = 0; i < 3; i++) {
		wait_for(is_leased, NULL, "the lease is taken again");
		check_let_in_at_once();
	}
	wait_for(is_leased, NULL, "the lease is taken again");
}

static void stops(void **state)
{
	(void)state;
	program_start(nothing);
	kill(program->pid, SIGSTOP);
	assert_int_equal(waitpid(program->pid, NULL, WUNTRACED), program->pid);
	check_goes_round();
	reap();
	check_let_in_at_once();
	check_nothing_is_left();
}

static void close_all(void)
{
	close_range(0, ~0U, 0);
}

static void closes_all_descriptors(void **state)
{
	(void)state;
	program_start(close_all);
	check_goes_round();
	reap();
	check_let_in_at_once();
	check_nothing_is_left();
}

/* With all that the program had, but for its other threads. */
static void fork_one(void)
{
	pid_t pid = fork();

	if (!pid) {
		alarm(60);
		for (;;)
			pause();
	}
	program->child_pid = pid;
}

static bool has_forked(void *arg)
{
	(void)arg;
	return program->child_pid != 0;
}

/* A child keeps the description open, but no lease and no keeper. */
static void check_child_lives_on(void)
{
	pid_t child;

	wait_for(has_forked, NULL, "the program has forked");
	child = program->child_pid;
	check_let_in_at_once();
	check_nothing_is_left();
	assert_false(process_is_gone(&child));
	kill(child, SIGKILL);
}

static void child_lives_on(void **state)
{
	(void)state;
	program_start(fork_one);
	wait_for(has_forked, NULL, "the program has forked");
	reap();
	check_child_lives_on();
}

static void fork_and_become_another(void)
{
	fork_one();
	become_another();
}

static void child_lives_on_and_parent_execs(void **state)
{
	(void)state;
	program_start(fork_and_become_another);
	check_child_lives_on();
	assert_false(process_is_gone(&program->pid));
	reap();
}

static void fork_another(void)
{
	pid_t pid = fork();

	if (!pid)
		become_another();
	program->child_pid = pid;
}

static void child_execs_and_lives_on(void **state)
{
	(void)state;
	program_start(fork_another);
	wait_for(has_forked, NULL, "the program has forked");
	reap();
	check_child_lives_on();
}

/* No engine does it; one that is confused may. */
static void closes_the_socket(void **state)
{
	struct keeper_request wanted = {.fd = file.fd, .type = F_WRLCK};
	struct keeper_message message;
	struct keeper keeper;

	(void)state;
	assert_int_equal(keeper_init(&keeper), 0);
	keeper.listener = is_outside ? listener.path : NULL;
	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	keeper_pid = keeper.pid;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	do {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	} while (message.kind != KEEPER_ACQUIRED);
	assert_int_equal(message.error, 0);
	assert_int_equal(file_lease_holder(&file), keeper_pid);
	close(keeper.socket);
	keeper.socket = -1;
	check_let_in_at_once();
	wait_for(process_is_gone, &keeper_pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
	keeper_done(&keeper);
}

#define both(name)                                                             \
	{#name "__keeper_of_its_own", name, setup_spawned, teardown, NULL},    \
	{                                                                      \
#name "__keeper_from_outside", name, setup_outside, teardown,  \
			NULL                                                   \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(killed),
		both(exits),
		both(execs),
		both(stops),
		both(closes_all_descriptors),
		both(closes_the_socket),
		both(child_lives_on),
		both(child_lives_on_and_parent_execs),
		both(child_execs_and_lives_on),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease death", tests, NULL, NULL);
}
