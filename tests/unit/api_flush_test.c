/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr_flush() with DAXMR_FLUSH_NOWAIT: each call has its answer once, however
 * often it is called, and whatever becomes of the region meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../preload/cannot_trap.h"
#include "../preload/standin.h"
#include "api_daemon.h"
#include "api_flushes.h"
#include "unit.h"

#define PAGE DAEMON_PAGE

static const struct daxmr_options staged = {
	.strategy = DAXMR_STRATEGY_STAGED,
	.flush_ms = DAXMR_FLUSH_OFF,
};

static void flushes__are_answered_in_their_order(void **state)
{
	struct api_flushes flushes = {.first = {0}};

	(void)state;
	api_flushes_init(&flushes);
	api_flushes_expect(&flushes, 10, 1);
	assert_int_equal(api_flushes_answered(&flushes, 9), 0);
	/* of another thread */
	api_flushes_expect(&flushes, 9, 1);
	for (uint32_t ticket = 11; ticket < 20; ticket++)
		api_flushes_expect(&flushes, ticket, 1);
	/* the first one is answered though more have come */
	assert_int_equal(api_flushes_answered(&flushes, 12), 2);
	assert_int_equal(api_flushes_answered(&flushes, 12), 0);
	api_flushes_expect(&flushes, 20, 5);
	assert_int_equal(api_flushes_answered(&flushes, 19), 9);
	api_flushes_expect(&flushes, 21, 1);
	assert_int_equal(api_flushes_answered(&flushes, 21), 6);
	assert_int_equal(api_flushes_answered(&flushes, 21), 0);

	/* beyond their largest number */
	api_flushes_expect(&flushes, UINT32_MAX, 1);
	api_flushes_expect(&flushes, 2, 1);
	assert_int_equal(api_flushes_answered(&flushes, UINT32_MAX), 1);
	assert_int_equal(api_flushes_answered(&flushes, UINT32_MAX), 0);
	api_flushes_expect(&flushes, 3, 1);
	assert_int_equal(api_flushes_forget(&flushes), 2);
	assert_int_equal(api_flushes_answered(&flushes, 3), 0);
	api_flushes_done(&flushes);
}

static void ask(const struct daemon_file *file)
{
	assert_int_equal(daxmr_flush(file->region, 0, 1, DAXMR_FLUSH_NOWAIT),
			 0);
}

/* So many answers, not one more; nothing else is told. */
static void expect_flushed(const struct daemon_file *file, uint64_t calls)
{
	uint64_t told = 0;

	while (told < calls) {
		struct daxmr_event event =
			daemon_expect(file, DAXMR_EVENT_FLUSHED);

		assert_int_equal(event.error, 0);
		assert_true(event.count > 0);
		told += event.count;
	}
	assert_int_equal(told, calls);
}

static void check_byte(const struct daemon_file *file, off_t at, char expected)
{
	char byte = 0;

	assert_int_equal(pread(file->fd, &byte, 1, at), 1);
	assert_int_equal(byte, expected);
}

/* Until the first answer is there: who asks on and on is not kept waiting. */
static void asked_all_the_time__each_is_answered_once(void **state)
{
	struct daemon_file file;
	struct daxmr_event *event;
	uint64_t calls = 0, told;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, standin_pd(), staged);
	file.addr[PAGE] = 'f';
	do {
		ask(&file);
		calls++;
	} while (daxmr_event_get(file.channel, 0, &event));
	assert_int_equal(event->kind, DAXMR_EVENT_FLUSHED);
	told = event->count;
	assert_int_equal(daxmr_event_ack(event), 0);
	check_byte(&file, PAGE, 'f');
	for (int i = 0; i < 200; i++, calls++)
		ask(&file);
	file.addr[2 * PAGE] = 'g';
	ask(&file);
	expect_flushed(&file, calls + 1 - told);
	check_byte(&file, 2 * PAGE, 'g');
	/* what would come too often has come before this answer */
	ask(&file);
	expect_flushed(&file, 1);
	daemon_expect_none(&file);
	daemon_close(&file);
}

static void open_and_lend(struct daemon_file *file, struct outsider *writer)
{
	daemon_open(file);
	daemon_register(file, standin_pd(), staged);
	outsider_start(writer, file, O_RDWR);
	outsider_wait_open(writer);
	daemon_expect(file, DAXMR_EVENT_RECALL);
	daemon_expect(file, DAXMR_EVENT_YIELDED);
}

static void come_back(const struct daemon_file *file, struct outsider *writer)
{
	outsider_end(writer);
	daemon_expect(file, DAXMR_EVENT_RETAKEN);
	daemon_expect(file, DAXMR_EVENT_MERGED);
}

/* Asked for while others have the file: it is nobody's until they are gone. */
static void resized__is_told_all_the_same(void **state)
{
	struct outsider writer;
	struct daemon_file file;

	(void)state;
	open_and_lend(&file, &writer);
	file.addr[PAGE] = 'r';
	ask(&file);
	ask(&file);
	assert_int_equal(daxmr_resize(file.region, -1, 0, 2 * PAGE), 0);
	daemon_expect(&file, DAXMR_EVENT_YIELDED); /* the new one, too */
	ask(&file);
	come_back(&file, &writer);
	expect_flushed(&file, 3);
	check_byte(&file, PAGE, 'r');
	daemon_close(&file);
}

/* It stays what it was, and what is asked of it is answered. */
static void not_resized__is_told_all_the_same(void **state)
{
	struct outsider writer;
	struct daemon_file file;

	(void)state;
	open_and_lend(&file, &writer);
	file.addr[PAGE] = 'n';
	ask(&file);
	/* more than can be mapped */
	assert_true(daxmr_resize(file.region, -1, 0, SIZE_MAX / 4) < 0);
	come_back(&file, &writer);
	expect_flushed(&file, 1);
	check_byte(&file, PAGE, 'n');
	daemon_close(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flushes__are_answered_in_their_order),
		cmocka_unit_test(asked_all_the_time__each_is_answered_once),
		cmocka_unit_test(resized__is_told_all_the_same),
		cmocka_unit_test(not_resized__is_told_all_the_same),
	};
	int skip = cannot_trap();

	if (skip)
		return skip;
	standin_control()->refuse_files = EFAULT;
	return cmocka_run_group_tests_name("api flush", tests, NULL, NULL);
}
