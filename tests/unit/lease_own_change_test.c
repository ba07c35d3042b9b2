/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program changes size and blocks of a file that has shadows: nothing of it
 * is undone, nothing is taken for somebody else's doing, and nobody who wants
 * the file waits for long.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "lease_stage.h"
#include "own.h"
#include "unit.h"

#define PAGES  64UL
#define LENGTH (PAGES * PAGE)

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static struct stat st;
static char *map;
static _Atomic uint64_t conflicts, theirs, changed_past_us, cut_off;

static void changed(void *arg, struct lease *of,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)of;
	(void)missed;
	atomic_fetch_add(&conflicts, report->conflicts);
	atomic_fetch_add(&theirs, report->theirs);
	atomic_fetch_add(&changed_past_us, report->cause == RECALL_CHANGED);
	atomic_fetch_add(&cut_off, report->cause == RECALL_SHRUNK);
}

static void stage(void)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.changed = changed},
	};

	assert_int_equal(fstat(file.fd, &st), 0);
	map = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
	memset(map, 'S', LENGTH);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
}

static int set_up(void **state)
{
	(void)state;
	file_make(&file, LENGTH);
	stage();
	conflicts = theirs = changed_past_us = cut_off = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(conflicts, 0);
	assert_int_equal(theirs, 0);
	assert_int_equal(changed_past_us, 0);
	assert_int_equal(cut_off, 0);
	assert_int_equal(lease_unstage(lease, 0, LENGTH), 0);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	file_remove(&file);
	return 0;
}

static void begin(struct own *own)
{
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, own);
}

static void end_zeroed(struct own *own, uint64_t offset, uint64_t length)
{
	own->effect = OWN_ZEROED;
	own->offset = offset;
	own->length = length;
	own_end(own);
}

static void punch_file(uint64_t offset, uint64_t length)
{
	assert_int_equal(fallocate(file.fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)offset, (off_t)length),
			 0);
}

/* All that the keeper does for a change, and for one who has had the file. */
static void settle(void)
{
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	file_check_let_in(&file, O_RDWR);
	wait_for(stage_is_held, lease, "the file is ours again");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
}

static void check_file(uint64_t offset, uint64_t length, char byte)
{
	static char bytes[LENGTH];

	assert_int_equal(pread(file.fd, bytes, length, (off_t)offset), length);
	for (uint64_t i = 0; i < length; i++)
		if (bytes[i] != byte || map[offset + i] != byte)
			fail_msg("at %lu: file 0x%x, shadow 0x%x, not 0x%x",
				 offset + i, bytes[i], map[offset + i], byte);
}

static void change__punched_stays_punched(void **state)
{
	const uint64_t from = 3 * PAGE + 100, to = 9 * PAGE + 7;
	struct own own;

	(void)state;
	/* what the file has not seen yet is punched as well, or is not */
	map[5 * PAGE] = 'N';
	map[20 * PAGE] = 'N';
	begin(&own);
	punch_file(from, to - from);
	end_zeroed(&own, from, to - from);
	settle();
	check_file(0, from, 'S');
	check_file(from, to - from, 0);
	check_file(to, 20 * PAGE - to, 'S');
	check_file(20 * PAGE, 1, 'N');
}

static void change__cut_off_is_not_written_again(void **state)
{
	const off_t size = 10 * PAGE + 77;
	struct own own;
	struct stat now;

	(void)state;
	map[30 * PAGE] = 'N';
	begin(&own);
	assert_int_equal(ftruncate(file.fd, size), 0);
	own.effect = OWN_RESIZED;
	own_end(&own);
	settle();
	assert_int_equal(fstat(file.fd, &now), 0);
	assert_int_equal(now.st_size, size);
	begin(&own);
	assert_int_equal(ftruncate(file.fd, LENGTH), 0);
	own.effect = OWN_RESIZED;
	own_end(&own);
	settle();
	check_file(0, (uint64_t)size, 'S');
	check_file((uint64_t)size, LENGTH - (uint64_t)size, 0);
}

/* By an open, which hands the file back: it is as if it had been ours. */
static void change__cut_off_by_an_open_is_not_written_again(void **state)
{
	struct stat now;
	struct own own;
	int fd;

	(void)state;
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_OPEN, &own);
	fd = open(file.path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	own.effect = OWN_CUT;
	own.offset = 0;
	own_end(&own);
	assert_int_equal(map[5 * PAGE], 0);
	close(fd);
	wait_for(stage_is_held, lease, "the file is ours again");
	map[5 * PAGE] = 'N';
	settle();
	assert_int_equal(fstat(file.fd, &now), 0);
	assert_int_equal(now.st_size, 0);
	begin(&own);
	assert_int_equal(ftruncate(file.fd, LENGTH), 0);
	own.effect = OWN_RESIZED;
	own_end(&own);
	settle();
	check_file(6 * PAGE, LENGTH - 6 * PAGE, 0);
}

static atomic_bool is_over;

