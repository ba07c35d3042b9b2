/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * examples/02-blockstore: what a window takes to be committed after others have
 * cut the file off, and what the file's check finds. daxmr and the device are
 * this file's: memory is the file's own mapping, and a flush does nothing. So
 * are say(), which counts, and pread(), which fails where a test wants it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "say.h"
#include "window.h"

#define BLOCKS 8

struct daxmr_region {
	void *addr;
	size_t length;
};

static int regions, flushes, registrations, registration_error, said;
static int64_t tried_at_ms; /* the last of these */
static off_t unreadable = -1;

int say(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%d)\n", error);
	said++;
	return error;
}

/* Of whole blocks and pages; of their last byte nothing is known to fail. */
ssize_t pread(int fd, void *to, size_t size, off_t at)
{
	if (at == unreadable && size > 1) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, size, at);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int daxmr_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access,
		 const struct daxmr_options *options, struct daxmr_region **ret)
{
	(void)pd, (void)access, (void)options;
	tried_at_ms = now_ms();
	registrations++;
	if (registration_error)
		return registration_error;
	*ret = malloc(sizeof(**ret));
	assert_non_null(*ret);
	**ret = (struct daxmr_region){addr, length};
	regions++;
	return 0;
}

int daxmr_dereg_mr(struct daxmr_region *region)
{
	free(region);
	regions--;
	return 0;
}

int daxmr_flush(struct daxmr_region *region, size_t offset, size_t length,
		unsigned int flags)
{
	assert_int_equal(flags, 0);
	assert_true(offset + length <= region->length);
	flushes++;
	return 0;
}

int daxmr_region_info(const struct daxmr_region *region, struct daxmr_info *ret)
{
	ret->addr = region->addr;
	ret->state = DAXMR_STATE_HELD;
	return 0;
}

const char *daxmr_errormsg(void)
{
	return "";
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	static struct ibv_pd pd;

	(void)context;
	return &pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	(void)pd;
	return 0;
}

struct served {
	char path[64];
	struct store store;
	struct window window;
};

/* What the server does when the file has changed. */
static int look(struct served *served)
{
	assert_true(store_has_changed(&served->store));
	store_look(&served->store);
	window_look(&served->window);
	return window_fit(&served->window);
}

static int serve(void **state)
{
	struct served *served = calloc(1, sizeof(*served));
	int fd;

	assert_non_null(served);
	*state = served;
	strcpy(served->path, "/tmp/blockstore-XXXXXX");
	fd = mkstemp(served->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(store_format(served->path, 1, BLOCKS * STORE_BLOCK),
			 0);
	assert_int_equal(store_open(&served->store, served->path), 0);
	assert_int_equal(
		window_open(&served->window, &served->store, 0, NULL, NULL), 0);
	assert_int_equal(look(served), 0);
	window_settle(&served->window);
	return 0;
}

static int end(void **state)
{
	struct served *served = *state;

	window_close(&served->window);
	store_close(&served->store);
	unlink(served->path);
	free(served);
	unreadable = -1;
	registration_error = 0;
	assert_int_equal(regions, 0);
	return 0;
}

/* In the file, of the only window. */
static off_t at_slot(const struct served *served, uint32_t block,
		     uint32_t sequence)
{
	return (off_t)(served->store.data_at + slot_offset(block, sequence));
}

static void set_blocks(const struct served *served, uint32_t blocks)
{
	assert_int_equal(truncate(served->path, at_slot(served, blocks, 0)), 0);
}

/* As the peer does: its bytes are in the free slot, and so it says. */
static struct wire_commit write_block(const struct served *served,
				      uint32_t block, uint32_t sequence)
{
	struct wire_commit commit = {.first = block, .count = 1};
	char *bytes =
		store_data(&served->store, 0) + slot_offset(block, sequence);

	memset(bytes, (int)(block * 16 + sequence), STORE_BLOCK);
	commit.words[0] = index_make(sequence, block_checksum(bytes));
	return commit;
}

static int commit(struct served *served, struct wire_commit message)
{
	return window_commit(&served->window, &message);
}

/* Bytes that end with so many zeroes. */
static int commit_zeroes(struct served *served, uint32_t block, size_t zeroes)
{
	struct wire_commit message = write_block(served, block, 1);
	char *bytes = store_data(&served->store, 0) + slot_offset(block, 1);

	memset(bytes + STORE_BLOCK - zeroes, 0, zeroes);
	message.words[0] = index_make(1, block_checksum(bytes));
	return commit(served, message);
}

static uint32_t sequence(const struct served *served, uint32_t block)
{
	return index_sequence(store_index(&served->store, 0)[block]);
}

static void commit_all(struct served *served)
{
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(commit(served, write_block(served, i, 1)), 0);
}

static void commit__is_durable_before_and_after_its_word(void **state)
{
	struct served *served = *state;

	flushes = 0;
	assert_int_equal(commit(served, write_block(served, 5, 1)), 0);
	assert_int_equal(flushes, 2);
	assert_int_equal(sequence(served, 5), 1);
}

/* The peer has not gone by the first new size yet when there is a second. */
static void commit__beyond_the_second_cut_is_refused(void **state)
{
	struct served *served = *state;
	struct wire_commit waiting = write_block(served, 3, 1);
	struct wire_window told;

	set_blocks(served, 4);
	assert_int_equal(look(served), 0);
	set_blocks(served, 2);
	assert_int_equal(look(served), -EAGAIN);

	assert_int_equal(commit(served, waiting), -ENOSPC);
	assert_int_equal(commit(served, write_block(served, 1, 1)), 0);
	window_describe(&served->window, &told);
	assert_int_equal(told.blocks, 2);
	assert_int_equal(told.kept, 2);
}

static void look__cut_off_and_grown_back_is_empty(void **state)
{
	struct served *served = *state;

	commit_all(served);
	set_blocks(served, 3);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);

	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(sequence(served, i), i < 3);
	assert_int_equal(store_check(served->path), 0);
	/* what it knows of them goes: it is told, and agrees */
	assert_int_equal(commit(served, write_block(served, 6, 2)), -ENOSPC);
	window_settle(&served->window);
	assert_int_equal(commit(served, write_block(served, 6, 1)), 0);
}

