/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper dies while it is asked, and what the next one says is the answer to
 * what was asked, and to nothing else. It may have no room for what the last
 * one had: the program hears of it. The keeper is the test's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lease_fake_keeper.h"
#include "lease_stage.h"
#include "reason.h"
#include "unit.h"

#define LENGTH (16UL * PAGE)
#define HALF   (LENGTH / 2)

static struct lease_engine *engine;
static struct file file;
static char *map;

/* What the observer heard. */
static atomic_int told[RECALL_CAUSES];
static atomic_int unattached_error;
static _Atomic uint32_t flushed;

static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)lease;
	(void)missed;
	if (report->cause == RECALL_UNATTACHED)
		atomic_store(&unattached_error, report->error);
	if (report->flushed)
		atomic_store(&flushed, report->flushed);
	atomic_fetch_add(&told[report->cause], 1);
}

static int set_up(void **state)
{
	struct lease_config config = {
		.observer.changed = changed,
	};

	(void)state;
	fake_start();
	config.keeper_socket = fake_path();
	config.keeper_path = "";
	for (int i = 0; i < RECALL_CAUSES; i++)
		atomic_store(&told[i], 0);
	atomic_store(&flushed, 0);
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	file_remove(&file);
	fake_stop();
	return 0;
}

static struct lease *stage(uint64_t offset, uint64_t length)
{
	return stage_range(engine, file.fd, F_WRLCK, offset, length);
}

/* Of two shadows; the keeper that comes next has had the first one before. */
static void
attach__the_next_keeper_refuses_it__its_caller_hears_so(void **state)
{
	struct lease *lease, *same;

	(void)state;
	lease = stage(0, HALF);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, HALF, HALF, &same), 0);
	fake_refuse_new(-ENOMEM);
	fake_die_at(KEEPER_ATTACH);
	assert_int_equal(lease_stage(lease, HALF, HALF), -ENOMEM);
	assert_int_equal(fake_keepers(), 2);
	assert_true(stage_is_file_at(&file, map + HALF));
	assert_false(stage_is_file_at(&file, map));

	/* and as ever when it can */
	fake_refuse_new(0);
	fake_die_at(KEEPER_ATTACH);
	assert_int_equal(lease_stage(lease, HALF, HALF), 0);
	assert_int_equal(fake_keepers(), 3);
	unstage_range(lease, HALF, HALF);
	unstage_range(lease, 0, HALF);
	assert_int_equal(atomic_load(&told[RECALL_UNATTACHED]), 0);
}

/* Each is asked again of the next one, and it is that one's answer. */
static void asked__the_keeper_dies__the_next_one_is_asked(void **state)
{
	struct lease *lease, *same;
	unsigned int before;

	(void)state;
	lease = stage(0, HALF);
	before = fake_heard(KEEPER_CONSENT_NS);
	fake_die_at(KEEPER_CONSENT_NS);
	assert_int_equal(lease_ask(lease, 1000), 0);
	assert_int_equal(fake_heard(KEEPER_CONSENT_NS), before + 2);

	/* the announcement of blocks, and the range itself */
	before = fake_heard(KEEPER_OWN_BEGIN);
	fake_die_at(KEEPER_OWN_BEGIN);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, HALF, HALF, &same), 0);
	assert_int_equal(fake_heard(KEEPER_OWN_BEGIN), before + 2);
	assert_int_equal(lease_release(lease, HALF, HALF, INT64_MAX), 0);

	/* what is to be durable */
	before = fake_heard(KEEPER_PERSIST);
	fake_die_at(KEEPER_PERSIST);
	assert_int_equal(lease_flush(lease, 0, HALF), 0);
	assert_int_equal(fake_heard(KEEPER_PERSIST), before + 2);
	assert_int_equal(fake_keepers(), 4);
	unstage_range(lease, 0, HALF);
}

static bool is_refused(void *arg)
{
	(void)arg;
	return atomic_load(&unattached_error) == -EMFILE;
}

static bool is_attached(void *arg)
{
	(void)arg;
	return atomic_load(&unattached_error) == 0;
}

static bool is_attach_heard(void *arg)
{
	return fake_heard(KEEPER_ATTACH) >= *(unsigned int *)arg;
}

