/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A part of a shadow made durable: while the file is ours, beside a pass over
 * all; and while others have it, over nothing that they have touched.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "lease_flush.h"
#include "unit.h"

static int part(uint64_t offset, uint64_t end, bool is_lent)
{
	int r;

	assert_int_equal(fault_init(), 0);
	flush_begin_part(flush, offset, end, is_lent);
	do
		r = flush_part_piece(flush);
	while (r > 0);
	return r;
}

static uint64_t compared(void)
{
	return atomic_load(&extent.page->compared);
}

static void part__blocks_of_the_range_are_written_and_no_others(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	for (int is_lent = 0; is_lent < 2; is_lent++) {
		uint64_t looked = compared(), stored = copied();

		for (uint64_t block = 100; block < 200; block++)
			shadow[block * PAGE + 9]++;
		assert_int_equal(
			part(110 * PAGE + 4000, 150 * PAGE + 1, is_lent), 0);
		check_same(110, 151);
		assert_int_equal(copied() - stored, 41);
		assert_int_equal(compared() - looked, 41);
		assert_true(bytes[109 * PAGE + 9] != shadow[109 * PAGE + 9]);
		assert_true(bytes[151 * PAGE + 9] != shadow[151 * PAGE + 9]);
		assert_int_equal(part(0, UINT64_MAX, is_lent), 0);
		check_same(0, BLOCKS);
	}
}

/* It has found blocks that the part stores before it comes to that. */
static void
part__pass_over_all_goes_on_and_takes_nothing_for_theirs(void **state)
{
	uint64_t passes = atomic_load(&extent.page->passes);

	(void)state;
	fill(0, BLOCKS);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(flush_piece(flush), 1);
		shadow[(8 + (uint64_t)i) * PAGE]++;
		assert_int_equal(part(8 * PAGE, 60 * PAGE, false), 0);
		assert_int_equal(part(590 * PAGE, UINT64_MAX, false), 0);
		check_same(8, 60);
		check_same(590, BLOCKS);
	}
	assert_int_equal(atomic_load(&extent.page->passes), passes);
	assert_int_equal(pass(), 0);
	assert_false(flush_has_met_others(flush));
	assert_int_equal(atomic_load(&extent.page->passes), passes + 1);
	check_same(0, BLOCKS);
}

static void part__dropped_half_way_the_next_pass_is_complete(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	flush_begin_part(flush, 0, UINT64_MAX, false);
	for (int i = 0; i < 5; i++)
		assert_int_equal(flush_part_piece(flush), 1);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

static void lent__what_others_touched_stays_and_is_told(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	/* theirs alone, both, ours alone, not known */
	bytes[10 * PAGE + 1] = 7;
	bytes[11 * PAGE + 1] = 7;
	shadow[11 * PAGE + 2000] = 8;
	shadow[12 * PAGE] = 9;
	extent.digests[13] = EXTENT_NO_DIGEST;
	shadow[13 * PAGE] = 9;
	assert_int_equal(part(10 * PAGE, 11 * PAGE, true), 0);
	assert_int_equal(part(11 * PAGE, 12 * PAGE, true), -EBUSY);
	assert_int_equal(part(12 * PAGE, 13 * PAGE, true), 0);
	assert_int_equal(part(13 * PAGE, 14 * PAGE, true), -EBUSY);
	assert_int_equal(bytes[10 * PAGE + 1], 7);
	assert_int_equal(bytes[11 * PAGE + 1], 7);
	assert_int_equal(bytes[11 * PAGE + 2000], 12);
	assert_int_equal(bytes[13 * PAGE], 14);
	check_same(12, 13);
	/* one of them keeps no other from the file */
	shadow[14 * PAGE] = 9;
	assert_int_equal(part(0, UINT64_MAX, true), -EBUSY);
	check_same(14, BLOCKS);
	/* and what was not known is not taken for known now */
	assert_true(extent.digests[13] == EXTENT_NO_DIGEST);
}

static void lent__cut_off_by_others_it_stays_so_and_is_told(void **state)
{
	struct stat st;

	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	assert_int_equal(ftruncate(file.fd, OFFSET + 20 * PAGE + 100), 0);
	shadow[5 * PAGE]++;
	shadow[20 * PAGE]++;
	shadow[30 * PAGE]++;
	assert_int_equal(part(5 * PAGE, 6 * PAGE, true), 0);
	check_same(5, 6);
	assert_int_equal(part(20 * PAGE, 21 * PAGE, true), -EBUSY);
	assert_int_equal(part(30 * PAGE, 31 * PAGE, true), -EBUSY);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, OFFSET + 20 * PAGE + 100);
	assert_int_equal(bytes[20 * PAGE], 21);
}

#define ROUNDS 3000
#define WORD   100

static pthread_barrier_t barrier;

/* Somebody else's mapping: one store in each round, to a word that we have
 * changed as well. */
static void *store_theirs(void *arg)
{
	uint64_t *word = (uint64_t *)bytes + WORD;

	for (uint64_t i = 1; i <= ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		for (volatile unsigned int n = 0; n < i % 64 * 400; n++)
			;
		__atomic_store_n(word, i << 32, __ATOMIC_RELAXED);
		pthread_barrier_wait(&barrier);
	}
	return arg;
}

/* Before ours it is found, after ours it stays: it is never gone. */
static void lent__store_of_theirs_beside_ours_is_never_lost(void **state)
{
	uint64_t *theirs = (uint64_t *)bytes + WORD;
	uint64_t *ours = (uint64_t *)shadow;
	unsigned int lost = 0, found = 0;
	pthread_t thread;

	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, store_theirs, NULL), 0);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		int r;

		memcpy(bytes, shadow, PAGE);
		extent.digests[0] = extent_digest(&extent, shadow);
		for (unsigned int word = 0; word < PAGE / 8; word++)
			ours[word] += i;
		pthread_barrier_wait(&barrier);
		r = part(0, PAGE, true);
		pthread_barrier_wait(&barrier);
		lost += __atomic_load_n(theirs, __ATOMIC_RELAXED) != i << 32;
		found += r == -EBUSY;
		if (r == 0)
			assert_memory_equal(bytes + PAGE / 2, shadow + PAGE / 2,
					    PAGE / 2);
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&barrier);
	print_message("%u of %u stores came before ours\n", found, ROUNDS);
	assert_int_equal(lost, 0);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, flush_set_up, flush_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(part__blocks_of_the_range_are_written_and_no_others),
		TEST(part__pass_over_all_goes_on_and_takes_nothing_for_theirs),
		TEST(part__dropped_half_way_the_next_pass_is_complete),
		TEST(lent__what_others_touched_stays_and_is_told),
		TEST(lent__cut_off_by_others_it_stays_so_and_is_told),
		TEST(lent__store_of_theirs_beside_ours_is_never_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
