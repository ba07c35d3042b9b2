/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * While others have a file that has a shadow: what is flushed goes to the file,
 * as far as they have not touched it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_stage.h"
#include "reason.h"
#include "unit.h"

#define LENGTH (700 * PAGE)

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static char *map;

static uint32_t flush_ms;

static int set_up(void **state)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.terms.flush_ms = flush_ms,
		.terms.flush_cpu = 100,
	};

	(void)state;
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	idler_start();
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unstage_range(lease, 0, LENGTH);
	lease_engine_stop(engine);
	idler_stop();
	munmap(map, LENGTH);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

static bool is_yielded(void *arg)
{
	return lease_state(arg) == RECALL_YIELDED;
}

/* The file itself. */
static bool is_in_file(const char *text, off_t at)
{
	char room[16] = "";
	size_t length = strlen(text);

	return pread(file.fd, room, length, at) == (ssize_t)length &&
	       !strcmp(room, text);
}

static pid_t other;
static int gate[2];

/* Somebody else has it open, and has written there when this returns. */
static void lend(int flags, const char *text, off_t at)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	other = fork();
	if (!other) {
		int fd = open(file.path, flags | O_CLOEXEC);

		close(gate[1]);
		if (fd < 0 ||
		    (text && pwrite(fd, text, strlen(text), at) < 0) ||
		    write(ready[1], "x", 1) < 0)
			_exit(2);
		_exit(read(gate[0], &byte, 1) != 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	wait_for(is_yielded, lease, "others have it");
}

static void take_back(void)
{
	int status;

	close(gate[0]);
	close(gate[1]);
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(status, 0);
	wait_for(stage_is_held, lease, "the file is ours again");
}

static void lent__to_who_leaves_it_alone_it_is_flushed(void **state)
{
	static const int flags[] = {O_RDONLY, O_RDWR};
	static const char *const texts[] = {"read", "written"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		size_t length = strlen(texts[i]);

		lend(flags[i], NULL, 0);
		memcpy(map + 600 * PAGE, texts[i], length);
		memcpy(map + 601 * PAGE, texts[i], length);
		assert_int_equal(lease_flush(lease, 600 * PAGE, 3), 0);
		assert_true(is_in_file(texts[i], 600 * PAGE));
		assert_false(is_in_file(texts[i], 601 * PAGE));
		assert_int_equal(lease_state(lease), RECALL_YIELDED);
		take_back();
		assert_memory_equal(map + 600 * PAGE, texts[i], length);
		assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
		assert_true(is_in_file(texts[i], 601 * PAGE));
	}
}

/* At once: -EAGAIN is what would be waited for. */
static void lent__to_who_writes_the_same_block_it_is_refused(void **state)
{
	(void)state;
	lend(O_RDWR, "theirs", 5 * PAGE + 100);
	memcpy(map + 5 * PAGE, "ours", 4);
	memcpy(map + 6 * PAGE, "beside", 6);
	assert_int_equal(lease_flush(lease, 5 * PAGE, 4), -EIO);
	assert_non_null(strstr(reason_text(), strrchr(file.path, '/') + 1));
	assert_non_null(strstr(reason_text(), "others"));
	assert_int_equal(lease_flush(lease, 0, LENGTH), -EIO);
	assert_true(is_in_file("theirs", 5 * PAGE + 100));
	assert_false(is_in_file("ours", 5 * PAGE));
	assert_true(is_in_file("beside", 6 * PAGE));
	assert_int_equal(lease_flush(lease, 6 * PAGE, 6), 0);
	take_back();
	assert_int_equal(lease_flush(lease, 5 * PAGE, 4), 0);
	assert_true(is_in_file("ours", 5 * PAGE));
}

/* Others had cut the file off before, in the middle of a block. */
static void
lent__what_is_in_the_file_is_flushed_what_is_beyond_waits(void **state)
{
	(void)state;
	assert_int_equal(truncate(file.path, 10 * PAGE + 8), 0);
	wait_for(stage_is_held, lease, "the file is ours again");
	lend(O_RDONLY, NULL, 0);
	memcpy(map + 10 * PAGE, "inside", 6);
	assert_int_equal(lease_flush(lease, 10 * PAGE, 6), 0);
	assert_true(is_in_file("inside", 10 * PAGE));
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	/* For that the file has to grow. */
	memcpy(map + 10 * PAGE, "beside", 6);
	memcpy(map + 10 * PAGE + 100, "beyond", 6);
	memcpy(map + 12 * PAGE, "beyond", 6);
	assert_int_equal(lease_flush(lease, 12 * PAGE, 6), -EIO);
	assert_int_equal(lease_flush(lease, 10 * PAGE, 6), -EIO);
	assert_true(is_in_file("beside", 10 * PAGE));
	assert_int_equal(lseek(file.fd, 0, SEEK_END), 10 * PAGE + 8);
	take_back();
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_true(is_in_file("beyond", 10 * PAGE + 100));
	assert_true(is_in_file("beyond", 12 * PAGE));
}

/* What they do after it has been flushed is theirs alone. */
static void lent__they_write_what_was_flushed_it_is_in_the_shadow(void **state)
{
	char text[] = "later";

	(void)state;
	lend(O_RDONLY, NULL, 0);
	memcpy(map + 5 * PAGE, "flushed", 7);
	assert_int_equal(lease_flush(lease, 5 * PAGE, 7), 0);
	assert_int_equal(pwrite(file.fd, text, 5, 5 * PAGE + 200), 5);
	take_back();
	assert_memory_equal(map + 5 * PAGE, "flushed", 7);
	assert_memory_equal(map + 5 * PAGE + 200, text, 5);
}

static int set_up_with_write_back(void **state)
{
	flush_ms = 5;
	return set_up(state);
}

static int tear_down_with_write_back(void **state)
{
	flush_ms = 0;
	return tear_down(state);
}

static bool is_written(void *arg)
{
	return is_in_file(arg, 300 * PAGE);
}

static void lent__to_a_reader_it_is_written_back_unasked(void **state)
{
	static char texts[][8] = {"one", "two", "three", "four"};

	(void)state;
	lend(O_RDONLY, NULL, 0);
	for (int i = 0; i < 4; i++) {
		memcpy(map + 300 * PAGE, texts[i], strlen(texts[i]));
		wait_for(is_written, texts[i], "it is in the file");
		assert_int_equal(lease_state(lease), RECALL_YIELDED);
		/* it goes on after what was asked for */
		memcpy(map, texts[i], 3);
		assert_int_equal(lease_flush(lease, 0, 3), 0);
	}
	take_back();
}

/* Of another file it is: that tells the time. */
static void lent__by_consent_it_is_a_picture_of_that_moment(void **state)
{
	static char texts[][8] = {"one", "two", "three", "four"};
	struct file picture;
	struct lease *asked;
	char *at;
	int fd;

	(void)state;
	file_make(&picture, 16 * PAGE);
	at = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		  picture.fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	asked = stage_range(engine, picture.fd, F_WRLCK, 0, 16 * PAGE);
	assert_int_equal(lease_ask(asked, 1), 0);
	fd = open(picture.path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	lend(O_RDONLY, NULL, 0);

	memcpy(at, "later", 5);
	for (int i = 0; i < 4; i++) {
		memcpy(map + 300 * PAGE, texts[i], strlen(texts[i]));
		wait_for(is_written, texts[i], "it is in the other file");
	}
	assert_int_equal(pread(fd, texts[0], 1, 0), 1);
	assert_int_equal(texts[0][0], 0);

	close(fd);
	take_back(); /* he has inherited it */
	wait_for(stage_is_held, asked, "the file is ours again");
	unstage_range(asked, 0, 16 * PAGE);
	munmap(at, 16 * PAGE);
	file_remove(&picture);
}

#define GAPS 12

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Who opens next waits for what has come since. A pause would be 10 ms. */
static void lent__taken_back_when_it_is_closed(void **state)
{
	double gaps[GAPS];

	(void)state;
	for (int i = 0; i < GAPS; i++) {
		double closed;
		int fd = open(file.path, i % 2 ? O_RDWR : O_RDONLY);

		assert_true(fd >= 0);
		close(fd);
		closed = now_sec();
		while (lease_state(lease) == RECALL_YIELDED)
			sched_yield();
		gaps[i] = now_sec() - closed;
		wait_for(stage_is_held, lease, "the file is ours again");
		/* so that it isn't broken again and again */
		usleep(120000);
	}
	qsort(gaps, GAPS, sizeof(double), compare);
	print_message("taken back after %.2f ms (median), %.2f ms (longest)\n",
		      gaps[GAPS / 2] * 1000, gaps[GAPS - 1] * 1000);
	assert_true(gaps[0] < 0.01);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(lent__to_who_leaves_it_alone_it_is_flushed),
		TEST(lent__to_who_writes_the_same_block_it_is_refused),
		TEST(lent__what_is_in_the_file_is_flushed_what_is_beyond_waits),
		TEST(lent__they_write_what_was_flushed_it_is_in_the_shadow),
		cmocka_unit_test_setup_teardown(
			lent__to_a_reader_it_is_written_back_unasked,
			set_up_with_write_back, tear_down_with_write_back),
		cmocka_unit_test_setup_teardown(
			lent__by_consent_it_is_a_picture_of_that_moment,
			set_up_with_write_back, tear_down_with_write_back),
		TEST(lent__taken_back_when_it_is_closed),
	};
	int r = stage_cannot_trap();

	if (!r && file_cannot_lease())
		r = 77;
	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
