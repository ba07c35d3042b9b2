/* SPDX-License-Identifier: BSD-2-Clause */
/* Flushing a shadow into a real file: what flush.h promises. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "lease_flush.h"
#include "unit.h"

/* 60 blocks in a row, the rest not; and what a number says. */
static bool is_in(int pattern, uint64_t block)
{
	switch (pattern) {
	case 0:
		return false;
	case 1:
		return block == 0;
	case 2:
		return block == BLOCKS - 1;
	case 3:
		return block % 2;
	case 4:
		return block >= 230 && block < 290;
	case 5:
		return block * 2654435761UL % 100 < 13;
	default:
		return true;
	}
}

static void flush__any_blocks_differ_those_are_copied(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	for (int pattern = 0; pattern < 7; pattern++) {
		uint64_t before = copied(), changed = 0;

		for (uint64_t block = 0; block < BLOCKS; block++) {
			if (!is_in(pattern, block))
				continue;
			/* One byte, anywhere in the block. */
			shadow[block * PAGE + (block * 769 + pattern) % PAGE]++;
			changed++;
		}
		assert_int_equal(pass(), 0);
		check_same(0, BLOCKS);
		assert_int_equal(copied() - before, changed);
	}
	assert_int_equal(atomic_load(&extent.page->passes), 8);
	assert_int_equal(atomic_load(&extent.page->compared), 8 * BLOCKS);
}

static void flush__block_not_filled_is_not_even_read(void **state)
{
	struct stat st;

	(void)state;
	memset(bytes, 7, SIZE);
	extent_set_filled(&extent, 5);
	memset(shadow + 5 * PAGE, 9, PAGE);
	assert_int_equal(pass(), 0);
	assert_int_equal(bytes[5 * PAGE], 9);
	assert_int_equal(bytes[4 * PAGE], 7);
	assert_int_equal(bytes[6 * PAGE], 7);
	assert_int_equal(fstat(shadow_fd, &st), 0);
	assert_int_equal(st.st_blocks, PAGE / 512);
}

/* The caller looks at its lease between what may wait and what writes. */
static void flush__first_piece_of_a_pass_writes_nothing(void **state)
{
	(void)state;
	fill(1, BLOCKS);
	assert_int_equal(flush_piece(flush), 1);
	for (uint64_t block = 1; block < BLOCKS; block++)
		assert_int_equal(bytes[block * PAGE], 0);
	assert_int_equal(flush_piece(flush), 1);
	assert_int_equal(bytes[PAGE], 2);
	assert_int_equal(bytes[17 * PAGE], 0);
}

static void flush__restarted_half_way_is_complete(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	for (int i = 0; i < 5; i++)
		assert_int_equal(flush_piece(flush), 1);
	shadow[0]++;
	flush_restart(flush);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	assert_int_equal(atomic_load(&extent.page->passes), 1);
}

static void flush__last_page_half_in_the_file(void **state)
{
	uint8_t block[PAGE] = {0};
	struct stat st;

	(void)state;
	assert_int_equal(ftruncate(file.fd, OFFSET + 10 * PAGE + 100), 0);
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	check_same(0, 10);
	memset(block, 11, 100);
	assert_memory_equal(bytes + 10 * PAGE, block, PAGE);
	assert_true(extent.digests[10] == extent_digest(&extent, block));
	assert_true(extent.digests[11] == EXTENT_NO_DIGEST);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, OFFSET + 10 * PAGE + 100);
	assert_int_equal(copied(), 11);
}

static void flush__digest_lost_comes_back(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	extent.digests[300] = EXTENT_NO_DIGEST;
	assert_int_equal(pass(), 0);
	assert_int_equal(copied(), BLOCKS);
	check_same(0, BLOCKS);
}

static atomic_bool stop;

