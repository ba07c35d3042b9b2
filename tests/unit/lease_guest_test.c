/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine as a guest: the program's signals and cancellations, and a keeper
 * that does not answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "reason.h"
#include "unit.h"

static struct lease_engine *engine;
static struct file file;

static int setup(void **state)
{
	const struct lease_config config = {.keeper_path = KEEPER_PATH};

	(void)state;
	file_make(&file, 4 * PAGE);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
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

static struct lease *acquire(const struct file *what)
{
	struct lease *lease = NULL;
	int r = acquire_range(engine, what->fd, F_WRLCK, 0, PAGE, &lease);

	if (r)
		fail_msg("%d: %s", r, reason_text());
	return lease;
}

static int release(struct lease *lease, int64_t deadline_ns)
{
	return lease_release(lease, 0, PAGE, deadline_ns);
}

static int64_t now_ns(void)
{
	return (int64_t)(now_sec() * 1e9);
}

/* Sent to the process, and blocked in all its threads: it is for sigwait(). */
static void signal__of_the_program_is_left_to_it(void **state)
{
	const struct timespec at_once = {0, 0};
	sigset_t all, pending, before;

	(void)state;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (int number = 1; number < NSIG; number++)
		if (number != SIGKILL && number != SIGSTOP &&
		    number != SIGSTKFLT && sigismember(&all, number))
			assert_int_equal(kill(getpid(), number), 0);
	assert_int_equal(sigpending(&pending), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(release(acquire(&file), INT64_MAX), 0);
	for (int number = 1; number < NSIG; number++) {
		sigset_t one;

		if (sigismember(&pending, number) != 1)
			continue;
		sigemptyset(&one);
		sigaddset(&one, number);
		assert_int_equal(sigtimedwait(&one, NULL, &at_once), number);
	}
	assert_int_equal(sigismember(&pending, SIGURG), 1);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void *acquire_cancelled(void *arg)
{
	struct lease **lease = arg;

	pthread_cancel(pthread_self());
	*lease = acquire(&file);
	pthread_testcancel();
	return NULL;
}

static void thread__is_cancelled_when_it_is_through(void **state)
{
	struct lease *lease = NULL;
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(
		pthread_create(&thread, NULL, acquire_cancelled, &lease), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_non_null(lease);
	assert_int_equal(release(lease, INT64_MAX), 0);
}

static atomic_int handled;

static void handle(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

struct thread {
	pthread_t thread;
	_Atomic pid_t tid;
	const struct file *file;
	struct lease *lease;
	int result;
	char reason[REASON_MAX];
};

static void *run(void *arg)
{
	struct thread *thread = arg;

	atomic_store(&thread->tid, gettid());
	thread->result = acquire_range(engine, thread->file->fd, F_WRLCK, 0,
				       PAGE, &thread->lease);
	strcpy(thread->reason, reason_text());
	return NULL;
}

static void begin(struct thread *thread, const struct file *what)
{
	memset(thread, 0, sizeof(*thread));
	thread->file = what;
	assert_int_equal(pthread_create(&thread->thread, NULL, run, thread), 0);
}

static bool blocks_its_signals(void *arg)
{
	pid_t tid = atomic_load(&((struct thread *)arg)->tid);
	unsigned long blocked = 0;
	char path[64], line[128];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	status = tid ? fopen(path, "re") : NULL;
	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "SigBlk: %lx", &blocked);
	if (status)
		fclose(status);
	return blocked & 1UL << (SIGUSR1 - 1);
}

/* A keeper that has a lease and is stopped. */
struct stopped {
	struct file file;
	struct lease *lease;
	pid_t keeper;
};

static void stop(struct stopped *stopped)
{
	file_make(&stopped->file, PAGE);
	stopped->lease = acquire(&stopped->file);
	stopped->keeper = file_lease_holder(&stopped->file);
	assert_true(stopped->keeper > 0);
	assert_int_equal(kill(stopped->keeper, SIGSTOP), 0);
}

/* It might leave by siglongjmp(), with our request on its stack. */
static void handler__waits_until_its_thread_is_through(void **state)
{
	struct sigaction action = {.sa_handler = handle};
	struct stopped stopped;
	struct thread thread;

	(void)state;
	stop(&stopped);
	sigaction(SIGUSR1, &action, NULL);
	begin(&thread, &file);
	wait_for(blocks_its_signals, &thread, "it waits, signals blocked");
	assert_int_equal(pthread_kill(thread.thread, SIGUSR1), 0);
	assert_int_equal(atomic_load(&handled), 0);
	assert_int_equal(kill(stopped.keeper, SIGCONT), 0);
	pthread_join(thread.thread, NULL);
	assert_int_equal(atomic_load(&handled), 1);
	assert_int_equal(thread.result, 0);
	signal(SIGUSR1, SIG_DFL);
	assert_int_equal(release(thread.lease, INT64_MAX), 0);
	assert_int_equal(release(stopped.lease, INT64_MAX), 0);
	file_remove(&stopped.file);
}

static bool has_no_lease(void *arg)
{
	return !file_lease_holder(arg);
}

static void keeper_stopped__release_comes_back(void **state)
{
	struct stopped stopped;
	struct lease *lease;
	double began;

	(void)state;
	stop(&stopped);
	began = now_sec();
	assert_int_equal(release(stopped.lease, now_ns()), -ETIMEDOUT);
	assert_true(now_sec() - began < 5);
	assert_non_null(strstr(reason_text(), "does not answer"));
	assert_int_equal(acquire_range(engine, stopped.file.fd, F_WRLCK, 0,
				       PAGE, &lease),
			 -ETIMEDOUT);
	assert_int_equal(kill(stopped.keeper, SIGCONT), 0);
	wait_for(has_no_lease, &stopped.file, "it has been given back");
	wait_for(process_is_gone, &stopped.keeper, "the keeper ends");
	assert_int_equal(release(acquire(&stopped.file), INT64_MAX), 0);
	file_remove(&stopped.file);
}

/* And one that is killed then, as an administrator would. */
static void keeper_stopped__acquire_is_refused(void **state)
{
	struct stopped stopped;
	struct thread thread;

	(void)state;
	for (int i = 0; i < 2; i++) {
		stop(&stopped);
		begin(&thread, &file);
		pthread_join(thread.thread, NULL);
		assert_int_equal(thread.result, -ETIMEDOUT);
		assert_non_null(strstr(thread.reason, "does not answer"));
		kill(stopped.keeper, i ? SIGKILL : SIGCONT);
		wait_for(has_no_lease, &file, "nothing is left of it");
		assert_int_equal(release(acquire(&file), INT64_MAX), 0);
		assert_int_equal(release(stopped.lease, INT64_MAX), 0);
		file_remove(&stopped.file);
	}
}

static void *release_it(void *arg)
{
	struct thread *thread = arg;

	atomic_store(&thread->tid, gettid());
	thread->result = release(thread->lease, INT64_MAX);
	return NULL;
}

/* Who waits for one that dies hears it from the next. */
static void keeper_stopped__and_killed_in_a_release(void **state)
{
	struct stopped stopped;
	struct thread thread;

	(void)state;
	stop(&stopped);
	memset(&thread, 0, sizeof(thread));
	thread.lease = stopped.lease;
	assert_int_equal(
		pthread_create(&thread.thread, NULL, release_it, &thread), 0);
	wait_for(blocks_its_signals, &thread, "it waits, signals blocked");
	kill(stopped.keeper, SIGKILL);
	pthread_join(thread.thread, NULL);
	assert_int_equal(thread.result, 0);
	assert_int_equal(file_lease_holder(&stopped.file), 0);
	file_remove(&stopped.file);
}

#define guest_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		guest_test(signal__of_the_program_is_left_to_it),
		guest_test(thread__is_cancelled_when_it_is_through),
		guest_test(handler__waits_until_its_thread_is_through),
		guest_test(keeper_stopped__release_comes_back),
		guest_test(keeper_stopped__acquire_is_refused),
		guest_test(keeper_stopped__and_killed_in_a_release),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease guest", tests, NULL, NULL);
}
