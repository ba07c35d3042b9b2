/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows that cannot follow the end of the file: peers reach nothing then, and
 * who listens is told once.
 */
#include <errno.h>

#include "clock.h"
#include "reason.h"
#include "window_world.h"

static void shorter_mr_is_refused__nothing_is_reached(void **state)
{
	(void)state;
	world_open();
	file_size = OFFSET + 4 * PAGE;
	/* the first call of the look */
	fake.fail_at = fake.calls + 1;
	window_own_end(DEV, INO);
	assert_string_equal(fake.failed, "reg_mr_iova2");
	/* It is tried again without being asked. */
	world_wait_reach(4 * PAGE);
	world_close();
}

/* Never more than before, and never what was before. */
static void bind_fails__nothing_is_reached(void **state)
{
	struct window_still still;

	(void)state;
	world_open();
	window_listen(window, &ear);
	window_fake.fault = WINDOW_REFUSES_MORE;
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	/* It is tried again, and again; that is told once. */
	window_pause(&still);
	assert_int_equal(window_fake.length, 0);
	assert_null(window_fake.bound);
	assert_int_equal(window_fake.dealloced, 0);
	assert_int_equal(told, -EIO);
	assert_int_equal(tellings, 1);
	/* The MR is there, and the one that was not bound is not. */
	assert_int_equal(fake.plain_bytes, LENGTH);
	window_fake.fault = WINDOW_RIGHT;
	window_resume(&still);
	world_wait_reach(4 * PAGE);
	window_fake.fault = WINDOW_REFUSES_MORE;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, 0);
	window_fake.fault = WINDOW_RIGHT;
	world_wait_reach(LENGTH);
	window_listen(window, NULL);
	world_close();
}

/* Nothing can be bound any more: the window goes, its key with it. */
static void no_bind_succeeds__the_window_goes(void **state)
{
	(void)state;
	world_open();
	window_listen(window, &ear);
	window_fake.fault = WINDOW_REFUSES;
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.dealloced, 1);
	assert_null(window_fake.bound);
	assert_int_equal(told, -EIO);
	told = 0;
	window_listen(window, NULL);
	window_listen(window, &ear);
	assert_int_equal(told, -EIO);
	window_fake.fault = WINDOW_RIGHT;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_null(window_fake.bound);
	assert_int_equal(window_fake.dealloced, 1);
	world_close();
	assert_int_equal(window_fake.dealloced, 1);
}

/*
 * No memory for the second MR before the first is gone: peers reach nothing
 * for a moment, and then what is left.
 */
static void no_room_for_a_third_mr__the_second_goes_first(void **state)
{
	(void)state;
	world_open();
	file_size = OFFSET + 8 * PAGE;
	window_own_end(DEV, INO);
	fake.plain_bytes_most = 0;
	has_no_room = true;
	fake.fail_at = fake.calls + 1;
	file_size = OFFSET + 12 * PAGE;
	window_own_end(DEV, INO);
	assert_string_equal(fake.failed, "reg_mr_iova2");
	assert_int_equal(window_fake.length, 12 * PAGE);
	assert_int_equal(fake.plain_bytes_most, LENGTH + 12 * PAGE);
	world_close();
}

/* Nor does the bind to nothing succeed, in between. */
static void no_room_and_no_bind__the_window_goes(void **state)
{
	(void)state;
	world_open();
	window_listen(window, &ear);
	file_size = OFFSET + 8 * PAGE;
	window_own_end(DEV, INO);
	window_fake.fault = WINDOW_REFUSES;
	fake.fail_at = fake.calls + 1;
	file_size = OFFSET + 12 * PAGE;
	window_own_end(DEV, INO);
	assert_string_equal(fake.failed, "reg_mr_iova2");
	assert_int_equal(window_fake.dealloced, 1);
	assert_null(window_fake.bound);
	assert_int_equal(told, -EIO);
	/* There is nothing left to bind. */
	window_own_end(DEV, INO);
	assert_int_equal(tellings, 1);
	window_listen(window, NULL);
	world_close();
	assert_int_equal(window_fake.dealloced, 1);
}

