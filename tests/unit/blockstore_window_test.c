/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * examples/02-blockstore: what a window takes to be committed after others have
 * cut the file off. daxmr and the device are this file's: memory is the file's
 * own mapping, and a flush does nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "window.h"

#define BLOCKS 8

struct daxmr_region {
	void *addr;
	size_t length;
};

static int regions, flushes;

int daxmr_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access,
		 const struct daxmr_options *options, struct daxmr_region **ret)
{
	(void)pd, (void)access, (void)options;
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
	assert_int_equal(regions, 0);
	return 0;
}

static void set_blocks(const struct served *served, uint32_t blocks)
{
	assert_int_equal(
		truncate(served->path, (off_t)(served->store.data_at +
					       slot_offset(blocks, 0))),
		0);
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
		TEST(look__nothing_cut_off_keeps_all),
		TEST(commit__bytes_cut_off_while_it_waited_is_refused),
		TEST(open__cut_off_and_grown_back_before_is_empty),
		TEST(open__cut_off_right_after_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
