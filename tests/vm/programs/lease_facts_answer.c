/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A break is pending: what can be known of it, how it is answered, and what
 * the kernel does when it is not (__break_lease() and time_out_leases() in
 * fs/locks.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lease_facts.h"

/* It fails and so leaves a break behind without anybody who waits. */
static void break_and_go(struct facts *f, int flags)
{
	assert_int_equal(
		outsider_do(&f->one, act_open, f->file, flags | O_NONBLOCK),
		-EAGAIN);
	break_expected(f->fd);
}

static void getlease__says_unlocked_while_a_writers_break_is_pending(void **s)
{
	struct facts *f = *s;

	holder_lease(f);
	break_and_go(f, O_WRONLY);
	assert_int_equal(lease_get(f->fd), F_UNLCK);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	/* still ours */
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_string_equal(lease_line(f->fd), "none");
}

static void getlease__says_reading_while_a_readers_break_is_pending(void **s)
{
	struct facts *f = *s;

	holder_lease(f);
	break_and_go(f, O_RDONLY);
	assert_int_equal(lease_get(f->fd), F_RDLCK);
	assert_string_equal(lease_line(f->fd), "BREAKING READ");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
}

static void downgrade__is_eagain_while_our_description_is_writable(void **s)
{
	struct facts *f = *s;

	holder_lease(f);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(lease_set(f->fd, F_RDLCK), -EAGAIN);
	outsider_waits(&f->one);
	assert_string_equal(lease_line(f->fd), "BREAKING READ");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

static void downgrade__of_a_readers_description_lets_readers_in(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDONLY);
	holder_take(f->fd);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(lease_set(f->fd, F_RDLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_string_equal(lease_line(f->fd), "ACTIVE READ");
	/* The signal is set as it was: only F_UNLCK resets it. */
	outsider_ask(&f->two, act_open, f->file, O_WRONLY);
	break_expected(f->fd);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->two), 0);
}

static void break__is_told_once_and_again_when_a_writer_follows(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	break_and_go(f, O_RDONLY);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	outsider_waits(&f->one);
	assert_false(signal_pending(LEASE_SIGNAL));
	outsider_ask(&f->two, act_truncate, f->file, 4096);
	break_expected(f->fd);
	outsider_waits(&f->two);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(outsider_answer(&f->two), 0);
}

/* Whoever asked may be dead: the break has to be answered all the same. */
static void break__outlives_an_opener_that_was_killed(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	outsider_ask(&f->one, act_open, f->file, O_WRONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	outsider_kill(&f->one);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	holder_take(f->fd);
	no_break_expected(f->fd);
}

/*
 * F_WRLCK says 0 and leaves the break pending (lease_clear_pending() knows
 * F_UNLCK and F_RDLCK only): a retake begins with F_UNLCK.
 */
static void retake__without_an_unlock_does_not_end_the_break(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	break_and_go(f, O_WRONLY);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	outsider_ask(&f->one, act_open, f->file, O_WRONLY);
	outsider_waits(&f->one);
	/* nobody is told */
	assert_false(signal_pending(LEASE_SIGNAL));
	/* and against one that waits it is refused */
	assert_int_equal(lease_set(f->fd, F_WRLCK), -EAGAIN);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

/* A backup, tail -f: the lease is away for as long as they like. */
static void retake__is_eagain_until_a_long_reader_closes(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(lease_set(f->fd, F_WRLCK), -EAGAIN);
	assert_int_equal(lease_set(f->fd, F_RDLCK), -EAGAIN);
	assert_int_equal(outsider_do(&f->one, act_close, "", 0), 0);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
}

/* They come only when the lease is away: a holder has to leave pauses. */
static void retake__at_once_starves_openers_that_do_not_wait(void **state)
{
	struct facts *f = *state;
	int i;

	holder_lease(f);
	for (i = 0; i < 3; i++) {
		break_and_go(f, O_RDONLY);
		assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
		holder_take(f->fd);
	}
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(
		outsider_do(&f->one, act_open, f->file, O_RDONLY | O_NONBLOCK),
		0);
}

static void unlock__while_a_break_is_pending_is_0(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	outsider_ask(&f->one, act_truncate, f->file, 4096);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(lease_set(f->fd, F_UNLCK), -EAGAIN);
	assert_int_equal(outsider_answer(&f->one), 0);
}

static void unlock__after_revocation_by_a_writer_is_eagain(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	sysctl_set("lease-break-time", 1);
	outsider_ask(&f->one, act_open, f->file, O_WRONLY);
	break_expected(f->fd);
	assert_int_equal(outsider_answer(&f->one), 0);
	/* The same as while it was pending; only these two tell. */
	assert_int_equal(lease_get(f->fd), F_UNLCK);
	assert_string_equal(lease_line(f->fd), "none");
	assert_int_equal(lease_set(f->fd, F_UNLCK), -EAGAIN);
	/* The kernel has reset the signal, as F_UNLCK does. */
	assert_int_equal(fcntl(f->fd, F_GETSIG), 0);
}

/*
 * A reader's break that is not answered ends in a downgrade, though our
 * description is writable.  F_UNLCK then says 0 as if the lease had been held
 * to the end: only fdinfo tells that the reader is in.
 */
static void unlock__after_revocation_by_a_reader_is_0_all_the_same(void **s)
{
	struct facts *f = *s;

	holder_lease(f);
	sysctl_set("lease-break-time", 1);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(lease_get(f->fd), F_RDLCK);
	assert_string_equal(lease_line(f->fd), "ACTIVE READ");
	assert_int_equal(fcntl(f->fd, F_GETSIG), LEASE_SIGNAL);
	/* What is left still keeps writers out. */
	outsider_ask(&f->two, act_open, f->file, O_WRONLY | O_NONBLOCK);
	assert_int_equal(outsider_answer(&f->two), -EAGAIN);
	break_expected(f->fd);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
}

static bool lease_is_gone(const void *arg)
{
	const int *fd = arg;

	/* This looks at the clock; fdinfo does not. */
	lease_get(*fd);
	return !strcmp(lease_line(*fd), "none");
}

/* The opener does not wait: then it is F_GETLEASE that takes the lease away. */
static void getlease__revokes_when_the_time_is_over(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	sysctl_set("lease-break-time", 1);
	break_and_go(f, O_WRONLY);
	wait_until(lease_is_gone, &f->fd, "the lease is revoked");
	assert_int_equal(lease_set(f->fd, F_UNLCK), -EAGAIN);
}

/*
 * How a second is told from never: that of lease-break-time 1 is over for a
 * second file, which is leased and broken here.
 */
static void a_lease_of_1_s_is_revoked(struct facts *f)
{
	char path[200];
	int second;

	make_path(path, sizeof(path), "%s.second", f->file);
	second = open_or_fail(path, O_RDWR | O_CREAT);
	holder_take(second);
	sysctl_set("lease-break-time", 1);
	outsider_ask(&f->two, act_open, path, O_WRONLY);
	break_expected(second);
	assert_int_equal(outsider_answer(&f->two), 0);
	assert_int_equal(outsider_do(&f->two, act_close, "", 0), 0);
	close(second);
	unlink(path);
}

static void break_time__of_a_pending_break_is_that_of_its_start(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	sysctl_set("lease-break-time", 45);
	outsider_ask(&f->one, act_open, f->file, O_WRONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	a_lease_of_1_s_is_revoked(f);
	/* nor does a new opener shorten it */
	outsider_ask(&f->two, act_open, f->file, O_WRONLY);
	outsider_waits(&f->two);
	outsider_waits(&f->one);
	assert_int_equal(lease_get(f->fd), F_UNLCK);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(outsider_answer(&f->two), 0);
}

static void break_time__of_0_is_never(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	sysctl_set("lease-break-time", 0);
	outsider_ask(&f->one, act_open, f->file, O_WRONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	a_lease_of_1_s_is_revoked(f);
	outsider_waits(&f->one);
	assert_int_equal(lease_get(f->fd), F_UNLCK);
	assert_string_equal(lease_line(f->fd), "BREAKING UNLCK");
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

int answer_tests(void)
{
	const struct CMUnitTest answer[] = {
		FACT(getlease__says_unlocked_while_a_writers_break_is_pending),
		FACT(getlease__says_reading_while_a_readers_break_is_pending),
		FACT(downgrade__is_eagain_while_our_description_is_writable),
		FACT(downgrade__of_a_readers_description_lets_readers_in),
		FACT(break__is_told_once_and_again_when_a_writer_follows),
		FACT(break__outlives_an_opener_that_was_killed),
		FACT(retake__without_an_unlock_does_not_end_the_break),
		FACT(retake__is_eagain_until_a_long_reader_closes),
		FACT(retake__at_once_starves_openers_that_do_not_wait),
		FACT(unlock__while_a_break_is_pending_is_0),
		FACT(unlock__after_revocation_by_a_writer_is_eagain),
		FACT(unlock__after_revocation_by_a_reader_is_0_all_the_same),
		FACT(getlease__revokes_when_the_time_is_over),
		FACT(break_time__of_a_pending_break_is_that_of_its_start),
		FACT(break_time__of_0_is_never),
	};

	return cmocka_run_group_tests(answer, NULL, NULL);
}
