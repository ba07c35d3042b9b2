/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Merging a file that others changed with its shadow: every case of merge.h's
 * table, and that what a peer writes into the shadow meanwhile is not lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "extent_book.h"
#include "flush.h"
#include "lease_file.h"
#include "merge.h"
#include "unit.h"

#define BLOCKS 300UL /* more than a piece */
#define SIZE   (BLOCKS * PAGE)
#define OFFSET (2 * PAGE)
#define WORDS  (PAGE / sizeof(uint64_t))

static struct file file;
static uint64_t *theirs; /* the file */
static uint64_t *ours;	 /* the shadow */
static struct extent_shelf shelf;
static struct extent extent;
static int shadow_fd;

/* Both sides are the same and know it: a flush was here. */
static int set_up(void **state)
{
	struct flush *flush;

	(void)state;
	file_make(&file, OFFSET + SIZE);
	theirs = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd,
		      OFFSET);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	ours = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		    0);
	assert_true((void *)theirs != MAP_FAILED && (void *)ours != MAP_FAILED);
	for (size_t i = 0; i < BLOCKS * WORDS; i++)
		ours[i] = i;
	assert_int_equal(extent_new(&shelf, OFFSET, SIZE, &extent), 0);
	for (uint64_t block = 0; block < BLOCKS; block++)
		extent_set_filled(&extent, block);
	assert_int_equal(flush_open(file.fd, shadow_fd, &extent, &flush), 0);
	while (flush_piece(flush) > 0)
		;
	flush_close(flush);
	assert_memory_equal(theirs, ours, SIZE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	munmap(theirs, SIZE);
	munmap(ours, SIZE);
	extent_free(&shelf, &extent);
	close(shadow_fd);
	file_remove(&file);
	return 0;
}

static int merge_all(enum on_conflict policy, struct merge_counts *ret)
{
	struct merge *merge;
	int r;

	assert_int_equal(
		merge_open(file.fd, shadow_fd, &extent, policy, &merge), 0);
	while ((r = merge_piece(merge)) > 0)
		;
	*ret = merge_counts(merge);
	merge_close(merge);
	return r;
}

static uint64_t *word(uint64_t *side, uint64_t block, uint64_t i)
{
	return &side[block * WORDS + i];
}

static void merge__nobody_changed_anything_nothing_is_done(void **state)
{
	struct merge_counts counts;

	(void)state;
	assert_int_equal(merge_all(ON_CONFLICT_THEIRS, &counts), 0);
	assert_int_equal(counts.theirs, 0);
	assert_int_equal(counts.conflicts, 0);
	assert_memory_equal(theirs, ours, SIZE);
}

static void merge__others_changed_a_block_it_is_in_the_shadow(void **state)
{
	struct merge_counts counts;

	(void)state;
	*word(theirs, 0, 0) = 1001;
	*word(theirs, 280, 511) = 1002;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.theirs, 2);
	assert_int_equal(counts.conflicts, 0);
	assert_int_equal(*word(ours, 0, 0), 1001);
	assert_int_equal(*word(ours, 280, 511), 1002);
	assert_memory_equal(theirs, ours, SIZE);
	/* That is the base now. */
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.theirs, 0);
}

static void merge__we_changed_a_block_it_stays_ours(void **state)
{
	struct merge_counts counts;

	(void)state;
	*word(ours, 7, 3) = 77;
	assert_int_equal(merge_all(ON_CONFLICT_THEIRS, &counts), 0);
	assert_int_equal(counts.theirs + counts.conflicts, 0);
	assert_int_equal(*word(ours, 7, 3), 77);
	assert_int_equal(*word(theirs, 7, 3), 7 * WORDS + 3);
}

static void merge__both_changed_a_block_ours_wins(void **state)
{
	struct merge_counts counts;
	struct flush *flush;

	(void)state;
	*word(ours, 7, 3) = 77;
	*word(theirs, 7, 4) = 88;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.conflicts, 1);
	assert_int_equal(*word(ours, 7, 3), 77);
	assert_int_equal(*word(ours, 7, 4), 7 * WORDS + 4);
	/* Counted once; the flush writes it. */
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.conflicts, 0);
	assert_int_equal(flush_open(file.fd, shadow_fd, &extent, &flush), 0);
	while (flush_piece(flush) > 0)
		;
	flush_close(flush);
	assert_memory_equal(theirs, ours, SIZE);
	assert_int_equal(*word(theirs, 7, 3), 77);
}

static void merge__both_changed_a_block_theirs_wins(void **state)
{
	struct merge_counts counts;

	(void)state;
	*word(ours, 7, 3) = 77;
	*word(theirs, 7, 4) = 88;
	assert_int_equal(merge_all(ON_CONFLICT_THEIRS, &counts), 0);
	assert_int_equal(counts.conflicts, 1);
	assert_memory_equal(theirs, ours, SIZE);
	assert_int_equal(*word(ours, 7, 4), 88);
}

static void merge__both_made_the_same_change_it_is_no_conflict(void **state)
{
	struct merge_counts counts;

	(void)state;
	*word(ours, 9, 9) = *word(theirs, 9, 9) = 99;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.theirs + counts.conflicts, 0);
	*word(theirs, 9, 9) = 100;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.theirs, 1);
	assert_int_equal(*word(ours, 9, 9), 100);
}

