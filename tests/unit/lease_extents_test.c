/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges of a file, some of which make trouble: an error of one stops no other.
 * The trouble is made in the call that allocates.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extent_book.h"
#include "extents.h"
#include "lease_file.h"
#include "unit.h"

#define BLOCKS 300UL /* more than one piece of a merge */
#define SIZE   (BLOCKS * PAGE)
#define RANGES 3UL

static struct file file;
static struct extents extents;
static struct shadow {
	struct extent extent;
	char *bytes;
	int fd;
} shadows[RANGES];
static struct extent_shelf shelf;

static uint64_t full_from, full_to;
static unsigned int allocations;

int __real_allocate_range(int fd, uint64_t offset, uint64_t length);
int __wrap_allocate_range(int fd, uint64_t offset, uint64_t length);

int __wrap_allocate_range(int fd, uint64_t offset, uint64_t length)
{
	allocations++;
	if (offset >= full_from && offset < full_to)
		return -ENOSPC;
	return __real_allocate_range(fd, offset, length);
}

static unsigned int touches;

int __real_futimens(int fd, const struct timespec times[2]);
int __wrap_futimens(int fd, const struct timespec times[2]);

int __wrap_futimens(int fd, const struct timespec times[2])
{
	touches++;
	return __real_futimens(fd, times);
}

static int setup(void **state)
{
	(void)state;
	file_make(&file, RANGES * SIZE);
	memset(&extents, 0, sizeof(extents));
	full_from = full_to = allocations = touches = 0;
	for (uint32_t i = 0; i < RANGES; i++) {
		struct shadow *shadow = &shadows[i];
		struct extent_place page;

		shadow->fd =
			memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_int_equal(ftruncate(shadow->fd, SIZE), 0);
		shadow->bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
				     MAP_SHARED, shadow->fd, 0);
		assert_ptr_not_equal(shadow->bytes, MAP_FAILED);
		assert_int_equal(
			extent_new(&shelf, i * SIZE, SIZE, &shadow->extent), 0);
		page = extent_place(&shadow->extent);
		for (uint64_t block = 0; block < BLOCKS; block++)
			extent_set_filled(&shadow->extent, block);
		assert_int_equal(extents_add(&extents, i, i * SIZE, SIZE,
					     file.fd, shadow->fd, &page),
				 0);
	}
	return 0;
}

static void unmap(struct shadow *shadow)
{
	if (shadow->bytes)
		munmap(shadow->bytes, SIZE);
	shadow->bytes = NULL;
}

static int teardown(void **state)
{
	(void)state;
	extents_remove_all(&extents);
	for (uint32_t i = 0; i < RANGES; i++) {
		unmap(&shadows[i]);
		extent_free(&shelf, &shadows[i].extent);
		close(shadows[i].fd);
	}
	file_remove(&file);
	return 0;
}

/* What is left of a pass. */
static int merge(void)
{
	int r;

	do
		r = extents_merge(&extents, file.fd, true);
	while (r > 0);
	return r;
}

static int flush(void)
{
	int r;

	do
		r = extents_flush(&extents);
	while (r > 0);
	return r;
}

static void write_by_others(uint64_t range, const char *byte)
{
	assert_int_equal(pwrite(file.fd, byte, 1, (off_t)(range * SIZE)), 1);
}

static void merge__no_room_for_one_the_others_go_on(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	for (uint64_t i = 0; i < RANGES; i++)
		write_by_others(i, "t");
	full_from = 0;
	full_to = SIZE;
	assert_int_equal(merge(), -ENOSPC);
	assert_int_equal(allocations, RANGES);
	for (uint64_t i = 0; i < RANGES; i++)
		assert_int_equal(shadows[i].bytes[0], 't');
	/* only that one is tried again */
	allocations = 0;
	assert_int_equal(merge(), -ENOSPC);
	assert_int_equal(allocations, 1);
	full_to = 0;
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, 2);
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, 2);
	extents_restart_merge(&extents);
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, 2 + RANGES);
}