/* What the new bytes behind the old end have in common is zeroes. */
static void look__cut_off_within_a_block_is_empty(void **state)
{
	struct served *served = *state;

	commit_all(served);
	assert_int_equal(truncate(served->path, at_slot(served, 3, 0) - 3), 0);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);

	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(sequence(served, i), i < 2);
}

/* Their bytes are what they were: but the peer takes them for empty. */
static void look__zeroes_behind_the_cut_are_empty(void **state)
{
	struct served *served = *state;

	commit_all(served);
	assert_int_equal(commit(served, write_block(served, 6, 2)), 0);
	set_blocks(served, 3);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);
	window_settle(&served->window);
	assert_int_equal(commit_zeroes(served, 6, STORE_BLOCK), 0);
	assert_int_equal(commit(served, write_block(served, 4, 1)), 0);

	set_blocks(served, 3);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);
	assert_int_equal(served->window.kept, 4);
	assert_int_equal(sequence(served, 6), 0);
	window_settle(&served->window);
	assert_int_equal(commit(served, write_block(served, 6, 1)), 0);
}

/* A medium that fails in one place takes no other block along. */
static void look__unreadable_block_is_no_cut(void **state)
{
	struct served *served = *state;

	assert_int_equal(commit_zeroes(served, 2, 8), 0);
	assert_int_equal(commit(served, write_block(served, 5, 1)), 0);
	unreadable = at_slot(served, 2, 1);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);

	assert_int_equal(sequence(served, 2), 1);
	assert_int_equal(sequence(served, 5), 1);
}

static void commit__after_the_last_sequence_is_refused(void **state)
{
	struct served *served = *state;
	uint64_t last = index_make(UINT32_MAX, 7);

	store_index(&served->store, 0)[5] = last;
	assert_int_equal(commit(served, write_block(served, 5, 0)), -EOVERFLOW);
	assert_true(store_index(&served->store, 0)[5] == last);
}

/* How long it is from the last try until it is tried so many times. */
static int64_t until_tried(struct served *served, int times)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	int64_t before_ms = tried_at_ms, start = now_ms();

	while (registrations < times && now_ms() - start < 10000) {
		assert_int_equal(window_fit(&served->window), -EAGAIN);
		nanosleep(&pause, NULL);
	}
	assert_int_equal(registrations, times);
	return tried_at_ms - before_ms;
}

static void fit__that_fails_is_said_once_and_tried_more_seldom(void **state)
{
	struct served *served = *state;

	set_blocks(served, 4);
	registrations = said = 0;
	registration_error = -ENOMEM;
	assert_int_equal(look(served), -EAGAIN);
	assert_int_equal(registrations, 1);
	assert_true(until_tried(served, 2) >= 190);
	assert_true(until_tried(served, 3) >= 390);
	assert_int_equal(said, 1);

	/* another shape: at once */
	set_blocks(served, 5);
	assert_int_equal(look(served), -EAGAIN);
	assert_int_equal(registrations, 4);
	assert_int_equal(said, 2);
	registration_error = 0;
	set_blocks(served, 6);
	assert_int_equal(look(served), 0);
	assert_int_equal(served->window.blocks, 6);
}

