/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A leased file that changes: what the program announces is its own, what
 * nobody announced is noticed, and neither costs the lease.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_kept.h"
#include "unit.h"

static void write_raw(void)
{
	assert_int_equal(syscall(SYS_pwrite64, file.fd, "x", 1, 0L), 1);
}

static void changed__by_a_raw_system_call_is_merged_and_told(void **state)
{
	(void)state;
	kept_acquire(0);
	write_raw();
	kept_next(RECALL_MERGING, RECALL_CHANGED);
	kept_next(RECALL_HELD, RECALL_MERGED);
	assert_int_equal(lease_of(file.fd), F_WRLCK);
}

static void shrink(void *arg)
{
	if (ftruncate(*(int *)arg, 1))
		_exit(1);
}

static void changed__by_a_forked_child_is_told(void **state)
{
	struct child child;

	(void)state;
	kept_acquire(0);
	child_start(&child, shrink, &file.fd);
	kept_next(RECALL_MERGING, RECALL_CHANGED);
	kept_next(RECALL_HELD, RECALL_MERGED);
	child_end(&child);
}

static void announced__is_no_news(void **state)
{
	(void)state;
	kept_acquire(0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
		assert_int_equal(ftruncate(file.fd, (i + 2) * PAGE), 0);
		assert_int_equal(fallocate(file.fd, 0, 0, PAGE), 0);
		assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE),
				 0);
	}
	/* Whatever was queued by then has been read before this answer. */
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE), 0);
	kept_fence();
	assert_int_equal(atomic_load(&keeper.board[0].generation), 1);
	write_raw();
	kept_next(RECALL_MERGING, RECALL_CHANGED);
}

static void announced__what_came_before_is_told(void **state)
{
	(void)state;
	kept_acquire(0);
	kill(keeper.pid, SIGSTOP);
	write_raw();
	assert_int_equal(keeper_own_begin(&keeper, 0, KEEPER_OWN_CHANGE, 0), 0);
	kill(keeper.pid, SIGCONT);
	kept_next(RECALL_MERGING, RECALL_CHANGED);
	kept_next(RECALL_HELD, RECALL_MERGED);
}

/* Name, mode and time are none of the lease's business. */
static void renamed_and_deleted__is_no_news(void **state)
{
	char other[300];

	(void)state;
	kept_acquire(0);
	snprintf(other, sizeof(other), "%s-other", file.path);
	assert_int_equal(rename(file.path, other), 0);
	assert_int_equal(rename(other, file.path), 0);
	assert_int_equal(link(file.path, other), 0);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(fchmod(file.fd, 0640), 0);
	assert_int_equal(futimens(file.fd, NULL), 0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE), 0);
	kept_fence();
	assert_int_equal(atomic_load(&keeper.board[0].generation), 1);
	write_raw();
	kept_next(RECALL_MERGING, RECALL_CHANGED);
}

static double cpu_sec(pid_t pid)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	stat = fopen(path, "re");
	assert_non_null(stat);
	assert_int_equal(fscanf(stat, "%llu", &ns), 1);
	fclose(stat);
	return (double)ns / 1e9;
}

/*
 * Until the rests have grown to their longest, and then. Without them it is
 * most of a CPU. What else a machine does only adds to it: one quiet look of
 * some is enough.
 */
static void changed__at_full_speed_costs_next_to_nothing(void **state)
{
	double start, spent, used;
	uint64_t before;
	int looks = 0;

	(void)state;
	kept_acquire(0);
	for (start = now_sec(); now_sec() - start < 2;)
		write_raw();
	do {
		start = now_sec();
		used = cpu_sec(keeper.pid);
		while ((spent = now_sec() - start) < 3)
			write_raw();
		used = cpu_sec(keeper.pid) - used;
		before = atomic_load(&keeper.board[0].generation);
		print_message("%.2f %% of a CPU, %ju reports\n",
			      100 * used / spent, before);
	} while (used >= 0.01 * spent && ++looks < 5);
	assert_true(used < 0.01 * spent);
	assert_in_range(before, 5, 50 + 30 * looks);

	/* it goes on being heard */
	file_check_let_in(&file, O_RDONLY);
}

static void yielded__what_others_write_is_no_news(void **state)
{
	int other;

	(void)state;
	kept_acquire(0);
	other = open(file.path, O_WRONLY | O_CLOEXEC);
	assert_true(other >= 0);
	kept_until(0, RECALL_YIELDED);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(pwrite(other, "y", 1, 0), 1);
	close(other);
	kept_next(RECALL_MERGING, RECALL_RETAKEN);
	kept_next(RECALL_HELD, RECALL_MERGED);
}