/* Else a thousand of them would cost a million. */
static void merge__one_more_is_all_that_is_done(void **state)
{
	const struct shadow *shadow = &shadows[1];
	const struct extent_place page = extent_place(&shadow->extent);

	(void)state;
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, RANGES);
	for (uint32_t id = 10; id < 60; id++) {
		assert_int_equal(extents_add(&extents, id, SIZE, SIZE, file.fd,
					     shadow->fd, &page),
				 0);
		allocations = 0;
		assert_int_equal(merge(), 0);
		assert_int_equal(allocations, 1);
	}
	extents_remove(&extents, 10);
	extents_remove(&extents, 59);
	allocations = 0;
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, 0);
}

/* Where the pass is, before it and behind it. */
static void remove__in_a_pass_the_others_are_done(void **state)
{
	for (uint32_t id = 0; id < RANGES; id++) {
		teardown(state);
		setup(state);
		assert_int_equal(flush(), 0);
		for (uint64_t i = 0; i < RANGES; i++)
			write_by_others(i, "t");
		while (!extents.merge || !shadows[0].bytes[0])
			assert_int_equal(extents_merge(&extents, file.fd, true),
					 1);
		extents_remove(&extents, id);
		assert_int_equal(merge(), 0);
		for (uint32_t i = 0; i < RANGES; i++)
			assert_true(i == id || shadows[i].bytes[0] == 't');
	}
}

static void remove__in_a_pass_what_failed_before_it_is_tried_again(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	for (uint64_t i = 0; i < RANGES; i++)
		write_by_others(i, "t");
	full_to = SIZE;
	while (!extents.merge || !shadows[0].bytes[0])
		assert_int_equal(extents_merge(&extents, file.fd, true), 1);
	extents_remove(&extents, 1);
	assert_int_equal(merge(), -ENOSPC);
	full_to = allocations = 0;
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, 1);
}

/* As the keeper watches it, which is to hear of others alone. */
static void touch__once_for_all_that_a_pass_has_stored(void **state)
{
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char event[512];

	(void)state;
	assert_true(inotify_add_watch(watch, file.path, IN_MODIFY | IN_CLOSE) >
		    0);
	for (int round = 1; round < 4; round++) {
		for (uint64_t i = 0; i < RANGES; i++)
			shadows[i].bytes[round * (int)PAGE]++;
		assert_int_equal(flush(), 0);
		extents_touch(&extents, file.fd);
		assert_int_equal(touches, round);
	}
	assert_int_equal(flush(), 0);
	extents_touch(&extents, file.fd);
	assert_int_equal(touches, 3);
	assert_true(read(watch, event, sizeof(event)) < 0 && errno == EAGAIN);
	close(watch);
}

/* Until it is in the file. */
static void flush_first_byte(uint64_t range)
{
	char byte = shadows[range].bytes[0], there = 0;

	do {
		assert_true(extents_flush(&extents) >= 0);
		assert_int_equal(
			pread(file.fd, &there, 1, (off_t)(range * SIZE)), 1);
	} while (there != byte);
}

static void touch__of_a_pass_that_was_not_ended(void **state)
{
	(void)state;
	shadows[0].bytes[0] = 'r';
	flush_first_byte(0);
	extents_restart_flush(&extents);
	extents_touch(&extents, file.fd);
	assert_int_equal(touches, 1);
	shadows[1].bytes[0] = 'x';
	flush_first_byte(1);
	extents_remove(&extents, 1);
	extents_touch(&extents, file.fd);
	assert_int_equal(touches, 2);
	extents_touch(&extents, file.fd);
	assert_int_equal(touches, 2);
}

static void persist(uint64_t range)
{
	extents_persist_part(&extents, range * SIZE, (range + 1) * SIZE);
	while (extents_persist(&extents, false) > 0)
		;
}

