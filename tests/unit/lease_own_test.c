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
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "own.h"
#include "reason.h"
#include "unit.h"

static struct own_set set;
static atomic_bool is_over;
static atomic_int lost, looks;

/* Slot 0 is there all the time, and its chain has others come and go. */
static void *look_for_first(void *arg)
{
	(void)arg;
	while (!atomic_load(&is_over)) {
		if (!own_set_has(&set, 1, 1))
			atomic_fetch_add(&lost, 1);
		atomic_fetch_add(&looks, 1);
	}
	return NULL;
}

#define NEIGHBOURS 16U

/* Files whose chain is that of (1, 1), where slot 0 is. */
static void find_neighbours(ino_t inos[NEIGHBOURS])
{
	uint32_t n = 0, head = 0;

	while (set.heads[head] != 1)
		head++;
	for (ino_t ino = 2; n < NEIGHBOURS; ino++) {
		own_set_add(&set, 1, 1, ino);
		if (set.heads[head] == 2)
			inos[n++] = ino;
		own_set_remove(&set, 1);
	}
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
	ino_t inos[NEIGHBOURS];
	pthread_t threads[2];
	time_t end = time(NULL) + 5; /* a sanitizer makes it slow */

	(void)state;
	own_set_add(&set, 0, 1, 1);
	find_neighbours(inos);
	atomic_store(&is_over, false);
	atomic_store(&looks, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, look_for_first, NULL),
			0);
	/* One after the other goes over to a chain of its own, and back: who
	 * stands in it goes along, and does not come by slot 0. */
	for (uint32_t i = 1; i <= NEIGHBOURS; i++)
		own_set_add(&set, i, 1, inos[i - 1]);
	while (atomic_load(&looks) < 2000000 && time(NULL) < end) {
		for (uint32_t i = 1; i <= NEIGHBOURS; i++) {
			own_set_remove(&set, i);
			own_set_add(&set, i, 2, i);
			own_set_remove(&set, i);
			own_set_add(&set, i, 1, inos[i - 1]);
		}
	}
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&lost), 0);
	for (uint32_t i = 0; i <= NEIGHBOURS; i++)
		own_set_remove(&set, i);
}

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static struct stat st;

static atomic_int keepers, failures;
static char keeper_link[300]; /* to its executable */

static void keeper_died(void *arg, int error)
{
	(void)arg;
	atomic_fetch_add(error ? &failures : &keepers, 1);
}

static int setup(void **state)
{
	struct lease_config config = {
		.keeper_path = keeper_link,
		.observer = {.keeper_died = keeper_died},
	};

	(void)state;
	file_make(&file, 4 * PAGE);
	snprintf(keeper_link, sizeof(keeper_link), "%s.keeper", file.path);
	assert_int_equal(symlink(KEEPER_PATH, keeper_link), 0);
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
		assert_int_equal(lease_release(lease, 0, 4 * PAGE, INT64_MAX),
				 0);
	lease = NULL;
	lease_engine_stop(engine);
	assert_int_equal(own_files, 0);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	unlink(keeper_link);
	return 0;
}

static bool is_held(void *arg)
{
	return lease_state(arg) == RECALL_HELD;
}

static bool is_lost(void *arg)
{
	return lease_state(arg) == RECALL_LOST;
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

static bool can_start_none(void *arg)
{
	return atomic_load(&failures) > *(int *)arg;
}

/* No keeper is to be had: an open of our own, and one by others, go on. */
static void own__no_keeper_can_be_started(void **state)
{
	int before = atomic_load(&failures), fd;
	struct own own;

	(void)state;
	assert_int_equal(unlink(keeper_link), 0);
	kill_keeper();
	wait_for(can_start_none, &before, "no keeper can be started");
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_OPEN, &own);
	fd = open(file.path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_true(fd >= 0);
	own_end(&own);
	close(fd);
	assert_int_equal(symlink(KEEPER_PATH, keeper_link), 0);
	wait_for(is_held, lease, "the lease is held again");
}

static void unserved__others_do_not_wait_for_the_kernel(void **state)
{
	int before = atomic_load(&failures);

	(void)state;
	assert_int_equal(unlink(keeper_link), 0);
	kill_keeper();
	wait_for(can_start_none, &before, "no keeper can be started");
	file_check_let_in(&file, O_RDWR);
	wait_for(is_lost, lease, "the lease counts as lost");
	assert_int_equal(symlink(KEEPER_PATH, keeper_link), 0);
	wait_for(is_held, lease, "the lease is held again");
	file_check_let_in(&file, O_RDWR);
	wait_for(is_held, lease, "and served");
}

static void own__lease_is_released_between_begin_and_end(void **state)
{
	struct own own;

	(void)state;
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	assert_int_equal(lease_release(lease, 0, 4 * PAGE, INT64_MAX), 0);
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
		OWN_TEST(own__no_keeper_can_be_started),
		OWN_TEST(unserved__others_do_not_wait_for_the_kernel),
		OWN_TEST(own__lease_is_released_between_begin_and_end),
		OWN_TEST(own__signals_are_blocked_in_between),
	};
	int r = file_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