static bool is_flushed(void *arg)
{
	return recall_has_flushed(atomic_load(&flushed), *(uint32_t *)arg);
}

static bool is_written(void *arg)
{
	return atomic_load(&told[RECALL_WRITTEN]) > *(int *)arg;
}

static void attached_again__refused__is_told_and_tried_until_it_is(void **state)
{
	uint32_t ticket = lease_flush_ticket();
	unsigned int before;
	int written;
	struct lease *lease;

	(void)state;
	lease = stage(0, LENGTH);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	fake_refuse_old(-EMFILE);
	fake_die();
	wait_for(is_refused, NULL, "the observer hears of it");
	/* a keeper that has not got it is not even asked, and cannot say that
	 * it is written */
	before = fake_heard(KEEPER_PERSIST);
	assert_int_equal(lease_flush(lease, 0, PAGE), -EIO);
	assert_non_null(strstr(reason_text(), "cannot have the shadow"));
	assert_int_equal(fake_heard(KEEPER_PERSIST), before);
	written = atomic_load(&told[RECALL_WRITTEN]);
	assert_int_equal(lease_flush_soon(lease, ticket), 0);
	wait_for(is_written, &written, "the keeper's answer");
	assert_false(is_flushed(&ticket));
	/* nothing is given up that is not written */
	assert_int_equal(lease_unstage(lease, 0, LENGTH), -EIO);
	assert_false(stage_is_file_at(&file, map));

	/* each error is told once, however often it is tried */
	before = fake_heard(KEEPER_ATTACH);
	before += 2;
	wait_for(is_attach_heard, &before, "it is tried again, twice");
	assert_int_equal(atomic_load(&told[RECALL_UNATTACHED]), 1);
	fake_refuse_old(0);
	wait_for(is_attached, NULL, "it is attached again");
	assert_int_equal(atomic_load(&told[RECALL_UNATTACHED]), 2);
	wait_for(is_flushed, &ticket,
		 "it is flushed, by the keeper that has it");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
}

static bool is_told_of_range(void *arg)
{
	return atomic_load(&told[RECALL_RANGE_UNATTACHED]) >= *(int *)arg;
}

/* What has no shadow is told as what it is. */
static void attached_again__a_range_alone__is_told_as_such(void **state)
{
	struct lease *lease;
	int times = 1;

	(void)state;
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, LENGTH, &lease), 0);
	fake_refuse_range(-ENOMEM);
	fake_die();
	wait_for(is_told_of_range, &times, "the observer hears of it");
	times++;
	fake_refuse_range(0);
	wait_for(is_told_of_range, &times, "it is looked after again");
	assert_int_equal(atomic_load(&told[RECALL_UNATTACHED]), 0);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
}

static bool is_flush_heard(void *arg)
{
	return fake_heard(KEEPER_FLUSH) >= *(unsigned int *)arg;
}

static bool is_written_told(void *arg)
{
	(void)arg;
	return atomic_load(&told[RECALL_WRITTEN]) >= 2;
}

static void flush__a_pass_that_was_ending_is_no_answer(void **state)
{
	uint32_t first = lease_flush_ticket(), second;
	unsigned int heard = 2;
	struct lease *lease;

	(void)state;
	lease = stage(0, LENGTH);
	assert_int_equal(lease_flush_soon(lease, first), 0);
	wait_for(is_flushed, &first, "the answer");
	fake_answer_flush(false);
	second = lease_flush_ticket();
	assert_int_equal(lease_flush_soon(lease, second), 0);
	wait_for(is_flush_heard, &heard, "it is asked");
	fake_tell_written(0, first);
	wait_for(is_written_told, NULL, "the older pass's end is told");
	assert_false(is_flushed(&second));
	fake_tell_written(0, second);
	wait_for(is_flushed, &second, "its own answer");
	unstage_range(lease, 0, LENGTH);
}