static void fit__others_have_the_file_is_tried_as_ever(void **state)
{
	struct served *served = *state;

	set_blocks(served, 4);
	registrations = said = 0;
	registration_error = -EBUSY;
	assert_int_equal(look(served), -EAGAIN);
	/* were each pause twice the last one: 12 s, too long */
	assert_true(until_tried(served, 7) >= 1190);
	assert_int_equal(said, 0);
}

static void check__committed_and_cut_off_is_found(void **state)
{
	struct served *served = *state;

	commit_all(served);
	assert_int_equal(store_check(served->path), 0);
	set_blocks(served, 3);
	assert_int_equal(store_check(served->path), -EILSEQ);
}

static void check__unreadable_index_is_an_error(void **state)
{
	struct served *served = *state;

	commit_all(served);
	unreadable = STORE_PAGE;
	assert_int_equal(store_check(served->path), -EIO);
}

/* The file system takes a part of it, and then no more. */
static void format__no_room_for_all_is_an_error(void **state)
{
	struct served *served = *state;
	struct rlimit all, less;
	int r;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	less = (struct rlimit){6000, all.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	errno = 0;
	r = store_format(served->path, 1, BLOCKS * STORE_BLOCK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
	assert_int_equal(r, -EFBIG);
}

static void look__nothing_cut_off_keeps_all(void **state)
{
	struct served *served = *state;
	struct wire_commit waiting;

	commit_all(served);
	waiting = write_block(served, 7, 2);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);

	assert_int_equal(commit(served, waiting), 0);
	assert_int_equal(sequence(served, 7), 2);
	assert_int_equal(sequence(served, 0), 1);
}

/* Nothing of it was committed before: the index does not show the cut. */
static void commit__bytes_cut_off_while_it_waited_is_refused(void **state)
{
	struct served *served = *state;
	struct wire_commit waiting = write_block(served, 5, 1);

	set_blocks(served, 3);
	set_blocks(served, BLOCKS);
	assert_int_equal(look(served), 0);

	assert_int_equal(commit(served, waiting), -ENOSPC);
	assert_int_equal(sequence(served, 5), 0);
	assert_int_equal(commit(served, write_block(served, 4, 1)), 0);
}

static void open__cut_off_and_grown_back_before_is_empty(void **state)
{
	struct served *served = *state;

	commit_all(served);
	window_close(&served->window);
	store_close(&served->store);
	set_blocks(served, 3);
	set_blocks(served, BLOCKS);
	assert_int_equal(store_open(&served->store, served->path), 0);
	assert_int_equal(
		window_open(&served->window, &served->store, 0, NULL, NULL), 0);
	assert_int_equal(look(served), 0);

	assert_int_equal(sequence(served, 2), 1);
	assert_int_equal(sequence(served, 3), 0);
}

/* Between the open and the first look of the event loop. */
static void open__cut_off_right_after_is_seen(void **state)
{
	struct served *served = *state;

	window_close(&served->window);
	store_close(&served->store);
	assert_int_equal(store_open(&served->store, served->path), 0);
	set_blocks(served, 2);
	assert_int_equal(
		window_open(&served->window, &served->store, 0, NULL, NULL), 0);
	assert_int_equal(look(served), 0);

	assert_int_equal(served->window.blocks, 2);
	assert_int_equal(commit(served, write_block(served, 1, 1)), 0);
	assert_false(store_has_changed(&served->store));
	set_blocks(served, 1);
	assert_true(store_has_changed(&served->store));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, serve, end)
	const struct CMUnitTest tests[] = {
		TEST(commit__is_durable_before_and_after_its_word),
		TEST(commit__beyond_the_second_cut_is_refused),
		TEST(look__cut_off_and_grown_back_is_empty),
		TEST(look__cut_off_within_a_block_is_empty),
		TEST(look__zeroes_behind_the_cut_are_empty),
		TEST(look__unreadable_block_is_no_cut),
		TEST(look__nothing_cut_off_keeps_all),
		TEST(commit__bytes_cut_off_while_it_waited_is_refused),
		TEST(open__cut_off_and_grown_back_before_is_empty),
		TEST(open__cut_off_right_after_is_seen),
		TEST(commit__after_the_last_sequence_is_refused),
		TEST(fit__that_fails_is_said_once_and_tried_more_seldom),
		TEST(fit__others_have_the_file_is_tried_as_ever),
		TEST(check__committed_and_cut_off_is_found),
		TEST(check__unreadable_index_is_an_error),
		TEST(format__no_room_for_all_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
