/* SPDX-License-Identifier: BSD-2-Clause */
/* Where shadows are mapped: never "no" where one is, and "no" far away. */
#include "shadow_places.h"
#include "unit.h"

#define MANY (4UL * SHADOW_PLACES)

static int clear(void **state)
{
	(void)state;
	shadow_places_clear();
	return 0;
}

static void places__none_or_one(void **state)
{
	(void)state;
	assert_false(shadow_places_have(0, UINTPTR_MAX));
	shadow_places_add(0x5000, 0x9000);
	assert_true(shadow_places_have(0x5000, 0x5001));
	assert_true(shadow_places_have(0x8fff, 0x9000));
	assert_true(shadow_places_have(0, UINTPTR_MAX));
	assert_false(shadow_places_have(0, 0x5000));
	assert_false(shadow_places_have(0x9000, UINTPTR_MAX));
	shadow_places_clear();
	assert_false(shadow_places_have(0, UINTPTR_MAX));
}

static void places__what_touches_is_one_and_makes_no_gap(void **state)
{
	(void)state;
	/* far more of them than there is room for */
	for (uintptr_t i = 0; i < MANY; i++) {
		shadow_places_add(0x100000 - i * 0x1000, 0x101000 - i * 0x1000);
		shadow_places_add(0x900000 + i * 0x1000, 0x901000 + i * 0x1000);
	}
	assert_false(shadow_places_have(0x101000, 0x900000));
	assert_true(shadow_places_have(0x100000 - 30 * 0x1000, 0x100000));
	assert_true(shadow_places_have(0x900000 + 63 * 0x1000, UINTPTR_MAX));
	assert_false(shadow_places_have(0, 0x101000 - MANY * 0x1000));
	assert_false(shadow_places_have(0x900000 + MANY * 0x1000, UINTPTR_MAX));
}

static uintptr_t at(uintptr_t i)
{
	return 0x10000000 + i * 7919 % MANY * 0x100000;
}

static void places__more_than_there_is_room_for_none_is_forgotten(void **state)
{
	(void)state;
	for (uintptr_t i = 0; i < MANY; i++) {
		shadow_places_add(at(i), at(i) + 0x2000);
		for (uintptr_t j = 0; j <= i; j++)
			assert_true(shadow_places_have(at(j) + 0x1fff,
						       at(j) + 0x2000));
	}
	assert_false(shadow_places_have(0, 0x10000000));
	assert_false(
		shadow_places_have(0x10000000 + MANY * 0x100000, UINTPTR_MAX));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, clear, clear)
	const struct CMUnitTest tests[] = {
		TEST(places__none_or_one),
		TEST(places__what_touches_is_one_and_makes_no_gap),
		TEST(places__more_than_there_is_room_for_none_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
