/* SPDX-License-Identifier: BSD-2-Clause */
/* What a program hears that was stopped, or is slow: outbox.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "outbox.h"
#include "recall.h"
#include "unit.h"

static struct outbox outbox;
static struct outbox_slot slots[2];
static int program;
static uint64_t generation[2];
static unsigned int through; /* slots that have been sent whole */

/* What was heard of one file. */
static struct heard {
	unsigned int reports;
	uint64_t generation;
	uint64_t missed;
	uint64_t theirs;
	uint64_t conflicts;
	uint64_t beyond;
	unsigned int asks;
	int64_t deadline_ns; /* of the last of them */
	bool has_cause[RECALL_CAUSES];
	struct keeper_message last;
} heard[2];

static int setup(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	outbox = (struct outbox){.socket = pair[0]};
	program = pair[1];
	memset(slots, 0, sizeof(slots));
	memset(generation, 0, sizeof(generation));
	memset(heard, 0, sizeof(heard));
	through = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int id = 0; id < 2; id++)
		outbox_forget(&outbox, &slots[id]);
	free(outbox.answers);
	close(outbox.socket);
	close(program);
	return 0;
}

static struct keeper_message report_of(uint32_t id, enum recall_cause cause)
{
	return (struct keeper_message){
		.version = KEEPER_VERSION,
		.kind = KEEPER_REPORT,
		.id = id,
		.report = {.cause = cause, .generation = ++generation[id]},
	};
}

static void report(uint32_t id, enum recall_cause cause, int error,
		   uint32_t blocks)
{
	struct keeper_message message = report_of(id, cause);

	message.error = error;
	if (cause == RECALL_MERGED) {
		message.report.theirs = 2 * blocks;
		message.report.conflicts = blocks;
	} else {
		message.report.beyond = blocks;
	}
	outbox_report(&outbox, &slots[id], &message);
}

static void ask(uint32_t id, int64_t deadline_ns)
{
	const struct keeper_message message = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_ASK,
		.id = id,
		.deadline_ns = deadline_ns,
	};

	outbox_report(&outbox, &slots[id], &message);
}

/* The program reads nothing: no room is left. */
static void stop_program(void)
{
	struct keeper_message filling = {.kind = KEEPER_READY};

	while (send(outbox.socket, &filling, sizeof(filling), MSG_DONTWAIT) >=
	       0)
		;
	assert_int_equal(errno, EAGAIN);
}

static void slot_through(struct outbox_slot *slot)
{
	(void)slot;
	through++;
}

static void hear(const struct keeper_message *message)
{
	struct heard *of = &heard[message->id];

	of->reports++;
	/* as lease_talk.c counts */
	assert_true(message->report.generation > of->generation);
	of->missed += message->report.generation - of->generation - 1;
	of->generation = message->report.generation;
	of->theirs += message->report.theirs;
	of->conflicts += message->report.conflicts;
	of->beyond += message->report.beyond;
	of->has_cause[message->report.cause] = true;
	of->last = *message;
}

/* Between the break that it belongs to and what became of that. */
static void hear_ask(const struct keeper_message *message)
{
	struct heard *of = &heard[message->id];

	assert_int_equal(of->last.report.cause, RECALL_BREAK_HEARD);
	of->asks++;
	of->deadline_ns = message->deadline_ns;
}

/* It reads all there is, and what comes when there is room. */
static void go_on(void)
{
	struct keeper_message message;

	for (;;) {
		if (recv(program, &message, sizeof(message), MSG_DONTWAIT) < 0)
			break;
		if (message.kind == KEEPER_REPORT)
			hear(&message);
		if (message.kind == KEEPER_ASK)
			hear_ask(&message);
		outbox_send(&outbox, slot_through);
	}
	assert_int_equal(errno, EAGAIN);
	assert_false(outbox_is_waiting(&outbox));
}

