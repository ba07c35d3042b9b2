/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks are compared, copied and digested alike by each of the code's two
 * kinds: keepers and programs of one region may have chosen differently, as in
 * a guest that has been moved to another processor.
 */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "unit.h"

#define KINDS 2

static alignas(32) uint8_t block[EXTENT_BLOCK], other[EXTENT_BLOCK];
static uint8_t secret[EXTENT_SECRET_SIZE];

static const struct block_code *kinds[KINDS] = {&block_plain, &block_plain};

static int set_up(void **state)
{
	(void)state;
	srandom(1);
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)random();
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = other[i] = (uint8_t)random();
	/* The one that is taken here; elsewhere it is the plain one twice. */
	kinds[1] = block_code();
	return 0;
}

static void same__each_single_bit_is_seen(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		assert_true(kinds[kind]->is_same(block, other));
		for (size_t i = 0; i < EXTENT_BLOCK; i++) {
			other[i] ^= (uint8_t)(1U << i % 8);
			assert_false(kinds[kind]->is_same(block, other));
			assert_false(kinds[kind]->is_same(other, block));
			other[i] = block[i];
		}
	}
}

static void same__two_changes_do_not_hide_each_other(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++)
		for (size_t i = 0; i < EXTENT_BLOCK / 2; i += 16) {
			other[i] ^= 0x80;
			other[EXTENT_BLOCK - 16 - i] ^= 0x80;
			assert_false(kinds[kind]->is_same(block, other));
			memcpy(other, block, EXTENT_BLOCK);
		}
}

static void take__each_byte_is_copied_and_none_beyond(void **state)
{
	static alignas(32) uint8_t room[3 * EXTENT_BLOCK];
	static const uint8_t untouched[EXTENT_BLOCK];

	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		memset(room, 0, sizeof(room));
		kinds[kind]->take(room + EXTENT_BLOCK, block);
		assert_memory_equal(room + EXTENT_BLOCK, block, EXTENT_BLOCK);
		assert_memory_equal(room, untouched, EXTENT_BLOCK);
		assert_memory_equal(room + 2 * EXTENT_BLOCK, untouched,
				    EXTENT_BLOCK);
		assert_memory_equal(block, other, EXTENT_BLOCK);
	}
}

static void
digest__is_the_same_of_all_kinds_wherever_the_block_lies(void **state)
{
	static alignas(32) uint8_t room[EXTENT_BLOCK + 32];
	uint64_t digest = block_plain.digest(block, secret);

	(void)state;
	for (size_t at = 0; at < 32; at++) {
		memcpy(room + at, block, EXTENT_BLOCK);
		for (int kind = 0; kind < KINDS; kind++)
			assert_true(kinds[kind]->digest(room + at, secret) ==
				    digest);
	}
}

static void digest__each_byte_of_block_and_secret_is_in_it(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		uint64_t digest = kinds[kind]->digest(block, secret);

		for (size_t i = 0; i < EXTENT_BLOCK; i++) {
			other[i] ^= 1;
			assert_true(kinds[kind]->digest(other, secret) !=
				    digest);
			other[i] = block[i];
		}
		for (size_t i = 0; i < EXTENT_SECRET_SIZE; i++) {
			secret[i] ^= 1;
			assert_true(kinds[kind]->digest(block, secret) !=
				    digest);
			secret[i] ^= 1;
		}
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
	const struct CMUnitTest tests[] = {
		TEST(same__each_single_bit_is_seen),
		TEST(same__two_changes_do_not_hide_each_other),
		TEST(take__each_byte_is_copied_and_none_beyond),
		TEST(digest__is_the_same_of_all_kinds_wherever_the_block_lies),
		TEST(digest__each_byte_of_block_and_secret_is_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
