/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine in a program: what lease.h promises of leases, and that nothing of
 * it shows in the program.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "reason.h"
#include "unit.h"

#define MS 1000000LL

static struct lease_engine *engine;
static struct file file;

/* What the observer was told, counted by state; the engine thread writes. */
static atomic_int entered[RECALL_STATES];
static atomic_int asked;
static atomic_int keepers;
static atomic_int keeper_errors;
static atomic_bool consents;

static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)lease;
	(void)missed;
	if (report->from != report->to)
		atomic_fetch_add(&entered[report->to], 1);
}

static void was_asked(void *arg, struct lease *lease, int64_t deadline_ns)
{
	(void)arg;
	(void)deadline_ns;
	atomic_fetch_add(&asked, 1);
	if (atomic_load(&consents))
		lease_consent(lease);
}

static void keeper_died(void *arg, int error)
{
	(void)arg;
	atomic_fetch_add(error ? &keeper_errors : &keepers, 1);
}

static void start(const char *keeper_path, int64_t consent_ns)
{
	struct lease_config config = {
		.keeper_path = keeper_path,
		.observer =
			{
				.changed = changed,
				.asked = was_asked,
				.keeper_died = keeper_died,
			},
		.consent_ns = consent_ns,
	};

	for (int i = 0; i < RECALL_STATES; i++)
		atomic_store(&entered[i], 0);
	atomic_store(&asked, 0);
	atomic_store(&keepers, 0);
	atomic_store(&keeper_errors, 0);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
}

static int setup(void **state)
{
	(void)state;
	file_make(&file, 4 * PAGE);
	start(KEEPER_PATH, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

static struct lease *acquire(int fd)
{
	struct lease *lease = NULL;
	int r = acquire_range(engine, fd, F_WRLCK, 0, 4 * PAGE, &lease);

	if (r)
		fail_msg("%d: %s", r, reason_text());
	return lease;
}

static void release(struct lease *lease)
{
	assert_int_equal(lease_release(lease, 0, 4 * PAGE, INT64_MAX), 0);
}

static bool is_held(void *lease)
{
	return lease_state(lease) == RECALL_HELD;
}

static bool has_merged(void *arg)
{
	(void)arg;
	return atomic_load(&entered[RECALL_MERGING]) > 0 &&
	       atomic_load(&entered[RECALL_HELD]) > 1;
}

static void check_goes_round(struct lease *lease)
{
	wait_for(is_held, lease, "the lease is held");
	atomic_store(&entered[RECALL_MERGING], 0);
	file_check_let_in(&file, O_RDWR);
	wait_for(has_merged, NULL, "it was told of the way round");
	wait_for(is_held, lease, "the lease is held again");
}

static void does_nothing(void *arg)
{
	(void)arg;
}

static void acquire__is_recalled_and_released(void **state)
{
	struct lease *lease = acquire(file.fd);
	pid_t keeper = file_lease_holder(&file);
	struct stat st;

	(void)state;
	assert_true(keeper > 0 && keeper != getpid());
	assert_int_equal(lease_state(lease), RECALL_HELD);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_blocks * 512, 4 * PAGE); /* was a hole */
	check_goes_round(lease);
	release(lease);
	assert_int_equal(atomic_load(&entered[RECALL_FREE]), 1);
	wait_for(process_is_gone, &keeper, "the keeper ends with its last");
}

static off_t blocks(void)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	return st.st_blocks * 512;
}

static void punch(void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, 4 * PAGE))
		_exit(1);
	close(fd);
}

static bool has_blocks(void *wanted)
{
	return blocks() == *(off_t *)wanted;
}

static bool had_keeper(void *arg)
{
	(void)arg;
	return atomic_load(&keepers) > 0;
}