static void merge__a_block_without_a_base_counts_as_ours_too(void **state)
{
	struct merge_counts counts;

	(void)state;
	atomic_store(&extent.digests[5], EXTENT_NO_DIGEST);
	*word(theirs, 5, 5) = 55;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.conflicts, 1);
	assert_int_equal(*word(ours, 5, 5), 5 * WORDS + 5);
}

static void merge__the_file_was_cut_off_the_rest_is_zeroes(void **state)
{
	struct merge_counts counts;

	(void)state;
	assert_int_equal(ftruncate(file.fd, OFFSET + 100 * PAGE + 8), 0);
	*word(ours, 200, 0) = 200;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.theirs, BLOCKS - 100 - 1);
	assert_int_equal(counts.conflicts, 1);
	assert_int_equal(*word(ours, 100, 0), 100 * WORDS);
	assert_int_equal(*word(ours, 100, 1), 0);
	assert_int_equal(*word(ours, BLOCKS - 1, 511), 0);
	assert_int_equal(*word(ours, 200, 0), 200);
}

static void merge__what_is_not_filled_is_left_alone(void **state)
{
	struct merge_counts counts;

	(void)state;
	for (uint64_t block = 0; block < 64; block++)
		extent_clear_filled(&extent, block);
	*word(theirs, 3, 0) = 33;
	*word(theirs, 64, 0) = 64;
	assert_int_equal(merge_all(ON_CONFLICT_OURS, &counts), 0);
	assert_int_equal(counts.theirs, 1);
	assert_int_equal(*word(ours, 3, 0), 3 * WORDS);
	assert_int_equal(*word(ours, 64, 0), 64);
}

/*
 * A peer stores to every second word of a block of the shadow, now and then;
 * others change the words between in the file. What the peer stored stands
 * there, whatever is merged at that moment.
 */
#define MARK (1ULL << 62)

struct peer {
	atomic_bool stop;
	atomic_uint may_store; /* one round's worth */
	uint64_t stores;
	uint64_t lost;
};

static void *store_now_and_then(void *arg)
{
	struct peer *peer = arg;
	_Atomic uint64_t *shadow = (_Atomic uint64_t *)ours;
	uint64_t last[WORDS / 2] = {0};

	while (!atomic_load(&peer->stop)) {
		uint64_t i = peer->stores % (WORDS / 2);
		uint64_t was = atomic_load(&shadow[2 * i]);

		if (!atomic_exchange(&peer->may_store, 0))
			continue;
		if (last[i] && was != last[i])
			peer->lost++;
		last[i] = MARK + ++peer->stores;
		/* Somewhere within the merge of the block. */
		for (volatile uint64_t n = peer->stores % 997; n; n--)
			;
		atomic_store(&shadow[2 * i], last[i]);
	}
	for (uint64_t i = 0; i < WORDS / 2; i++)
		if (last[i] && atomic_load(&shadow[2 * i]) != last[i])
			peer->lost++;
	return NULL;
}

static void merge__a_peer_writes_meanwhile_nothing_is_lost(void **state)
{
	struct peer peer = {.stop = false};
	uint64_t merged = 0, conflicts = 0;
	struct merge *merge;
	struct flush *flush;
	pthread_t thread;

	(void)state;
	/* One block, so that most of the time goes where the race is. */
	for (uint64_t block = 1; block < BLOCKS; block++)
		extent_clear_filled(&extent, block);
	assert_int_equal(flush_open(file.fd, shadow_fd, &extent, &flush), 0);
	assert_int_equal(merge_open(file.fd, shadow_fd, &extent,
				    ON_CONFLICT_OURS, &merge),
			 0);
	pthread_create(&thread, NULL, store_now_and_then, &peer);
	for (uint64_t round = 1; round <= 20000; round++) {
		while (flush_piece(flush) > 0)
			;
		for (uint64_t i = 1; i < WORDS; i += 2)
			*word(theirs, 0, i) = round * WORDS + i;
		atomic_store(&peer.may_store, 1);
		for (volatile uint64_t n = round % 499; n; n--)
			;
		while (merge_piece(merge) > 0)
			;
		merged += merge_counts(merge).theirs;
		conflicts += merge_counts(merge).conflicts;
	}
	atomic_store(&peer.stop, true);
	pthread_join(thread, NULL);
	merge_close(merge);
	flush_close(flush);
	assert_int_equal(peer.lost, 0);
	/* The peer came before the merge, and after it had begun. */
	assert_true(merged > 0);
	assert_true(conflicts > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(merge__nobody_changed_anything_nothing_is_done),
		TEST(merge__others_changed_a_block_it_is_in_the_shadow),
		TEST(merge__we_changed_a_block_it_stays_ours),
		TEST(merge__both_changed_a_block_ours_wins),
		TEST(merge__both_changed_a_block_theirs_wins),
		TEST(merge__both_made_the_same_change_it_is_no_conflict),
		TEST(merge__a_block_without_a_base_counts_as_ours_too),
		TEST(merge__the_file_was_cut_off_the_rest_is_zeroes),
		TEST(merge__what_is_not_filled_is_left_alone),
		TEST(merge__a_peer_writes_meanwhile_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