/* They may reach it still: another error, told once. */
static void window_does_not_go__that_is_told(void **state)
{
	(void)state;
	world_open();
	window_listen(window, &ear);
	window_fake.fault = WINDOW_NEVER_GOES;
	file_size = OFFSET + 4 * PAGE;
	for (int i = 0; i < 3; i++)
		window_own_end(DEV, INO);
	assert_int_equal(told, -EBUSY);
	assert_int_equal(tellings, 1);
	assert_int_equal(window_fake.length, LENGTH);
	assert_int_equal(window_fake.dealloced, 0);
	assert_int_equal(clearings, 0);
	window_fake.fault = WINDOW_RIGHT;
	world_wait_reach(4 * PAGE);
	world_settle();
	assert_int_equal(tellings, 1);
	assert_int_equal(clearings, 1);
	window_listen(window, NULL);
	world_close();
}

/* It may have been cut off; for a moment that is nothing. */
static void size_is_not_seen__nothing_is_reached(void **state)
{
	(void)state;
	world_open();
	window_listen(window, &ear);
	unseen = 1;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, LENGTH);
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, LENGTH);
	assert_int_equal(tellings, 0);
	unseen = 1000;
	world_hear();
	world_wait_reach(0);
	world_settle();
	assert_int_equal(told, -EBADF);
	assert_int_equal(tellings, 1);
	assert_int_equal(window_fake.dealloced, 0);
	unseen = 0;
	world_hear();
	world_wait_reach(LENGTH);
	window_listen(window, NULL);
	world_close();
}

/* It is not asked for anything else: the window goes. */
static void device_is_silent__it_is_asked_once(void **state)
{
	struct window_pd *other;
	int asked;

	(void)state;
	world_open();
	window_listen(window, &ear);
	asked = window_fake.asked;
	window_patience_ns = 50000000;
	window_fake.fault = WINDOW_SILENT;
	file_size = OFFSET + 4 * PAGE;
	world_hear();
	world_wait_dealloced();
	assert_int_equal(window_fake.asked, asked + 1);
	assert_int_equal(told, -ETIMEDOUT);
	assert_int_equal(tellings, 1);
	/* who comes next finds out by himself */
	other = window_pd_get(&real, pd);
	assert_ptr_not_equal(other, window->key.binder);
	assert_false(window_pd_is_dead(other));
	window_pd_put(other);
	window_listen(window, NULL);
	world_close();
}

static void device_was_silent__no_window_goes_that_is_on_less(void **state)
{
	struct window_range nothing = {.addr = (uintptr_t)memory};
	int asked;

	(void)state;
	world_open();
	window_listen(window, &ear);
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	window_patience_ns = 50000000;
	window_fake.fault = WINDOW_SILENT;
	/* another window of the domain's */
	nothing.mr = mr;
	assert_int_equal(window_pd_bind(window->key.binder, &window_fake.mw,
					&nothing,
					clock_now_ns() + window_patience_ns),
			 -ETIMEDOUT);
	assert_true(window_pd_is_dead(window->key.binder));
	window_patience_ns = (int64_t)WINDOW_PATIENCE_NS;
	window_fake.fault = WINDOW_RIGHT;
	asked = window_fake.asked;
	file_size = OFFSET + LENGTH;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, 4 * PAGE);
	assert_int_equal(window_fake.dealloced, 0);
	assert_int_equal(tellings, 0);
	file_size = OFFSET + 2 * PAGE;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.dealloced, 1);
	assert_int_equal(window_fake.asked, asked);
	assert_int_equal(told, -ETIMEDOUT);
	window_listen(window, NULL);
	world_close();
}