/* Of each range that was asked for, and by the next keeper, too. */
static void acquire__has_blocks_again_after_others(void **state)
{
	struct lease *lease = NULL, *again;
	off_t wanted = 2 * PAGE;
	struct child child;

	(void)state;
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, 100, &lease), 0);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 2 * PAGE, PAGE, &again),
		0);
	for (int i = 0; i < 2; i++) {
		child_start(&child, punch, file.path);
		child_end(&child);
		wait_for(has_blocks, &wanted, "both ranges have blocks again");
		if (i)
			break;
		wait_for(is_held, lease, "the lease is held");
		kill(file_lease_holder(&file), SIGKILL);
	}
	/* one more makes one of them */
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, PAGE, PAGE, &again), 0);
	child_start(&child, punch, file.path);
	child_end(&child);
	wanted = 3 * PAGE;
	wait_for(has_blocks, &wanted, "the larger range has blocks again");
	assert_int_equal(lease_release(lease, 0, 100, INT64_MAX), 0);
	assert_int_equal(lease_release(lease, 2 * PAGE, PAGE, INT64_MAX), 0);
	assert_int_equal(lease_release(lease, PAGE, PAGE, INT64_MAX), 0);
}

/* Which of the four pages have blocks after others had the file. */
static void check_looked_after(struct lease *lease, const char *pages)
{
	struct child child;
	off_t at = 0, hole;

	child_start(&child, punch, file.path);
	child_end(&child);
	wait_for(is_held, lease, "the lease is held");
	for (int i = 0; i < 4; i++, at += PAGE) {
		hole = lseek(file.fd, at, SEEK_HOLE);
		if ((hole == at) != (pages[i] == '-'))
			fail_msg("page %d of \"%s\"", i, pages);
	}
}

static void drop(struct lease *lease, unsigned long page, unsigned long pages)
{
	assert_int_equal(
		lease_release(lease, page * PAGE, pages * PAGE, INT64_MAX), 0);
}

static void release__range_of_nobody_is_left_alone(void **state)
{
	static const struct {
		unsigned long offset, length;
	} ranges[] = {{2, 2}, {0, 2}, {1, 2}, {1, 1}, {1, 1}, {0, 1}};
	struct lease *lease;

	(void)state;
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(acquire_range(engine, file.fd, F_WRLCK,
					       ranges[i].offset * PAGE,
					       ranges[i].length * PAGE, &lease),
				 0);
	assert_int_equal(lease_release(lease, 0, 3 * PAGE, INT64_MAX), -EINVAL);
	check_looked_after(lease, "####");
	drop(lease, 2, 2);
	check_looked_after(lease, "###-");
	drop(lease, 0, 2);
	drop(lease, 1, 2);
	drop(lease, 1, 1);
	check_looked_after(lease, "##--");
	assert_int_equal(acquire_range(engine, file.fd, F_WRLCK, 2 * PAGE,
				       PAGE + 1, &lease),
			 0);
	drop(lease, 1, 1);
	check_looked_after(lease, "#-##");
	kill(file_lease_holder(&file), SIGKILL);
	wait_for(had_keeper, NULL, "there is another");
	check_looked_after(lease, "#-##");
	drop(lease, 0, 1);
	check_looked_after(lease, "--##");
	assert_int_equal(lease_release(lease, 2 * PAGE, PAGE + 1, INT64_MAX),
			 0);
}

static void acquire__is_counted_by_file(void **state)
{
	struct lease *first = acquire(file.fd), *second;
	int fd = dup(file.fd);

	(void)state;
	second = acquire(fd);
	assert_ptr_equal(first, second);
	close(fd);
	release(first);
	assert_int_equal(lease_of(file.fd), F_WRLCK);
	check_goes_round(second);
	release(second);
	assert_int_equal(lease_of(file.fd), F_UNLCK);
}

static void acquire__refusals_are_sentences(void **state)
{
	int other = open(file.path, O_RDONLY | O_CLOEXEC);
	struct lease *lease = NULL;

	(void)state;
	errno = 77;
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, PAGE, &lease),
		-EBUSY);
	assert_int_equal(errno, 77);
	assert_non_null(strstr(reason_text(), "this program (descriptor "));
	assert_non_null(strstr(reason_text(), "lease-test-"));
	assert_int_equal(reason_kind(), REASON_BUSY);
	close(other);
	assert_int_equal(acquire_range(engine, 999, F_WRLCK, 0, PAGE, &lease),
			 -EBADF);
	assert_int_equal(reason_kind(), REASON_OTHER);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, 5 * PAGE, &lease),
		-ERANGE);
	assert_int_equal(file_lease_holder(&file), 0);
	assert_null(lease);
}

