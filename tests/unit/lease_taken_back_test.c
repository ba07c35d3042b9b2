/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program gives a swap up, and takes back that blocks of the shadow are
 * filled, while the keeper is at one of them: it stays taken back. The moment
 * is brought about in what the keeper calls there: linked with --wrap.
 */
#include <string.h>

#include "flush_file.h"
#include "lease_flush.h"
#include "merge.h"
#include "unit.h"

/* Countdowns; 0: never. The block is taken back before the call. */
static int at_digest, at_store, at_exchange;

uint64_t __real_extent_digest(const struct extent *of, const void *block);
uint64_t __wrap_extent_digest(const struct extent *of, const void *block);
void __real_flush_file_store(struct flush_file *to, uint64_t at,
			     const void *from, size_t length);
void __wrap_flush_file_store(struct flush_file *to, uint64_t at,
			     const void *from, size_t length);
bool __real_flush_file_exchange(struct flush_file *to, uint64_t at,
				void *theirs, const void *from, size_t length);
bool __wrap_flush_file_exchange(struct flush_file *to, uint64_t at,
				void *theirs, const void *from, size_t length);

static void count_down(int *countdown)
{
	if (*countdown && !--*countdown)
		extent_clear_filled(&extent, 0);
}

uint64_t __wrap_extent_digest(const struct extent *of, const void *block)
{
	count_down(&at_digest);
	return __real_extent_digest(of, block);
}

void __wrap_flush_file_store(struct flush_file *to, uint64_t at,
			     const void *from, size_t length)
{
	count_down(&at_store);
	__real_flush_file_store(to, at, from, length);
}

bool __wrap_flush_file_exchange(struct flush_file *to, uint64_t at,
				void *theirs, const void *from, size_t length)
{
	count_down(&at_exchange);
	return __real_flush_file_exchange(to, at, theirs, from, length);
}

static int tear_down(void **state)
{
	at_digest = at_store = at_exchange = 0;
	return flush_tear_down(state);
}

static bool is_taken_back(void)
{
	assert_int_equal(at_digest + at_store + at_exchange, 0);
	return !extent_is_filled(&extent, 0);
}

static void flush__before_the_store_nothing_is_stored(void **state)
{
	(void)state;
	fill(0, 2);
	at_digest = 1;
	assert_int_equal(pass(), 0);
	assert_true(is_taken_back());
	assert_int_equal(bytes[0], 0);
	check_same(1, 2);
}

/* What it was at then is in the file, and nothing after it. */
static void flush__in_the_store_it_stays_so(void **state)
{
	(void)state;
	fill(0, 2);
	at_store = 1;
	assert_int_equal(pass(), 0);
	assert_true(is_taken_back());
	check_same(1, 2);
	shadow[0] ^= 0x80;
	bytes[0] = 99;
	assert_int_equal(pass(), 0);
	assert_true(is_taken_back());
	assert_int_equal(bytes[0], 99);
}

static void flush__the_same_on_both_sides_it_stays_so(void **state)
{
	(void)state;
	fill(0, 1);
	memcpy(bytes, shadow, PAGE);
	at_digest = 1;
	assert_int_equal(pass(), 0);
	assert_true(is_taken_back());
}

/* While others have the file. */
static void lent__in_the_store_it_stays_so(void **state)
{
	int r;

	(void)state;
	fill(0, 2);
	assert_int_equal(pass(), 0);
	shadow[0] ^= 0x80;
	at_exchange = 1;
	flush_begin_part(flush, 0, SIZE, true);
	while ((r = flush_part_piece(flush)) > 0)
		;
	assert_int_equal(r, 0);
	assert_true(is_taken_back());
	check_same(1, 2);
}

static void merge__in_the_block_it_stays_so(void **state)
{
	struct merge *merge;

	(void)state;
	fill(0, 2);
	assert_int_equal(pass(), 0);
	bytes[0] ^= 0x80;
	bytes[PAGE] ^= 0x80;
	assert_int_equal(merge_open(file.fd, shadow_fd, &extent,
				    ON_CONFLICT_OURS, &merge),
			 0);
	at_digest = 1;
	while (merge_piece(merge) > 0)
		;
	merge_close(merge);
	assert_true(is_taken_back());
	check_same(1, 2);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, flush_set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(flush__before_the_store_nothing_is_stored),
		TEST(flush__in_the_store_it_stays_so),
		TEST(flush__the_same_on_both_sides_it_stays_so),
		TEST(lent__in_the_store_it_stays_so),
		TEST(merge__in_the_block_it_stays_so),
	};

	return cmocka_run_group_tests_name("lease taken back", tests, NULL,
					   NULL);
}
