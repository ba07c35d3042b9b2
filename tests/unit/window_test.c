/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test of a device's memory windows, on fake devices that do what they
 * should, and on such as do not.
 */
#include <errno.h>
#include <string.h>

#include "odp_fake_sysfs.h"
#include "unit.h"
#include "window/window_test.h"
#include "window_fake.h"

static int set_up(void **state)
{
	fake_reset();
	if (state && sysfs_setup(state))
		return -1;
	strcpy(fake.device.name, sysfs_device());
	window_fake_reset();
	return 0;
}

/* Everything goes again, however it ends. */
static struct window_verdict tested(enum window_fault with)
{
	struct window_verdict verdict;

	window_fake.fault = with;
	window_fake.bound = window_fake.first = window_fake.last = NULL;
	window_fake.dealloced = 0;
	errno = 4711;
	window_test(&window_fake.table, &fake.device, &verdict);
	assert_int_equal(errno, 4711);
	assert_int_equal(fake.live, 0);
	assert_true(verdict.seen[0]);
	return verdict;
}

static void check_wrong(enum window_fault with, const char *seen)
{
	struct window_verdict verdict = tested(with);

	assert_false(verdict.is_right);
	if (!strstr(verdict.seen, seen))
		fail_msg("'%s' is not in: %s", seen, verdict.seen);
}

static void right__is_seen(void **state)
{
	struct window_verdict verdict = tested(WINDOW_RIGHT);

	(void)state;
	assert_true(verdict.is_right);
	assert_true(verdict.has_atomics);
	assert_true(window_fake.bindings >= 4);
}

static void right__without_atomics_says_so(void **state)
{
	struct window_verdict verdict = tested(WINDOW_NO_ATOMICS);

	(void)state;
	assert_true(verdict.is_right);
	assert_false(verdict.has_atomics);
	fake.attr.orig_attr.atomic_cap = IBV_ATOMIC_NONE;
	verdict = tested(WINDOW_RIGHT);
	assert_true(verdict.is_right);
	assert_false(verdict.has_atomics);
}

static void wrong__each_is_seen(void **state)
{
	(void)state;
	check_wrong(WINDOW_NONE, "no windows");
	check_wrong(WINDOW_NO_MORE, "no memory windows");
	check_wrong(WINDOW_STICKS, "does not go");
	check_wrong(WINDOW_KEEPS_MR, "does not go");
	check_wrong(WINDOW_BY_ADDRESS, "goes astray");
	check_wrong(WINDOW_UNBOUNDED, "beyond a window is done");
	check_wrong(WINDOW_NEW_KEY, "key changes");
	check_wrong(WINDOW_REFUSES, "not bound");
	check_wrong(WINDOW_FULL, "not bound");
	check_wrong(WINDOW_SHIFTED, "goes astray");
}

static void wrong__bound_to_nothing_still_reaches(void **state)
{
	(void)state;
	check_wrong(WINDOW_ALWAYS_SET, "beyond a window is done");
	check_wrong(WINDOW_HOLDS_ON, "does not go");
}

static void wrong__iwarp_or_no_port_is_no_device_for_it(void **state)
{
	(void)state;
	fake.device.transport_type = IBV_TRANSPORT_IWARP;
	check_wrong(WINDOW_RIGHT, "InfiniBand or RoCE");
	assert_int_equal(fake.opened, 0);
	fake.device.transport_type = IBV_TRANSPORT_IB;
	fake.port.state = IBV_PORT_DOWN;
	check_wrong(WINDOW_RIGHT, "no port is active");
	fake.port.state = IBV_PORT_ACTIVE;
	window_fake.table.reg_mr_iova2 = NULL;
	check_wrong(WINDOW_RIGHT, "ibv_reg_mr_iova2");
}

/* Whatever verb fails: nothing is left, and the device is not right. */
static void any_verb_fails__nothing_stays(void **state)
{
	struct window_verdict verdict;
	int calls, wrong = 0;

	(void)state;
	tested(WINDOW_RIGHT);
	calls = fake.calls;
	for (int i = 1; i <= calls; i++) {
		set_up(NULL);
		fake.fail_at = i;
		window_test(&window_fake.table, &fake.device, &verdict);
		wrong += !verdict.is_right;
		assert_true(fake.live <= window_fake.kept);
	}
	/* but for those that undo */
	assert_true(wrong > calls / 2);
}

static void verdict__is_asked_for_once(void **state)
{
	struct window_verdict verdict;

	(void)state;
	window_verdict_get(&window_fake.table, &fake.device, &verdict);
	assert_true(verdict.is_right);
	assert_int_equal(fake.opened, 1);
	window_fake.fault = WINDOW_NONE;
	window_verdict_get(&window_fake.table, &fake.device, &verdict);
	assert_true(verdict.is_right);
	assert_int_equal(fake.opened, 1);
}

/* sysfs does not show it: nobody knows whether it is the same one. */
static void verdict__of_what_cannot_be_told_is_not_kept(void **state)
{
	struct window_verdict verdict;

	(void)state;
	strcpy(fake.device.name, "nobody0");
	window_verdict_get(&window_fake.table, &fake.device, &verdict);
	window_verdict_get(&window_fake.table, &fake.device, &verdict);
	assert_int_equal(fake.opened, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, sysfs_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(right__is_seen),
		TEST(right__without_atomics_says_so),
		TEST(wrong__each_is_seen),
		TEST(wrong__bound_to_nothing_still_reaches),
		TEST(wrong__iwarp_or_no_port_is_no_device_for_it),
		TEST(any_verb_fails__nothing_stays),
		TEST(verdict__is_asked_for_once),
		TEST(verdict__of_what_cannot_be_told_is_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