static void acquire__other_type_is_refused(void **state)
{
	struct lease *lease = NULL, *other = NULL;
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);

	(void)state;
	close(file.fd);
	file.fd = fd;
	assert_int_equal(acquire_range(engine, fd, F_RDLCK, 0, PAGE, &lease),
			 0);
	assert_int_equal(lease_of(fd), F_RDLCK);
	fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(acquire_range(engine, fd, F_WRLCK, 0, PAGE, &other),
			 -EBUSY);
	assert_non_null(strstr(reason_text(), "for reading"));
	assert_int_equal(reason_kind(), REASON_TERMS);
	close(fd);
	release(lease);
}

static void acquire__auto_takes_what_the_descriptor_allows(void **state)
{
	struct lease *lease = NULL;
	int fd;

	(void)state;
	assert_int_equal(acquire_range(engine, file.fd, LEASE_TYPE_AUTO, 0,
				       PAGE, &lease),
			 0);
	assert_int_equal(lease_of(file.fd), F_WRLCK);
	drop(lease, 0, 1);
	fd = open(file.path, O_RDONLY | O_CLOEXEC);
	close(file.fd);
	file.fd = fd;
	assert_int_equal(
		acquire_range(engine, fd, LEASE_TYPE_AUTO, 0, PAGE, &lease), 0);
	assert_int_equal(lease_of(fd), F_RDLCK);
	drop(lease, 0, 1);
}

/* Same description, so the kernel grants it; its stores would go unseen. */
static void acquire__a_child_forked_earlier_is_named(void **state)
{
	struct lease *lease = NULL;
	struct child child;
	char name[32];

	(void)state;
	child_start(&child, does_nothing, NULL);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, PAGE, &lease),
		-EBUSY);
	snprintf(name, sizeof(name), "%d (", child.pid);
	assert_non_null(strstr(reason_text(), name));
	assert_int_equal(file_lease_holder(&file), 0);
	child_end(&child);
	release(acquire(file.fd));
}

/* A reader's region of a file that is leased for writing. */
static void acquire__auto_is_served_by_a_write_lease(void **state)
{
	struct lease *lease = acquire(file.fd), *again = NULL;
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(
		acquire_range(engine, fd, LEASE_TYPE_AUTO, 0, PAGE, &again), 0);
	assert_ptr_equal(lease, again);
	close(fd);
	drop(lease, 0, 1);
	check_goes_round(lease);
	release(lease);
}

static void acquire__no_room_leaves_no_lease(void **state)
{
	off_t size = 1LL << 43;
	struct lease *lease = NULL;

	(void)state;
	if (ftruncate(file.fd, size)) {
		print_message("no files of 8 TiB here\n");
		skip();
	}
	assert_int_equal(acquire_range(engine, file.fd, F_WRLCK, 0,
				       (uint64_t)size, &lease),
			 -ENOSPC);
	assert_int_equal(file_lease_holder(&file), 0);
	assert_int_equal(blocks(), 0);
}

/* Descriptors and children of this process. */
static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static atomic_int handled;

static void handle(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void program__sees_nothing_of_it(void **state)
{
	struct sigaction action = {.sa_handler = handle};
	unsigned int fds = count_fds();
	struct lease *lease;

	(void)state;
	for (int number = 1; number < NSIG; number++)
		sigaction(number, &action, NULL);
	lease = acquire(file.fd);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	release(lease);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(atomic_load(&handled), 0);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
}

/* What is ignored is not even queued, unless it is blocked. */
static void program__that_ignores_all_signals(void **state)
{
	struct lease *lease;

	(void)state;
	for (int number = 1; number < NSIG; number++)
		if (number != SIGCHLD)
			signal(number, SIG_IGN);
	lease = acquire(file.fd);
	check_goes_round(lease);
	release(lease);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
}

static void program__closes_all_its_descriptors(void **state)
{
	struct lease *lease = acquire(file.fd);

	(void)state;
	assert_int_equal(close_range(3, ~0U, 0), 0);
	file.fd = -1;
	check_goes_round(lease);
	release(lease);
}

static void try_locks(void *arg)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fcntl(fd, F_GETLK, &lock) || lock.l_type == F_UNLCK ||
	    lock.l_start != 10 || !flock(fd, LOCK_EX | LOCK_NB) ||
	    errno != EWOULDBLOCK)
		_exit(1);
	close(fd);
}