/* What is asked for while one is on its way goes when that is answered. */
static void flush__asked_a_thousand_times__two_are_sent(void **state)
{
	uint32_t first = lease_flush_ticket(), last = first;
	unsigned int heard = 1;
	struct lease *lease;

	(void)state;
	lease = stage(0, LENGTH);
	fake_stop_at(KEEPER_FLUSH);
	assert_int_equal(lease_flush_soon(lease, first), 0);
	wait_for(is_flush_heard, &heard, "it is asked");
	for (int i = 0; i < 1000; i++) {
		last = lease_flush_ticket();
		assert_int_equal(lease_flush_soon(lease, last), 0);
	}
	assert_false(is_flushed(&first));
	fake_go_on();
	wait_for(is_flushed, &last, "the answer to all");
	assert_int_equal(fake_heard(KEEPER_FLUSH), 2);
	assert_int_equal(fake_last_ticket(KEEPER_FLUSH), last);
	/* who has asked before, and comes after the answer, is answered */
	assert_int_equal(lease_flush_soon(lease, first), 0);
	heard = 3;
	wait_for(is_flush_heard, &heard, "it is asked again");
	assert_int_equal(fake_last_ticket(KEEPER_FLUSH), last);
	unstage_range(lease, 0, LENGTH);
	assert_int_equal(fake_keepers(), 1);
}

/* It may have been past the shadow, which has come in the middle of it. */
static void attached_again__a_pass_that_ran_is_no_answer(void **state)
{
	uint32_t ticket = lease_flush_ticket();
	unsigned int heard = 1;
	struct lease *lease;

	(void)state;
	lease = stage(0, LENGTH);
	fake_refuse_old(-EMFILE);
	fake_die();
	wait_for(is_refused, NULL, "the observer hears of it");
	fake_answer_flush(false);
	assert_int_equal(lease_flush_soon(lease, ticket), 0);
	wait_for(is_flush_heard, &heard, "it is asked");
	fake_refuse_old(0);
	wait_for(is_attached, NULL, "it is attached again");
	fake_tell_written(0, ticket);
	heard = 2;
	wait_for(is_flush_heard, &heard, "it is asked once more");
	assert_false(is_flushed(&ticket));
	fake_tell_written(0, ticket);
	wait_for(is_flushed, &ticket, "the answer of the keeper that has it");
	assert_int_equal(fake_heard(KEEPER_FLUSH), 2);
	unstage_range(lease, 0, LENGTH);
}

/* What it was to let go of the next one never has. */
static void let_go__the_keeper_dies__none_has_it(void **state)
{
	unsigned int attaches;
	struct lease *lease;

	(void)state;
	lease = stage(0, LENGTH);
	attaches = fake_heard(KEEPER_ATTACH);
	fake_die_at(KEEPER_DETACH);
	assert_int_equal(lease_unstage(lease, 0, LENGTH), 0);
	assert_true(stage_is_file_at(&file, map));
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	assert_int_equal(fake_keepers(), 2);
	/* the range alone */
	assert_int_equal(fake_heard(KEEPER_ATTACH), attaches + 1);
}

static bool is_third(void *arg)
{
	(void)arg;
	return fake_keepers() == 3;
}

static void flush__the_keeper_dies__the_next_one_is_asked(void **state)
{
	uint32_t ticket = lease_flush_ticket();
	struct lease *lease;

	(void)state;
	lease = stage(0, LENGTH);
	fake_die_at(KEEPER_FLUSH);
	assert_int_equal(lease_flush_soon(lease, ticket), 0);
	wait_for(is_flushed, &ticket, "the answer");
	assert_int_equal(fake_heard(KEEPER_FLUSH), 2);
	assert_int_equal(fake_last_ticket(KEEPER_FLUSH), ticket);
	/* what was answered is asked of no other */
	fake_die();
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	wait_for(is_third, NULL, "the third keeper");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(fake_heard(KEEPER_FLUSH), 2);
	unstage_range(lease, 0, LENGTH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(attach__the_next_keeper_refuses_it__its_caller_hears_so),
		TEST(asked__the_keeper_dies__the_next_one_is_asked),
		TEST(attached_again__refused__is_told_and_tried_until_it_is),
		TEST(attached_again__a_range_alone__is_told_as_such),
		TEST(flush__a_pass_that_was_ending_is_no_answer),
		TEST(flush__asked_a_thousand_times__two_are_sent),
		TEST(attached_again__a_pass_that_ran_is_no_answer),
		TEST(let_go__the_keeper_dies__none_has_it),
		TEST(flush__the_keeper_dies__the_next_one_is_asked),
	};

	if (file_cannot_lease())
		return 77;
	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests_name("lease talk", tests, NULL, NULL);
}
