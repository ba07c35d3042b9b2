/* SPDX-License-Identifier: BSD-2-Clause */
/* Pinned regions whose rkeys stay: what becomes of their windows (keys=window).
 */
#include <errno.h>
#include <pthread.h>

#include "pinned_world.h"
#include "unit.h"

#define KEY 0x4711

/* Each has a window, which is on its MR. */
static void give_windows(void)
{
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++) {
		regions[i].keys = KEYS_WINDOW;
		regions[i].access = IBV_ACCESS_REMOTE_WRITE;
		regions[i].key.mw = &windows[i];
		regions[i].key.rkey = regions[i].seen->mr.rkey = KEY;
		on[i] = regions[i].mr;
	}
	pthread_mutex_unlock(&pinned_lock);
}

static void window__is_on_nothing_while_others_have_it(void **state)
{
	(void)state;
	give_windows();
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(refused_dereg, 0);
	for (size_t i = 0; i < REGIONS; i++)
		assert_null(on[i]);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for_all();
	for (size_t i = 0; i < REGIONS; i++) {
		assert_non_null(regions[i].mr);
		assert_ptr_equal(on[i], regions[i].mr);
		assert_ptr_equal(regions[i].key.mw, &windows[i]);
	}
	assert_int_equal(bound, REGIONS);
	assert_int_equal(severed, 0);
	assert_int_equal(ended, 0);
	assert_int_equal(told[PINNED_SEVERED], 0);
}

/* Its key goes with it: who was told it has nothing to hope for. */
static void window__that_cannot_be_on_nothing_goes(void **state)
{
	(void)state;
	give_windows();
	refuse_clear = true;
	ask_all();
	wait_for(&agreed, REGIONS);
	wait_for(&told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ENOKEY);
	assert_int_equal(ended, REGIONS);
	assert_int_equal(refused_dereg, 0);
	assert_true(severed >= 2);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&told[PINNED_BACK], REGIONS);
	wait_for_all();
	assert_int_equal(bound, 0);
	for (size_t i = 0; i < REGIONS; i++)
		assert_false(pinned_has_window(&regions[i]));
}

/* Not even that: the MR cannot go, and it is tried again. */
static void window__that_does_not_go_is_tried_again(void **state)
{
	(void)state;
	give_windows();
	refuse_end = true;
	ask_all();
	/* each time by both tries, and by those for windows of the program */
	wait_for(&refused_dereg, 4 * REGIONS);
	assert_int_equal(gone, 0);
	assert_int_equal(agreed, 0);
	refuse_end = false;
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&bound, REGIONS);
	wait_for_all();
	assert_int_equal(ended, 0);
}

static void window__not_bound_again_at_first(void **state)
{
	unsigned int made;

	(void)state;
	give_windows();
	refuse_bind = true;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&refused_bind, 2 * REGIONS);
	assert_int_equal(told[PINNED_BACK], 0);
	refuse_bind = false;
	wait_for(&told[PINNED_BACK], REGIONS);
	wait_for_all();
	made = back;
	/* those that no window was bound to are gone */
	assert_int_equal(gone, made);
	for (size_t i = 0; i < REGIONS; i++)
		assert_ptr_equal(on[i], regions[i].mr);
	assert_int_equal(ended, 0);
	assert_int_equal(severed, 0);
}

/* Nobody knows where it is then, so it goes, and the region has another key. */
static void window__not_bound_again_at_all(void **state)
{
	(void)state;
	give_windows();
	ask_all();
	wait_for(&agreed, REGIONS);
	refuse_bind = refuse_clear = true;
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&told[PINNED_BACK], REGIONS);
	wait_for_all();
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ENOKEY);
	assert_int_equal(refused_bind, REGIONS);
	assert_int_equal(ended, REGIONS);
	assert_true(severed >= REGIONS);
	for (size_t i = 0; i < REGIONS; i++)
		assert_false(pinned_has_window(&regions[i]));
}

/* Nor does its MR go: the key is nobody's any more, and is not shown as one. */
static void window__lost_with_an_mr_that_stays(void **state)
{
	(void)state;
	give_windows();
	ask_all();
	wait_for(&agreed, REGIONS);
	refuse_bind = refuse_clear = keep = true;
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&told[PINNED_SEVERED], REGIONS);
	wait_for_all();
	assert_int_equal(refused_dereg, REGIONS);
	for (size_t i = 0; i < REGIONS; i++) {
		assert_non_null(regions[i].mr);
		assert_int_equal(regions[i].seen->mr.rkey, 0);
	}
	keep = false;
}

/* The same before others have the file: its MR's is shown. */
static void window__lost_before_an_mr_that_does_not_go(void **state)
{
	uint32_t shown;

	(void)state;
	give_windows();
	refuse_clear = keep = true;
	ask_all();
	wait_for(&told[PINNED_SEVERED], REGIONS);
	wait_for(&refused_dereg, 4 * REGIONS);
	pinned_begin(&regions[0]);
	shown = regions[0].seen->mr.rkey;
	pinned_end(&regions[0]);
	keep = false;
	assert_int_not_equal(shown, KEY);
	wait_for(&agreed, REGIONS);
}

/* Of a call of the program's, that gives up waiting: peers that connect again
 * reach it. */
static void window__is_on_an_mr_that_does_not_go(void **state)
{
	struct pinned_own own;

	(void)state;
	give_windows();
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].quiesce_ns = 3000000000;
	pthread_mutex_unlock(&pinned_lock);
	keep = true;
	pinned_own_begin(&own, DEV, INO);
	pinned_own_end(&own);
	wait_for_all();
	assert_true(refused_dereg >= REGIONS);
	for (size_t i = 0; i < REGIONS; i++) {
		assert_non_null(regions[i].mr);
		assert_ptr_equal(on[i], regions[i].mr);
		assert_int_equal(regions[i].seen->mr.rkey, KEY);
	}
	keep = false;
}

/* Others have it by now: nothing that peers write is to go there. */
static void window__is_not_on_an_mr_that_others_wait_for(void **state)
{
	(void)state;
	give_windows();
	keep = true;
	for (size_t i = 0; i < REGIONS; i++)
		pinned_begin(&regions[i]);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	hear_all(RECALL_YIELDED, RECALL_OUT_OF_TIME);
	for (size_t i = 0; i < REGIONS; i++)
		pinned_end(&regions[i]);
	wait_for(&refused_dereg, 4 * REGIONS);
	wait_for_all();
	for (size_t i = 0; i < REGIONS; i++)
		assert_null(on[i]);
	keep = false;
	wait_for(&gone, REGIONS);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)
	const struct CMUnitTest tests[] = {
		CASE(window__is_on_nothing_while_others_have_it),
		CASE(window__that_cannot_be_on_nothing_goes),
		CASE(window__that_does_not_go_is_tried_again),
		CASE(window__not_bound_again_at_first),
		CASE(window__not_bound_again_at_all),
		CASE(window__lost_with_an_mr_that_stays),
		CASE(window__lost_before_an_mr_that_does_not_go),
		CASE(window__is_on_an_mr_that_does_not_go),
		CASE(window__is_not_on_an_mr_that_others_wait_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
