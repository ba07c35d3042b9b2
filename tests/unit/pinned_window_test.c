/* SPDX-License-Identifier: BSD-2-Clause */
/* Pinned regions that the program has bound windows of its own to. */
#include <pthread.h>

#include "pinned_world.h"
#include "unit.h"

#define WINDOW_AT     0x1400U
#define WINDOW_LENGTH 0x800U

/* On that region, which is at 0x1000. */
static void bind_window_on(size_t i, enum ibv_mw_type type, bool is_kept)
{
	regions[i].iova = 0x1000;
	regions[i].keeps_windows = is_kept;
	own_mws[i] = (struct ibv_mw){.rkey = 5, .type = type};
	own_windows[i] = (struct gate_window){.mw = &own_mws[i],
					      .type = type,
					      .addr = WINDOW_AT,
					      .length = WINDOW_LENGTH};
	own_bounds[i] = WINDOW_LENGTH;
	owners = i + 1;
}

static void bind_window(enum ibv_mw_type type, bool is_kept)
{
	bind_window_on(0, type, is_kept);
}

static void go_and_come_back(void)
{
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(own_bounds[0], 0);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	wait_for_all();
	assert_int_equal(severed, 0); /* QPs */
	assert_int_equal(own_windows[0].uses, 0);
}

static void recall__a_window_goes_and_comes_with_its_key(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_1, true);
	go_and_come_back();
	assert_int_equal(own_bounds[0], WINDOW_LENGTH);
	assert_int_equal(refused_dereg, 0);
	assert_int_equal(replaced, 0);
	assert_int_equal(own_mws[0].rkey, 5);
	assert_int_equal(own_windows[0].state, GATE_WINDOW_ON);
	assert_int_equal(told[PINNED_SEVERED], 0);
}

static void recall__a_window_comes_back_as_far_as_the_file_is(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_1, true);
	regions[0].length = 0x500;
	go_and_come_back();
	assert_int_equal(own_bounds[0], 0x100);
	regions[0].length = 0x300; /* before its beginning */
	agreed = gone = back = opened = 0;
	go_and_come_back();
	assert_int_equal(own_bounds[0], 0);
	assert_int_equal(own_windows[0].state, GATE_WINDOW_OFF);
	regions[0].length = 4096;
	agreed = gone = back = opened = 0;
	go_and_come_back();
	assert_int_equal(own_bounds[0], WINDOW_LENGTH);
	assert_int_equal(own_mws[0].rkey, 5);
}

static void check_severed(void)
{
	go_and_come_back();
	/* and once more, as if others were just being freed */
	assert_int_equal(refused_dereg, 2);
	assert_int_equal(replaced, 1);
	assert_int_equal(own_bounds[0], 0);
	assert_int_equal(told[PINNED_SEVERED], 1);
}

static void recall__a_window_that_cannot_be_kept_is_severed(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_1, true);
	refuses_binds = true; /* the device does not answer */
	check_severed();
	assert_int_equal(binds, 1);
	bind_window(IBV_MW_TYPE_1, false); /* by its test */
	agreed = gone = back = opened = 0;
	refused_dereg = replaced = binds = told[PINNED_SEVERED] = 0;
	check_severed();
	assert_int_equal(binds, 0);
	bind_window(IBV_MW_TYPE_2, true);
	agreed = gone = back = opened = 0;
	refused_dereg = replaced = told[PINNED_SEVERED] = 0;
	check_severed();
	assert_int_equal(binds, 0);
}

static void begin_again(void)
{
	agreed = gone = back = opened = 0;
	closed = drained = binds = 0;
}

/* Nobody has taken its place then, and it is ours to bind it again. */
static void recall__a_window_that_goes_late_comes_back(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_1, true);
	unbinds_late = true;
	ask_all();
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(own_bounds[0], 0);
	assert_int_equal(own_windows[0].state, GATE_WINDOW_OFF);
	unbinds_late = false; /* it answers again */
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&opened, 2);
	wait_for_all();
	assert_int_equal(own_bounds[0], WINDOW_LENGTH);
	assert_int_equal(binds, 2);
	assert_int_equal(replaced, 0);
	assert_int_equal(own_mws[0].rkey, 5);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(regions[0].severed, 0);
	begin_again();
	go_and_come_back();
	assert_int_equal(own_bounds[0], WINDOW_LENGTH);
}

/* It is counted once, and bound as soon as the device does that. */
static void recall__a_window_that_stays_away_is_severed(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_1, true);
	refuses_binds = unbinds_late = true;
	go_and_come_back();
	assert_int_equal(own_bounds[0], 0);
	assert_int_equal(binds, 2);
	assert_int_equal(told[PINNED_SEVERED], 1);
	assert_int_equal(regions[0].severed, 1);
	begin_again();
	go_and_come_back();
	assert_int_equal(own_bounds[0], 0);
	assert_int_equal(binds, 2);
	assert_int_equal(told[PINNED_SEVERED], 1);
	assert_int_equal(regions[0].severed, 1);
	refuses_binds = unbinds_late = false;
	begin_again();
	go_and_come_back();
	assert_int_equal(own_bounds[0], WINDOW_LENGTH);
	assert_int_equal(own_mws[0].rkey, 5);
	assert_int_equal(replaced, 0);
	assert_int_equal(told[PINNED_SEVERED], 1);
}

/* Which costs its time once for all that go together, and for the way back. */
static void recall__a_device_that_is_silent_is_asked_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < OWNERS; i++)
		bind_window_on(i, IBV_MW_TYPE_1, true);
	refuses_binds = true;
	pthread_mutex_lock(&pinned_lock); /* they go together */
	ask_locked(0, REGIONS, QUIESCE_NS, QUIESCE_NS);
	ask_locked(1, REGIONS, QUIESCE_NS, QUIESCE_NS);
	pthread_mutex_unlock(&pinned_lock);
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(binds, 1);
	assert_int_equal(replaced, OWNERS);
	for (size_t i = 0; i < OWNERS; i++)
		bind_window_on(i, IBV_MW_TYPE_1, true);
	for (size_t i = 0; i < OWNERS; i++) {
		own_windows[i].state = GATE_WINDOW_OFF;
		own_bounds[i] = 0;
	}
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(binds, 2);
	assert_int_equal(told[PINNED_SEVERED], 2 * OWNERS);
}

/* It was invalidated by its peer, say. */
static void recall__a_window_that_is_not_in_the_way_stays(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_2, true);
	own_bounds[0] = 0;
	go_and_come_back();
	assert_int_equal(replaced, 0);
	assert_int_equal(told[PINNED_SEVERED], 0);
}

/* Nobody is cut off because a window takes a moment to go. */
static void recall__a_window_that_is_just_freed_is_waited_for(void **state)
{
	(void)state;
	bind_window(IBV_MW_TYPE_1, true);
	owners = 0;
	go_and_come_back();
	assert_int_equal(refused_dereg, 1);
	assert_int_equal(replaced, 0);
	assert_int_equal(told[PINNED_SEVERED], 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)
	const struct CMUnitTest tests[] = {
		CASE(recall__a_window_goes_and_comes_with_its_key),
		CASE(recall__a_window_comes_back_as_far_as_the_file_is),
		CASE(recall__a_window_that_cannot_be_kept_is_severed),
		CASE(recall__a_window_that_goes_late_comes_back),
		CASE(recall__a_window_that_stays_away_is_severed),
		CASE(recall__a_device_that_is_silent_is_asked_once),
		CASE(recall__a_window_that_is_not_in_the_way_stays),
		CASE(recall__a_window_that_is_just_freed_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