static void program__keeps_its_locks(void **state)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = 10,
		.l_len = 5,
	};
	struct lease *lease;
	struct child child;

	(void)state;
	assert_int_equal(fcntl(file.fd, F_SETLK, &lock), 0);
	assert_int_equal(flock(file.fd, LOCK_EX), 0);
	lease = acquire(file.fd);
	child_start(&child, try_locks, file.path);
	child_end(&child);
	release(lease);
	child_start(&child, try_locks, file.path);
	child_end(&child);
}

static void consent__is_asked_and_given(void **state)
{
	struct lease *lease;
	double began;

	(void)state;
	lease_engine_stop(engine);
	start(KEEPER_PATH, 10000 * MS);
	atomic_store(&consents, true);
	lease = acquire(file.fd);
	began = now_sec();
	check_goes_round(lease);
	assert_true(now_sec() - began < 5);
	assert_int_equal(atomic_load(&asked), 1);
	atomic_store(&consents, false);
	release(lease);
}

static bool another_keeper(void *before)
{
	pid_t pid = file_lease_holder(&file);

	return pid && pid != *(pid_t *)before && atomic_load(&keepers) > 0;
}

static void keeper_killed__another_goes_on(void **state)
{
	struct lease *lease = acquire(file.fd);

	(void)state;
	for (int i = 0; i < 3; i++) {
		pid_t keeper = file_lease_holder(&file);

		assert_true(keeper > 0);
		atomic_store(&keepers, 0);
		kill(keeper, SIGKILL);
		/* at any moment of the handover */
		file_check_let_in(&file, O_RDONLY);
		wait_for(another_keeper, &keeper, "another keeper has it");
		check_goes_round(lease);
	}
	release(lease);
}

static bool had_errors(void *arg)
{
	(void)arg;
	return atomic_load(&keeper_errors) > 2;
}

/* The keeper's executable is away for a while (an upgrade), then back. */
static void keeper_killed__no_other_to_be_had(void **state)
{
	char path[300], away[308];
	struct lease *lease;

	(void)state;
	lease_engine_stop(engine);
	snprintf(path, sizeof(path), "%s.keeper", file.path);
	snprintf(away, sizeof(away), "%s.away", path);
	assert_int_equal(symlink(KEEPER_PATH, path), 0);
	start(path, 0);
	lease = acquire(file.fd);
	assert_int_equal(rename(path, away), 0);
	kill(file_lease_holder(&file), SIGKILL);
	wait_for(had_errors, NULL, "it was told that there is no other");
	assert_int_equal(rename(away, path), 0);
	wait_for(had_keeper, NULL, "there is another");
	check_goes_round(lease);

	/* a release that nobody can do ends at its deadline */
	assert_int_equal(rename(path, away), 0);
	atomic_store(&keeper_errors, 0);
	kill(file_lease_holder(&file), SIGKILL);
	wait_for(had_errors, NULL, "it was told that there is no other");
	assert_int_equal(lease_release(lease, 0, 4 * PAGE, 0), -ENOENT);
	assert_int_equal(lease_of(file.fd), F_UNLCK);
	unlink(away);
}

static void keeper__not_there_is_a_refusal(void **state)
{
	struct lease *lease = NULL;

	(void)state;
	lease_engine_stop(engine);
	start("/nonexistent/keeper", 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(acquire_range(engine, file.fd, F_WRLCK, 0,
					       PAGE, &lease),
				 -ENOENT);
		assert_non_null(strstr(reason_text(), "/nonexistent/keeper"));
	}
}

