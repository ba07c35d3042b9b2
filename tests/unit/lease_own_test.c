/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine's side of a program's own calls: which files are leased, and what
 * becomes of an announcement when the keeper dies or the lease goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "own.h"
#include "reason.h"
#include "unit.h"

static struct own_set set;
static atomic_bool is_over;
static atomic_int lost;

/* Slot 0 is there all the time, and its chain has others come and go. */
static void *look_for_first(void *arg)
{
	(void)arg;
	while (!atomic_load(&is_over))
		if (!own_set_has(&set, 1, 1))
			atomic_fetch_add(&lost, 1);
	return NULL;
}

static void set__has_what_was_added(void **state)
{
	(void)state;
	assert_false(own_set_has(&set, 1, 1));
	for (uint32_t i = 0; i < 1000; i++)
		own_set_add(&set, i, 1, i + 1);
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(own_set_has(&set, 1, i + 1));
	assert_false(own_set_has(&set, 2, 1));
	assert_false(own_set_has(&set, 1, 1001));
	for (uint32_t i = 0; i < 1000; i += 2)
		own_set_remove(&set, i);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(own_set_has(&set, 1, i + 1), i % 2);
	for (uint32_t i = 1; i < 1000; i += 2)
		own_set_remove(&set, i);
	assert_false(own_set_has(&set, 1, 2));
}

static void set__readers_lose_nothing_while_it_changes(void **state)
{
	pthread_t threads[2];

	(void)state;
	own_set_add(&set, 0, 1, 1);
	atomic_store(&is_over, false);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, look_for_first, NULL),
			0);
	/* slots in its chain before it, and the same ones in others, in turn */
	for (uint32_t round = 0; round < 2000; round++) {
		for (uint32_t i = 1; i < 50; i++)
			own_set_add(&set, i, 1, round % 2 ? 1 : 100 + i);
		for (uint32_t i = 1; i < 50; i++)
			own_set_remove(&set, i);
	}
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&lost), 0);
	own_set_remove(&set, 0);
}

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static struct stat st;

static atomic_int keepers;

static void keeper_died(void *arg, int error)
{
	(void)arg;
	if (!error)
		atomic_fetch_add(&keepers, 1);
}

static int setup(void **state)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.keeper_died = keeper_died},
	};

	(void)state;
	file_make(&file, 4 * PAGE);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, 4 * PAGE, &lease),
		0);
	assert_int_equal(own_files, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (lease)
		assert_int_equal(lease_release(lease, INT64_MAX), 0);
	lease = NULL;
	lease_engine_stop(engine);
	assert_int_equal(own_files, 0);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

static bool is_held(void *arg)
{
	return lease_state(arg) == RECALL_HELD;
}

static void kill_keeper(void)
{
	pid_t pid = file_lease_holder(&file);

	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_for(process_is_gone, &pid, "the keeper is dead");
}

static bool has_new_keeper(void *arg)
{
	return atomic_load(&keepers) > *(int *)arg;
}

static void own__keeper_dies_between_begin_and_end(void **state)
{
	struct own own;
	int before = atomic_load(&keepers);

	(void)state;
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	assert_int_equal(own_truncate(&own, 2 * PAGE), 0);
	kill_keeper();
	wait_for(has_new_keeper, &before, "another keeper has the lease");
	assert_int_equal(own_truncate(&own, 4 * PAGE), 0);
	own_end(&own);
	wait_for(is_held, lease, "the lease is held");
	file_check_let_in(&file, O_RDWR);
	wait_for(is_held, lease, "the lease is held again");
}

static void own__keeper_is_dead_at_begin(void **state)
{
	struct own own;
	int fd;

	(void)state;
	kill_keeper();
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_OPEN, &own);
	fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	own_end(&own);
	close(fd);
	wait_for(is_held, lease, "the lease is held again");
}

static void own__lease_is_released_between_begin_and_end(void **state)
{
	struct own own;

	(void)state;
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	assert_int_equal(lease_release(lease, INT64_MAX), 0);
	lease = NULL;
	assert_int_equal(own_truncate(&own, 0), -EOPNOTSUPP);
	own_end(&own);
	assert_false(own_is_leased(engine, st.st_dev, st.st_ino));
	/* and one that comes too late has nothing to say */
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_OPEN, &own);
	assert_false(own.is_announced);
	own_end(&own);
}

static void own__signals_are_blocked_in_between(void **state)
{
	sigset_t before, now;
	struct own own;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(sigismember(&before, SIGALRM), 0);
	errno = 77;
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	assert_int_equal(errno, 77);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	assert_int_equal(sigismember(&now, SIGALRM), 1);
	own_end(&own);
	assert_int_equal(errno, 77);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	assert_memory_equal(&before, &now, 8);
}

#define OWN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set__has_what_was_added),
		cmocka_unit_test(set__readers_lose_nothing_while_it_changes),
		OWN_TEST(own__keeper_dies_between_begin_and_end),
		OWN_TEST(own__keeper_is_dead_at_begin),
		OWN_TEST(own__lease_is_released_between_begin_and_end),
		OWN_TEST(own__signals_are_blocked_in_between),
	};
	int r = file_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