/* One that is asked to be quick, as pinned regions do, has said nothing yet. */
static void device_is_late__it_is_asked_again(void **state)
{
	struct window_range nothing = {.addr = (uintptr_t)memory};
	const int64_t left_ns[] = {0, 1000000};

	(void)state;
	world_open();
	nothing.mr = mr;
	for (size_t i = 0; i < 2; i++) {
		window_fake.fault = WINDOW_SILENT;
		assert_int_equal(window_pd_bind(window->key.binder,
						&window_fake.mw, &nothing,
						clock_now_ns() + left_ns[i]),
				 -ETIMEDOUT);
		assert_false(window_pd_is_dead(window->key.binder));
	}
	window_fake.fault = WINDOW_RIGHT;
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, 4 * PAGE);
	world_close();
}

/* For longer than it was to wait, between a look and the clock. */
static void binder_is_away__completion_is_seen(void **state)
{
	struct window_range nothing = {.addr = (uintptr_t)memory};

	(void)state;
	world_open();
	nothing.mr = mr;
	window_fake.fault = WINDOW_LATE;
	assert_int_equal(window_pd_bind(window->key.binder, &window_fake.mw,
					&nothing,
					clock_now_ns() + WINDOW_LATE_NS / 2),
			 0);
	assert_int_equal(window_fake.length, 0);
	window_fake.fault = WINDOW_RIGHT;
	world_close();
}

static void own_change__waits_not_for_ever(void **state)
{
	struct window_still still;

	(void)state;
	world_open();
	window_patience_ns = 10000000;
	window_pause(&still);
	file_size = OFFSET + 4 * PAGE;
	window_own_end(DEV, INO);
	assert_int_equal(window_fake.length, LENGTH);
	window_patience_ns = (int64_t)WINDOW_PATIENCE_NS;
	window_resume(&still);
	world_wait_reach(4 * PAGE);
	world_close();
}

static void no_room_for_a_second_mr__is_refused(void **state)
{
	struct region_call call = world_call(REMOTE);

	(void)state;
	mr = real.table.reg_mr_iova2(pd, memory, LENGTH, (uintptr_t)memory,
				     window_mr_access(call.access));
	has_no_room = true;
	assert_int_equal(window_open(&call, stage, mr, &window), -ENOMEM);
	assert_string_equal(reason_text(), "no room for 65536 bytes");
	assert_int_equal(fake.live, 3);
	real.table.dereg_mr(mr);
}

static void no_window_left__nothing_stays(void **state)
{
	const enum window_fault faults[] = {WINDOW_NO_MORE, WINDOW_REFUSES,
					    WINDOW_FULL};
	struct region_call call = world_call(REMOTE);

	(void)state;
	mr = real.table.reg_mr_iova2(pd, memory, LENGTH, (uintptr_t)memory,
				     window_mr_access(call.access));
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		window_fake.fault = faults[i];
		assert_true(window_open(&call, stage, mr, &window) < 0);
		assert_int_equal(mr->rkey, mr->lkey);
		assert_int_equal(fake.live, 3);
	}
	real.table.dereg_mr(mr);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(shorter_mr_is_refused__nothing_is_reached),
		TEST(bind_fails__nothing_is_reached),
		TEST(no_bind_succeeds__the_window_goes),
		TEST(no_room_for_a_third_mr__the_second_goes_first),
		TEST(no_room_and_no_bind__the_window_goes),
		TEST(window_does_not_go__that_is_told),
		TEST(size_is_not_seen__nothing_is_reached),
		TEST(device_is_silent__it_is_asked_once),
		TEST(device_was_silent__no_window_goes_that_is_on_less),
		TEST(device_is_late__it_is_asked_again),
		TEST(binder_is_away__completion_is_seen),
		TEST(own_change__waits_not_for_ever),
		TEST(no_room_for_a_second_mr__is_refused),
		TEST(no_window_left__nothing_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