/* Past everybody's notice, as a forked child does it: by its mapping. */
static void flush__changed_past_us_stays_where_we_changed_nothing(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	assert_false(flush_has_met_others(flush));
	bytes[3 * PAGE] = 99;
	bytes[4 * PAGE] = 98;
	shadow[4 * PAGE + 1] = 97;
	shadow[5 * PAGE] = 96;
	assert_int_equal(pass(), 0);
	assert_true(flush_has_met_others(flush));
	assert_int_equal(bytes[3 * PAGE], 99);
	/* both did: ours */
	check_same(4, 6);
	assert_true(extent.digests[3] ==
		    extent_digest(&extent, shadow + 3 * PAGE));
	shadow[3 * PAGE] = 99;
	assert_int_equal(pass(), 0);
	assert_false(flush_has_met_others(flush));
}

static void *scribble(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; !atomic_load(&stop); i++)
		for (uint64_t at = 0; at < 64 * PAGE; at += sizeof(i))
			__atomic_store_n((uint64_t *)(shadow + at), i,
					 __ATOMIC_RELAXED);
	return NULL;
}

static void
flush__shadow_written_meanwhile_digests_are_of_the_file(void **state)
{
	pthread_t thread;

	(void)state;
	fill(0, BLOCKS);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, scribble, NULL), 0);
	for (uint64_t i = 0; i < 100 || copied() < BLOCKS + 200; i++) {
		assert_int_equal(pass(), 0);
		for (uint64_t block = 0; block < BLOCKS; block++)
			assert_true(
				extent.digests[block] ==
				extent_digest(&extent, bytes + block * PAGE));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

static void flush__shadow_can_be_sealed_under_it(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(flush_piece(flush), 1);
	assert_int_equal(fcntl(shadow_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	munmap(shadow, SIZE);
	assert_int_equal(fcntl(shadow_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, shadow_fd, 0);
	assert_true(shadow != MAP_FAILED);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

static void flush__program_scribbles_on_the_page_keeper_lives(void **state)
{
	uint64_t *words = (uint64_t *)extent.page, seed = 1;
	uint64_t *end = (uint64_t *)(extent.digests + BLOCKS);

	(void)state;
	assert_int_equal(ftruncate(extent_place(&extent).fd, 512), -1);
	assert_int_equal(ftruncate(shadow_fd, 0), -1);
	for (int i = 0; i < 300; i++) {
		for (uint64_t *word = words; word < end; word++)
			*word = seed =
				seed * 6364136223846793005UL + (uint64_t)i + 1;
		assert_true(flush_piece(flush) >= 0);
	}
}

static void flush__shadow_makes_no_sense_refused(void **state)
{
	struct flush *other = NULL;
	int short_fd;

	(void)state;
	short_fd = memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(flush_open(file.fd, short_fd, &extent, &other),
			 -EPROTO);
	assert_true(flush_open(file.fd, file.fd, &extent, &other) < 0);
	close(short_fd);
	assert_null(other);
}

static void flush__says_once_that_it_has_stored(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	flush_has_stored(flush);
	shadow[0]++;
	assert_int_equal(pass(), 0);
	assert_true(flush_has_stored(flush));
	assert_false(flush_has_stored(flush));
	assert_int_equal(pass(), 0);
	assert_false(flush_has_stored(flush));
	shadow[PAGE]++;
	flush_begin_part(flush, 0, SIZE, true);
	while (flush_part_piece(flush) > 0)
		;
	assert_true(flush_has_stored(flush));
}

/* A signal that somebody sends is no fault of memory. */
static void flush__sigbus_sent_by_somebody_does_nothing(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(fault_init(), 0);
	assert_int_equal(kill(getpid(), SIGBUS), 0);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, flush_set_up, flush_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flush__any_blocks_differ_those_are_copied),
		TEST(flush__block_not_filled_is_not_even_read),
		TEST(flush__first_piece_of_a_pass_writes_nothing),
		TEST(flush__restarted_half_way_is_complete),
		TEST(flush__last_page_half_in_the_file),
		TEST(flush__digest_lost_comes_back),
		TEST(flush__changed_past_us_stays_where_we_changed_nothing),
		TEST(flush__shadow_written_meanwhile_digests_are_of_the_file),
		TEST(flush__shadow_can_be_sealed_under_it),
		TEST(flush__program_scribbles_on_the_page_keeper_lives),
		TEST(flush__shadow_makes_no_sense_refused),
		TEST(flush__says_once_that_it_has_stored),
		TEST(flush__sigbus_sent_by_somebody_does_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