/* As a peer does. Only these words, one in a page. */
static void *store_all_the_time(void *arg)
{
	for (uint64_t i = 0; !atomic_load(&is_over); i++)
		atomic_store((_Atomic uint64_t *)(map + i % 16 * PAGE + 800),
			     i);
	return arg;
}

static void change__stores_meanwhile_are_no_conflict(void **state)
{
	struct own own;
	pthread_t thread;

	(void)state;
	atomic_store(&is_over, false);
	pthread_create(&thread, NULL, store_all_the_time, NULL);
	for (int i = 0; i < 200; i++) {
		memset(map + 4 * PAGE + 100, 'S', 600);
		begin(&own);
		punch_file(3 * PAGE + 10, 6 * PAGE);
		end_zeroed(&own, 3 * PAGE + 10, 6 * PAGE);
		assert_int_equal(map[4 * PAGE + 100], 0);
		assert_int_equal(map[4 * PAGE + 699], 0);
		if (i % 3)
			assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	settle();
	check_file(4 * PAGE, 800, 0);
	check_file(4 * PAGE + 808, PAGE - 808, 0);
}

static atomic_bool is_flushed;

static void *flush_all(void *arg)
{
	(void)arg;
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	atomic_store(&is_flushed, true);
	return NULL;
}

/* The shadow has old bytes until the end: nobody writes them back. */
static void change__nothing_is_flushed_before_its_end(void **state)
{
	double until;
	struct own own;
	pthread_t thread;
	char byte = 'x';

	(void)state;
	map[5 * PAGE] = 'N';
	begin(&own);
	atomic_store(&is_flushed, false);
	pthread_create(&thread, NULL, flush_all, NULL);
	punch_file(5 * PAGE, PAGE);
	for (until = now_sec() + 0.3; now_sec() < until;) {
		assert_int_equal(pread(file.fd, &byte, 1, 5 * PAGE), 1);
		assert_int_equal(byte, 0);
		assert_false(atomic_load(&is_flushed));
		usleep(1000);
	}
	end_zeroed(&own, 5 * PAGE, PAGE);
	pthread_join(thread, NULL);
	check_file(5 * PAGE, PAGE, 0);
}

/* Others wait for it, but not for ever. */
static void change__that_takes_long_holds_nobody_up_for_long(void **state)
{
	struct own own;

	(void)state;
	map[5 * PAGE] = 'N';
	begin(&own);
	punch_file(5 * PAGE, PAGE);
	file_check_let_in(&file, O_RDONLY);
	end_zeroed(&own, 5 * PAGE, PAGE);
	wait_for(stage_is_held, lease, "the file is ours again");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(5 * PAGE, PAGE, 0);
	/* 'N' was a change of ours, the hole one that nobody had announced */
	conflicts = theirs = 0;
}

static void *stage_more(void *arg)
{
	atomic_store((atomic_int *)arg, lease_stage(lease, 0, LENGTH));
	return NULL;
}

/* A shadow is filled when the change is through, and has what came of it. */
static void change__no_shadow_comes_meanwhile(void **state)
{
	struct own own;
	pthread_t thread;
	atomic_int r = 1;

	(void)state;
	assert_int_equal(lease_unstage(lease, 0, LENGTH), 0);
	begin(&own);
	pthread_create(&thread, NULL, stage_more, &r);
	usleep(50000);
	/* what is not through by now waits */
	assert_int_equal(r, 1);
	punch_file(5 * PAGE, PAGE);
	end_zeroed(&own, 5 * PAGE, PAGE);
	pthread_join(thread, NULL);
	assert_int_equal(r, 0);
	settle();
	check_file(5 * PAGE, PAGE, 0);
	check_file(6 * PAGE, PAGE, 'S');
}

/* Between the two steps: what only the file has stays. */
static void change__program_is_killed_in_it(void **state)
{
	pid_t program, keeper;
	char bytes[3];
	int status;

	(void)state;
	file_make(&file, LENGTH);
	close(file.fd);
	program = fork();
	if (!program) {
		struct own own;

		file.fd = open(file.path, O_RDWR | O_CLOEXEC);
		stage();
		map[7 * PAGE] = 'N';
		begin(&own);
		punch_file(5 * PAGE, PAGE);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(program, &status, 0), program);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	keeper = file_lease_holder(&file);
	if (keeper)
		wait_for(process_is_gone, &keeper, "the keeper ends");
	file.fd = open(file.path, O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			pread(file.fd, &bytes[i], 1, (5 + i) * (off_t)PAGE), 1);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(bytes[1], 'S');
	assert_int_equal(bytes[2], 'N');
	file_remove(&file);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(change__punched_stays_punched),
		TEST(change__cut_off_is_not_written_again),
		TEST(change__cut_off_by_an_open_is_not_written_again),
		TEST(change__stores_meanwhile_are_no_conflict),
		TEST(change__nothing_is_flushed_before_its_end),
		TEST(change__that_takes_long_holds_nobody_up_for_long),
		TEST(change__no_shadow_comes_meanwhile),
		cmocka_unit_test(change__program_is_killed_in_it),
	};
	if (file_cannot_lease())
		return 77;
	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