static void stopped__a_recall_is_told_whole(void **state)
{
	static const enum recall_cause causes[] = {
		RECALL_BREAK_HEARD, RECALL_FLUSHED, RECALL_RETAKEN,
		RECALL_MERGED};

	(void)state;
	report(0, RECALL_GRANTED, 0, 0);
	stop_program();
	for (unsigned int i = 0; i < OUTBOX_REPORTS; i++)
		report(0, causes[i % 4], 0, i);
	go_on();
	assert_int_equal(heard[0].reports, OUTBOX_REPORTS + 1);
	assert_int_equal(heard[0].missed, 0);
	assert_int_equal(through, 1);
	/* and as ever afterwards */
	report(0, RECALL_BREAK_HEARD, 0, 0);
	assert_false(outbox_is_waiting(&outbox));
	go_on();
	assert_int_equal(heard[0].missed, 0);
	assert_int_equal(heard[0].reports, OUTBOX_REPORTS + 2);
}

/* Each kind once, before thousands of others. */
static void stopped_for_long__no_kind_is_lost_and_counts_add_up(void **state)
{
	const unsigned int rounds = 10000;

	(void)state;
	stop_program();
	for (enum recall_cause cause = 0; cause < RECALL_CAUSES; cause++)
		if (cause != RECALL_MERGED)
			report(0, cause, 0, 7);
	for (unsigned int i = 0; i < rounds; i++) {
		report(0, RECALL_BREAK_HEARD, 0, 0);
		report(0, RECALL_FLUSHED, 0, 0);
		report(0, RECALL_RETAKEN, 0, 0);
		report(0, RECALL_MERGED, 0, 3);
		report(0, i % 2 ? RECALL_SHRUNK : RECALL_DROPPED, 0, 1);
	}
	assert_true(slots[0].count <= OUTBOX_REPORTS);
	go_on();
	for (enum recall_cause cause = 0; cause < RECALL_CAUSES; cause++)
		assert_true(heard[0].has_cause[cause]);
	assert_int_equal(heard[0].conflicts, 3 * rounds);
	assert_int_equal(heard[0].theirs, 6 * rounds);
	assert_int_equal(heard[0].beyond, rounds + 7 * (RECALL_CAUSES - 1));
	assert_true(heard[0].reports <= OUTBOX_REPORTS);
	assert_int_equal(heard[0].reports + heard[0].missed, generation[0]);
	/* The end of it in full. */
	assert_int_equal(heard[0].last.report.cause, RECALL_SHRUNK);
}

/* Among a few of them; what is alike in all goes first. */
static void stopped_for_long__each_error_is_told(void **state)
{
	static const int errors[] = {-ENOSPC, -EDQUOT, -EIO, -EROFS};
	unsigned int told = 0;
	struct keeper_message message;

	(void)state;
	stop_program();
	for (unsigned int i = 0; i < 4; i++)
		report(0, RECALL_FLUSH_FAILED, errors[i], 0);
	for (unsigned int i = 0; i < 1000; i++) {
		report(0, RECALL_CHANGED, 0, 0);
		report(0, RECALL_MERGED, 0, 1);
	}
	while (recv(program, &message, sizeof(message), MSG_DONTWAIT) > 0) {
		outbox_send(&outbox, slot_through);
		if (message.kind != KEEPER_REPORT ||
		    message.report.cause != RECALL_FLUSH_FAILED)
			continue;
		assert_true(told < 4);
		assert_int_equal(message.error, errors[told++]);
	}
	assert_int_equal(told, 4);
}

/* More errors than there is room for: the kind is told all the same. */
static void stopped_for_long__errors_without_end(void **state)
{
	(void)state;
	stop_program();
	report(0, RECALL_SHRUNK, 0, 5);
	for (int error = 1; error < 1000; error++)
		report(0, RECALL_FLUSH_FAILED, -error, 0);
	assert_true(slots[0].count <= OUTBOX_REPORTS);
	go_on();
	assert_true(heard[0].has_cause[RECALL_SHRUNK]);
	assert_int_equal(heard[0].beyond, 5);
	assert_int_equal(heard[0].last.error, -999);
	assert_int_equal(heard[0].reports + heard[0].missed, generation[0]);
}