/* What was met once would be told of each part for ever after. */
static void persist__tells_of_others_in_its_part_alone(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	write_by_others(0, "t");
	assert_int_equal(flush(), 0);
	assert_true(extents.has_met_others);
	persist(1);
	assert_false(extents.part_has_met_others);
	persist(0);
	assert_true(extents.part_has_met_others);
	assert_int_equal(merge(), 0);
	assert_int_equal(shadows[0].bytes[0], 't');
	persist(0);
	assert_false(extents.part_has_met_others);
}

static void merge__somebody_waits_nothing_is_allocated(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	write_by_others(1, "t");
	while (extents_merge(&extents, file.fd, false))
		;
	assert_int_equal(allocations, 0);
	assert_int_equal(shadows[1].bytes[0], 't');
	assert_int_equal(merge(), 0);
	assert_int_equal(allocations, RANGES);
}

static void merge__restarted_after_a_failure_is_over_all(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	full_from = SIZE;
	full_to = 2 * SIZE;
	assert_int_equal(merge(), -ENOSPC);
	write_by_others(2, "t");
	extents_restart_merge(&extents);
	assert_int_equal(merge(), -ENOSPC);
	assert_int_equal(shadows[2].bytes[0], 't');
}

static void seal__waits_for_each_mapping(void **state)
{
	(void)state;
	assert_int_equal(extents_seal(&extents), -EBUSY);
	unmap(&shadows[0]);
	unmap(&shadows[1]);
	assert_int_equal(extents_seal(&extents), -EBUSY);
	unmap(&shadows[2]);
	assert_int_equal(extents_seal(&extents), 1);
	assert_int_equal(extents_seal(&extents), 0);
	for (uint64_t i = 0; i < RANGES; i++)
		assert_true(fcntl(shadows[i].fd, F_GET_SEALS) & F_SEAL_WRITE);
}

/* Theirs cannot go into the shadow any more, and is not overwritten by it. */
/* The program has been killed in the middle of one. */
static void seal__does_not_wait_for_a_merge_of_our_own(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	write_by_others(0, "t");
	while (!extents.merge)
		assert_int_equal(extents_merge(&extents, file.fd, true), 1);
	for (uint64_t i = 0; i < RANGES; i++)
		unmap(&shadows[i]);
	assert_int_equal(extents_seal(&extents), 1);
	assert_int_equal(extents_seal(&extents), 0);
}

static void merge__sealed_leaves_theirs_and_flushes_ours(void **state)
{
	char byte;

	(void)state;
	assert_int_equal(flush(), 0);
	shadows[0].bytes[PAGE] = 'o';
	for (uint64_t i = 0; i < RANGES; i++)
		unmap(&shadows[i]);
	assert_int_equal(extents_seal(&extents), 1);
	write_by_others(0, "t");
	extents_restart_merge(&extents);
	assert_int_equal(merge(), 0);
	assert_int_equal(flush(), 0);
	assert_int_equal(pread(file.fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 't');
	assert_int_equal(pread(file.fd, &byte, 1, PAGE), 1);
	assert_int_equal(byte, 'o');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(merge__no_room_for_one_the_others_go_on),
		TEST(merge__somebody_waits_nothing_is_allocated),
		TEST(merge__one_more_is_all_that_is_done),
		TEST(remove__in_a_pass_the_others_are_done),
		TEST(remove__in_a_pass_what_failed_before_it_is_tried_again),
		TEST(persist__tells_of_others_in_its_part_alone),
		TEST(touch__once_for_all_that_a_pass_has_stored),
		TEST(touch__of_a_pass_that_was_not_ended),
		TEST(merge__restarted_after_a_failure_is_over_all),
		TEST(seal__waits_for_each_mapping),
		TEST(seal__does_not_wait_for_a_merge_of_our_own),
		TEST(merge__sealed_leaves_theirs_and_flushes_ours),
	};

	return cmocka_run_group_tests_name("lease extents", tests, NULL, NULL);
}