static void fork__child_has_no_leases(void **state)
{
	struct lease *lease = acquire(file.fd), *other = NULL;
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid)
		_exit(acquire_range(engine, file.fd, F_WRLCK, 0, PAGE,
				    &other) != -ESRCH ||
		      lease_release(lease, 0, PAGE, 0) != -ESRCH);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	check_goes_round(lease);
	release(lease);
}

/*
 * A child that lives on has neither socket nor pidfd of the engine: that the
 * program has become another by exec is heard all the same.
 */
static void exec__with_a_living_child(void **state)
{
	int seen[2];
	pid_t pid, keeper;
	char byte;

	(void)state;
	lease_engine_stop(engine);
	assert_int_equal(pipe2(seen, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		start(KEEPER_PATH, 0);
		acquire(file.fd);
		if (!fork()) {
			alarm(WAIT_SEC);
			close_range(0, ~0U, 0);
			for (;;)
				pause();
		}
		close(STDOUT_FILENO);
		/* Not before the keeper was seen, or it never is. */
		if (read(seen[0], &byte, 1) != 1)
			_exit(1);
		execl("/bin/sleep", "sleep", "60", (char *)NULL);
		_exit(1);
	}
	close(file.fd);
	file.fd = -1;
	while (!(keeper = file_lease_holder(&file)) && !process_is_gone(&pid))
		usleep(100);
	assert_true(keeper > 0);
	assert_int_equal(write(seen[1], "", 1), 1);
	close(seen[0]);
	close(seen[1]);
	wait_for(process_is_gone, &keeper, "the keeper ends after exec");
	assert_int_equal(file_lease_holder(&file), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	start(KEEPER_PATH, 0);
}

static void *acquire_and_release(void *arg)
{
	struct file *own = arg;

	for (int i = 0; i < 50; i++) {
		struct lease *lease, *again;
		int fd;

		if (acquire_range(engine, own->fd, F_WRLCK, 0, PAGE, &lease) ||
		    acquire_range(engine, own->fd, F_WRLCK, PAGE, PAGE,
				  &again) ||
		    lease != again)
			return arg;
		fd = open(own->path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return arg;
		close(fd);
		if (lease_release(lease, 0, PAGE, INT64_MAX) ||
		    lease_release(again, PAGE, PAGE, INT64_MAX))
			return arg;
	}
	return NULL;
}

static void threads__each_with_a_file(void **state)
{
	struct file files[4];
	pthread_t threads[4];
	void *failed;

	(void)state;
	for (int i = 0; i < 4; i++) {
		file_make(&files[i], 2 * PAGE);
		assert_int_equal(pthread_create(&threads[i], NULL,
						acquire_and_release, &files[i]),
				 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
		file_remove(&files[i]);
	}
}

#define engine_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		engine_test(acquire__is_recalled_and_released),
		engine_test(acquire__has_blocks_again_after_others),
		engine_test(release__range_of_nobody_is_left_alone),
		engine_test(acquire__is_counted_by_file),
		engine_test(acquire__refusals_are_sentences),
		engine_test(acquire__other_type_is_refused),
		engine_test(acquire__auto_takes_what_the_descriptor_allows),
		engine_test(acquire__a_child_forked_earlier_is_named),
		engine_test(acquire__auto_is_served_by_a_write_lease),
		engine_test(acquire__no_room_leaves_no_lease),
		engine_test(program__sees_nothing_of_it),
		engine_test(program__that_ignores_all_signals),
		engine_test(program__closes_all_its_descriptors),
		engine_test(program__keeps_its_locks),
		engine_test(consent__is_asked_and_given),
		engine_test(keeper_killed__another_goes_on),
		engine_test(keeper_killed__no_other_to_be_had),
		engine_test(keeper__not_there_is_a_refusal),
		engine_test(fork__child_has_no_leases),
		engine_test(exec__with_a_living_child),
		engine_test(threads__each_with_a_file),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease engine", tests, NULL, NULL);
}
