/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine's thread asks nothing of the program's malloc(), whose blocks may
 * lie in the file that is held up, and whose lock who waits for the engine may
 * have: heap.h. It is this test's own, and counts.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lease_file.h"
#include "lease_stage.h"
#include "lease_table.h"
#include "unit.h"

#define PAGES  16UL
#define LENGTH (PAGES * PAGE)

/* For the C library too. */
#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *old);

static _Atomic pid_t watched; /* the engine's thread, when it is ready */
static atomic_uint asked;

static void count(void)
{
	pid_t tid = atomic_load(&watched);

	if (tid && gettid() == tid)
		atomic_fetch_add(&asked, 1);
}

EXPORT void *malloc(size_t size)
{
	count();
	return __libc_malloc(size);
}

EXPORT void *calloc(size_t number, size_t size)
{
	count();
	return __libc_calloc(number, size);
}

EXPORT void *realloc(void *old, size_t size)
{
	count();
	return __libc_realloc(old, size);
}

EXPORT void free(void *old)
{
	if (old)
		count();
	__libc_free(old);
}

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static struct stat st;
static char *map;
static atomic_int keepers;

static void keeper_died(void *arg, int error)
{
	(void)arg;
	atomic_fetch_add(&keepers, !error);
}

/* From the first registration on; the engine's start is a call of theirs. */
static void start(void)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.keeper_died = keeper_died},
	};

	atomic_store(&keepers, 0);
	atomic_store(&asked, 0);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	atomic_store(&watched, lease_engine_desk(engine)->tid);
}

static void stage(void)
{
	file_make(&file, LENGTH);
	assert_int_equal(fstat(file.fd, &st), 0);
	map = file_map(&file, LENGTH);
	lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
	assert_false(stage_is_file_at(&file, map));
	memset(map, 'S', LENGTH);
}

static int set_up(void **state)
{
	(void)state;
	idler_start();
	start();
	stage();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unstage_range(lease, 0, LENGTH);
	assert_int_equal(atomic_load(&asked), 0);
	atomic_store(&watched, 0);
	lease_engine_stop(engine);
	idler_stop();
	munmap(map, LENGTH);
	file_remove(&file);
	return 0;
}

static void registered__again_and_flushed(void **state)
{
	struct lease *again;

	(void)state;
	again = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH / 2);
	assert_int_equal(lease_flush(again, 0, LENGTH), 0);
	unstage_range(again, 0, LENGTH / 2);
	assert_int_equal(atomic_load(&asked), 0);
}

/* Nobody else has it: the lock goes, and all of /proc has been looked at. */
static void closed__with_a_lock(void **state)
{
	struct file other;
	struct lease *of_other;
	struct stat other_st;
	int fd;

	(void)state;
	file_make(&other, PAGE);
	assert_int_equal(fstat(other.fd, &other_st), 0);
	assert_int_equal(
		acquire_range(engine, other.fd, F_WRLCK, 0, PAGE, &of_other),
		0);
	assert_int_equal(flock(other.fd, LOCK_EX), 0);
	close(other.fd);
	own_closed(engine, other_st.st_dev, other_st.st_ino);
	/* This one may be the next that comes by its lock. */
	fd = open(other.path, O_RDWR | O_NONBLOCK);
	for (int i = 0; fd < 0 && i < 1000; i++) {
		usleep(10000);
		fd = open(other.path, O_RDWR | O_NONBLOCK);
	}
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	close(fd);
	assert_int_equal(lease_release(of_other, 0, PAGE, INT64_MAX), 0);
	other.fd = -1;
	file_remove(&other);
	assert_int_equal(atomic_load(&asked), 0);
}

/* Opened again, and made the only description of its mappings. */
static void registered__by_a_mapping_alone(void **state)
{
	struct lease_want want = {
		.fd = -1, .type = LEASE_TYPE_AUTO, .length = PAGE};
	struct lease *of_other;
	struct file other;
	char *first, *second;
	int fd;

	(void)state;
	file_make(&other, PAGE);
	first = file_map(&other, PAGE);
	fd = open(other.path, O_RDWR);
	second = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(second, MAP_FAILED);
	close(fd);
	close(other.fd);
	other.fd = -1;
	want.addr = (uintptr_t)first;
	assert_int_equal(lease_acquire(engine, &want, &of_other), 0);
	assert_int_equal(lease_release(of_other, 0, PAGE, INT64_MAX), 0);
	munmap(first, PAGE);
	munmap(second, PAGE);
	file_remove(&other);
	assert_int_equal(atomic_load(&asked), 0);
}

/* By path, and by what a shadow shows. */
static void changed__by_the_engine(void **state)
{
	struct own own;
	size_t length;

	(void)state;
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	assert_int_equal(own_truncate(&own, LENGTH / 2), 0);
	own_end(&own);
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	assert_int_equal(own_punch(&own, map, PAGE, &length), 0);
	own.length = length;
	own_end(&own);
	assert_int_equal(map[0], 0);
	assert_int_equal(atomic_load(&asked), 0);
}

static bool has_another_keeper(void *arg)
{
	(void)arg;
	return atomic_load(&keepers) > 0 && file_lease_holder(&file) &&
	       lease_state(lease) == RECALL_HELD;
}

static void kill_keeper(void)
{
	pid_t keeper = file_lease_holder(&file);

	assert_true(keeper > 0);
	assert_int_equal(kill(keeper, SIGKILL), 0);
	wait_for(has_another_keeper, NULL, "another keeper has it");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(atomic_load(&asked), 0);
}

static void keeper__dies(void **state)
{
	(void)state;
	kill_keeper();
}

/* No descriptor is left to the engine: it looks for the program's (recover.h).
 */
static void keeper__dies_and_had_it_alone(void **state)
{
	struct lease *of_other;
	struct rlimit limit, low;
	struct file other;
	pid_t tid;
	int lent;

	(void)state;
	file_make(&other, PAGE);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 32;
	do
		assert_int_equal(lease_lend(engine, file.fd, &lent, &tid), 0);
	while (lent < 24);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(
		acquire_range(engine, other.fd, F_WRLCK, 0, PAGE, &of_other),
		0);
	assert_true(of_other->fd < 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	kill_keeper();
	wait_for(stage_is_held, of_other, "and the other");
	assert_int_equal(lease_release(of_other, 0, PAGE, INT64_MAX), 0);
	file_remove(&other);
	assert_int_equal(atomic_load(&asked), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(registered__again_and_flushed,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(closed__with_a_lock, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(registered__by_a_mapping_alone,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(changed__by_the_engine, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(keeper__dies, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(keeper__dies_and_had_it_alone,
						set_up, tear_down),
	};
	int skip = file_cannot_lease();

	if (!skip)
		skip = stage_cannot_trap();
	return skip ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