static void stopped__what_it_is_asked_has_its_place(void **state)
{
	(void)state;
	stop_program();
	report(0, RECALL_BREAK_HEARD, 0, 0);
	ask(0, 111);
	report(0, RECALL_FLUSHED, 0, 0);
	go_on();
	assert_int_equal(heard[0].asks, 1);
	assert_int_equal(heard[0].deadline_ns, 111);
	assert_int_equal(heard[0].reports, 2);
	assert_int_equal(heard[0].missed, 0);
	assert_int_equal(heard[0].last.report.cause, RECALL_FLUSHED);
}

/* The last of them; nothing else is lost for it. */
static void stopped_for_long__it_hears_that_it_was_asked(void **state)
{
	const unsigned int rounds = 1000;

	(void)state;
	stop_program();
	for (enum recall_cause cause = 0; cause < RECALL_CAUSES; cause++)
		report(0, cause, 0, 0);
	for (unsigned int i = 1; i <= rounds; i++) {
		report(0, RECALL_BREAK_HEARD, 0, 0);
		ask(0, i);
		report(0, RECALL_FLUSHED, 0, 0);
		report(0, RECALL_RETAKEN, 0, 0);
		report(0, RECALL_MERGED, 0, 1);
	}
	assert_true(slots[0].count <= OUTBOX_REPORTS);
	go_on();
	assert_true(heard[0].asks > 0);
	assert_int_equal(heard[0].deadline_ns, rounds);
	for (enum recall_cause cause = 0; cause < RECALL_CAUSES; cause++)
		assert_true(heard[0].has_cause[cause]);
	assert_int_equal(heard[0].conflicts, rounds);
	assert_int_equal(heard[0].reports + heard[0].missed, generation[0]);
}

static void counts_too_large__stay_at_the_largest(void **state)
{
	(void)state;
	stop_program();
	for (unsigned int i = 0; i < OUTBOX_REPORTS + 2; i++)
		report(0, RECALL_GROWN, 0, UINT32_MAX / 2);
	go_on();
	assert_int_equal(heard[0].reports, OUTBOX_REPORTS);
	assert_int_equal(heard[0].beyond,
			 UINT32_MAX +
				 (OUTBOX_REPORTS - 1ULL) * (UINT32_MAX / 2));
}

static void two_files__each_has_its_line(void **state)
{
	struct keeper_message answer = {.kind = KEEPER_ACQUIRED, .id = 1};

	(void)state;
	stop_program();
	for (unsigned int i = 0; i < 1000; i++)
		report(0, RECALL_MERGED, 0, 1);
	report(1, RECALL_MERGED, 0, 4);
	assert_true(outbox_answer(&outbox, &answer));
	go_on();
	assert_int_equal(heard[0].conflicts, 1000);
	assert_int_equal(heard[1].conflicts, 4);
	assert_int_equal(heard[1].missed, 0);
	assert_int_equal(through, 2);
}

static void forgotten__is_not_told(void **state)
{
	(void)state;
	stop_program();
	report(0, RECALL_MERGED, 0, 1);
	report(1, RECALL_MERGED, 0, 1);
	outbox_forget(&outbox, &slots[0]);
	go_on();
	assert_int_equal(heard[0].reports, 0);
	assert_int_equal(heard[1].reports, 1);
}

#define outbox_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		outbox_test(stopped__a_recall_is_told_whole),
		outbox_test(
			stopped_for_long__no_kind_is_lost_and_counts_add_up),
		outbox_test(stopped_for_long__each_error_is_told),
		outbox_test(stopped_for_long__errors_without_end),
		outbox_test(stopped__what_it_is_asked_has_its_place),
		outbox_test(stopped_for_long__it_hears_that_it_was_asked),
		outbox_test(counts_too_large__stay_at_the_largest),
		outbox_test(two_files__each_has_its_line),
		outbox_test(forgotten__is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