/* In a namespace that has no inotify, for nobody else's trouble. */
static void without_inotify(void)
{
	struct keeper_request wanted = kept_request(0);
	struct keeper_message message;
	int limit, said = 0, fd;
	struct keeper own;

	if (unshare(CLONE_NEWUSER))
		_exit(77);
	limit = open("/proc/sys/user/max_inotify_instances",
		     O_WRONLY | O_CLOEXEC);
	if (limit < 0 || write(limit, "0", 1) != 1)
		_exit(77);
	if (keeper_init(&own) || keeper_start(&own, KEEPER_PATH) ||
	    keeper_acquire(&own, &wanted))
		_exit(1);
	for (int breaks = 0; breaks < 3;) {
		if (keeper_receive(&own, WAIT_SEC * 1000, &message))
			_exit(2);
		if (message.kind != KEEPER_REPORT)
			continue;
		if (message.report.cause == RECALL_UNWATCHED) {
			said++;
			if (message.error != -EMFILE)
				_exit(3);
		}
		if (message.report.to != RECALL_HELD ||
		    message.report.from == RECALL_HELD)
			continue;
		fd = open(file.path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			_exit(4);
		close(fd);
		breaks++;
	}
	_exit(said == 1 ? 0 : 5);
}

static void unwatched__is_said_once_and_all_else_works(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (!pid)
		without_inotify();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no user namespace can be made here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static bool is_let_go(void *arg)
{
	(void)arg;
	return !file_lease_holder(&file);
}

static void own_open__hands_back_and_retakes(void **state)
{
	double start;
	int other;

	(void)state;
	kept_acquire(0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN), 0);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_YIELDED);
	/* in this very thread: nobody waits for anybody */
	other = open(file.path, O_RDWR | O_TRUNC | O_CLOEXEC);
	assert_true(other >= 0);
	/* another thread's, meanwhile */
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN_READ), 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN), 0);
	close(other);
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_YIELDED);
	start = now_sec();
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN_READ), 0);
	kept_until(0, RECALL_HELD);
	assert_true(now_sec() - start < 0.5);
}

static void own_open__its_description_stays_open(void **state)
{
	int other;

	(void)state;
	kept_acquire(0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN), 0);
	other = open(file.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN), 0);
	/* tried at once, and refused */
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_YIELDED);
	close(other);
	kept_until(0, RECALL_HELD);
}

static void own_open__for_reading_leaves_a_read_lease(void **state)
{
	struct keeper_request wanted = kept_request(0);
	int other;

	(void)state;
	wanted.type = F_RDLCK;
	wanted.fd = open(file.path, O_RDONLY | O_CLOEXEC);
	close(file.fd);
	file.fd = wanted.fd;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN_READ), 0);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_HELD);
	other = open(file.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN_READ), 0);
	assert_int_equal(lease_of(file.fd), F_RDLCK);
	close(other);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN), 0);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_YIELDED);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN), 0);
	kept_until(0, RECALL_HELD);
}

static void own_open__of_no_lease_is_answered(void **state)
{
	(void)state;
	assert_int_equal(kept_ready(9, KEEPER_OWN_OPEN), -ESRCH);
	assert_int_equal(keeper_own_end(&keeper, 9, KEEPER_OWN_OPEN), 0);
	kept_acquire(9);
	/* without a begin it means nothing */
	assert_int_equal(keeper_own_end(&keeper, 9, KEEPER_OWN_OPEN), 0);
	assert_int_equal(kept_ready(9, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_state(&keeper, 9), RECALL_HELD);
}

static void own_open__the_keeper_dies_meanwhile(void **state)
{
	struct keeper_request wanted = kept_request(0);
	struct keeper_message message;
	int other;

	(void)state;
	kept_acquire(0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN), 0);
	kill(keeper.pid, SIGKILL);
	while (!keeper_receive(&keeper, WAIT_SEC * 1000, &message))
		;
	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	assert_int_equal(keeper_adopt(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	/* it may have been retaken: a break like any other */
	other = open(file.path, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN), 0);
	close(other);
	while (lease_of(file.fd) != F_WRLCK)
		kept_until(0, RECALL_HELD);
}

static void own_open__the_program_goes_meanwhile(void **state)
{
	(void)state;
	kept_acquire(0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN), 0);
	close(keeper.socket);
	keeper.socket = -1;
	wait_for(process_is_gone, &keeper.pid, "the keeper ends");
	wait_for(is_let_go, NULL, "no lease is left");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		keeper_test(changed__by_a_raw_system_call_is_merged_and_told),
		keeper_test(changed__by_a_forked_child_is_told),
		keeper_test(announced__is_no_news),
		keeper_test(announced__what_came_before_is_told),
		keeper_test(renamed_and_deleted__is_no_news),
		keeper_test(changed__at_full_speed_costs_next_to_nothing),
		keeper_test(yielded__what_others_write_is_no_news),
		keeper_test(unwatched__is_said_once_and_all_else_works),
		keeper_test(own_open__hands_back_and_retakes),
		keeper_test(own_open__its_description_stays_open),
		keeper_test(own_open__for_reading_leaves_a_read_lease),
		keeper_test(own_open__of_no_lease_is_answered),
		keeper_test(own_open__the_keeper_dies_meanwhile),
		keeper_test(own_open__the_program_goes_meanwhile),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease changes", tests, NULL, NULL);
}
