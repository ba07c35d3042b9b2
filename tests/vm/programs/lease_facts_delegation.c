/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Delegations, from 6.19 on (F_SETDELEG(2const)): what they report that leases
 * do not, rename and unlink, and why they are no better: break_deleg() in
 * notify_change() stops the holder as well, and a lease is not to be had
 * beside.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lease_facts.h"

/* include/uapi/linux/fcntl.h */
#ifndef F_SETDELEG
#define F_SETDELEG (1024 + 16)
struct delegation {
	uint32_t d_flags;
	uint16_t d_type;
	uint16_t pad;
};
#endif

static int deleg_set(int fd, int type)
{
	struct delegation deleg = {.d_type = (uint16_t)type};

	return fcntl(fd, F_SETDELEG, &deleg) < 0 ? -errno : 0;
}

static long act_unlink(const char *path, long unused)
{
	(void)unused;
	return unlink(path) < 0 ? -errno : 0;
}

static long act_chmod(const char *path, long unused)
{
	(void)unused;
	return chmod(path, 0600) < 0 ? -errno : 0;
}

static long act_open_and_close(const char *path, long unused)
{
	long result = act_open(path, O_RDONLY);

	return result < 0 ? result : act_close(path, unused);
}

static long act_rename(const char *path, long unused)
{
	char other[256];

	(void)unused;
	make_path(other, sizeof(other), "%s.other", path);
	return rename(path, other) < 0 || rename(other, path) < 0 ? -errno : 0;
}

static void delegation__reports_rename_and_unlink_from_6_19_on(void **state)
{
	static const act_fn acts[] = {act_open_and_close, act_chmod, act_rename,
				      act_unlink};
	struct facts *f = *state;
	size_t i;

	holder_open(f, O_RDWR);
	if (!kernel_is(6, 19)) {
		assert_int_equal(deleg_set(f->fd, F_WRLCK), -EINVAL);
		assert_int_equal(deleg_set(f->fd, F_UNLCK), -EINVAL);
		return;
	}
	for (i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		assert_int_equal(deleg_set(f->fd, F_WRLCK), 0);
		assert_int_equal(fcntl(f->fd, F_SETSIG, LEASE_SIGNAL), 0);
		assert_string_equal(lease_line(f->fd), "DELEG ACTIVE WRITE");
		outsider_ask(&f->one, acts[i], f->file, 0);
		break_expected(f->fd);
		outsider_waits(&f->one);
		assert_int_equal(deleg_set(f->fd, F_UNLCK), 0);
		assert_int_equal(outsider_answer(&f->one), 0);
	}
}

/* What a lease allows its holder, a delegation does not. */
static void delegation__is_broken_by_the_holders_own_ftruncate(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	if (!kernel_is(6, 19))
		return;
	assert_int_equal(deleg_set(f->fd, F_WRLCK), 0);
	assert_int_equal(fcntl(f->fd, F_SETSIG, LEASE_SIGNAL), 0);
	assert_int_equal(pwrite(f->fd, "x", 1, 0), 1);
	assert_int_equal(fallocate(f->fd, 0, 0, 2 * FILE_SIZE), 0);
	assert_string_equal(lease_line(f->fd), "DELEG ACTIVE WRITE");
	assert_int_equal(ftruncate(f->fd, 4096) < 0 ? -errno : 0, -EAGAIN);
	break_expected(f->fd);
	assert_string_equal(lease_line(f->fd), "DELEG BREAKING UNLCK");
	assert_int_equal(deleg_set(f->fd, F_UNLCK), 0);
}

static void delegation__with_another_open_is_eagain(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	if (!kernel_is(6, 19))
		return;
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_RDONLY), 0);
	assert_int_equal(deleg_set(f->fd, F_WRLCK), -EAGAIN);
}

/*
 * Who holds a lease is told that it has a delegation, and does not:
 * generic_add_lease() changes the type of what there is, which stays a lease.
 */
static void delegation__beside_a_lease_says_0_and_reports_nothing(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	assert_int_equal(deleg_set(f->fd, F_WRLCK),
			 kernel_is(6, 19) ? 0 : -EINVAL);
	assert_int_equal(outsider_do(&f->one, act_rename, f->file, 0), 0);
	assert_int_equal(outsider_do(&f->one, act_unlink, f->file, 0), 0);
	no_break_expected(f->fd);
}

int delegation_tests(void)
{
	const struct CMUnitTest delegation[] = {
		FACT(delegation__reports_rename_and_unlink_from_6_19_on),
		FACT(delegation__is_broken_by_the_holders_own_ftruncate),
		FACT(delegation__with_another_open_is_eagain),
		FACT(delegation__beside_a_lease_says_0_and_reports_nothing),
	};

	return cmocka_run_group_tests(delegation, NULL, NULL);
}
