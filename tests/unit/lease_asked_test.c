/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flushes are asked for all the time, so that there is always one that is due:
 * what others do to the file past us comes to the shadow all the same, and each
 * flush has its answer.
 */
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "extent_book.h"
#include "lease_kept.h"
#include "unit.h"

/* A pass has many pieces, between which the keeper hears what it is asked. */
#define SIZE (64UL << 20)

static struct extent_shelf shelf;
static struct extent extent;
static int shadow_fd;
static volatile char *shadow;
static volatile char *bytes; /* of the file */
static uint32_t asked, answered;
static unsigned int changes; /* that were told */

static void *map(int fd)
{
	void *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void hear(const struct keeper_message *message)
{
	if (message->kind != KEEPER_REPORT)
		return;
	if (message->report.cause == RECALL_WRITTEN)
		answered = message->ticket;
	changes += message->report.cause == RECALL_CHANGED;
}

/* As many as find room in the socket: the keeper always has one before it. */
static void ask(void)
{
	struct keeper_message message;
	bool has_room = keeper_events(&keeper) == POLLIN;

	if (has_room)
		assert_int_equal(keeper_flush(&keeper, 0, ++asked), 0);
	while (!keeper_receive(&keeper, 0, &message))
		hear(&message);
}

static void ask_until(bool (*is_so)(void), const char *what)
{
	double start = now_sec();

	while (!is_so()) {
		ask();
		if (now_sec() - start > WAIT_SEC)
			fail_msg("%s: not within %d s, %u asked, %u answered",
				 what, WAIT_SEC, asked, answered);
	}
}

static bool is_answered(void)
{
	return answered != 0;
}

/* A leased file, the same in its shadow, and flushes under way. */
static int setup(void **state)
{
	struct keeper_extent wanted = {.extent = 1, .length = SIZE};
	struct keeper_message message;

	kept_setup(state);
	asked = answered = changes = 0;
	assert_int_equal(ftruncate(file.fd, SIZE), 0);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(shadow_fd >= 0);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	shadow = map(shadow_fd);
	bytes = map(file.fd);
	memset((char *)shadow, 's', SIZE);
	memset((char *)bytes, 's', SIZE);
	assert_int_equal(extent_new(&shelf, 0, SIZE, &extent), 0);
	for (uint64_t block = 0; block < SIZE / PAGE; block++)
		extent_set_filled(&extent, block);
	kept_acquire(0);
	wanted.shadow_fd = shadow_fd;
	wanted.page = extent_place(&extent);
	assert_int_equal(keeper_attach(&keeper, &wanted), 0);
	do
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	while (message.kind != KEEPER_ATTACHED);
	assert_int_equal(message.error, 0);
	ask_until(is_answered, "the first answer");
	return 0;
}

static int teardown(void **state)
{
	extent_free(&shelf, &extent);
	munmap((char *)shadow, SIZE);
	munmap((char *)bytes, SIZE);
	close(shadow_fd);
	return kept_teardown(state);
}

/* One of them may come to the shadow for another reason. */
#define TIMES 8U

static unsigned int block; /* that was changed last */

static bool is_theirs(void)
{
	return shadow[block * PAGE] == 't';
}

/* It goes on being answered. */
static void check_answers(void)
{
	struct keeper_message message;
	uint32_t last = asked;

	while (answered != last) {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
		hear(&message);
	}
}

/* inotify tells of it. */
static void changed__by_a_raw_write__is_merged(void **state)
{
	(void)state;
	for (block = 0; block < TIMES; block++) {
		assert_int_equal(syscall(SYS_pwrite64, file.fd, "t", 1,
					 (off_t)(block * PAGE)),
				 1);
		ask_until(is_theirs, "it is in the shadow");
	}
	check_answers();
	assert_int_equal(bytes[0], 't');
	assert_int_equal(bytes[TIMES * PAGE], 's');
}

static bool is_told(void)
{
	return is_theirs() && changes;
}

/* Nobody tells of it, the flush finds it. */
static void changed__by_a_mapping__is_merged_and_told(void **state)
{
	(void)state;
	for (block = 0; block < TIMES; block++) {
		changes = 0;
		bytes[block * PAGE] = 't';
		ask_until(is_told, "it is in the shadow, and told");
	}
	check_answers();
	assert_int_equal(bytes[0], 't');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(changed__by_a_raw_write__is_merged),
		TEST(changed__by_a_mapping__is_merged_and_told),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease asked", tests, NULL, NULL);
}
