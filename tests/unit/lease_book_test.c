/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of extents stand in few books, those of the one side are the other's,
 * and what makes no sense is not looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extent_book.h"
#include "unit.h"

#define REGIONS 1000UL
#define BLOCKS	16UL
#define LENGTH	(BLOCKS * EXTENT_BLOCK)

static struct extent_shelf shelf;
static struct extent extents[REGIONS];

static void make(unsigned long i)
{
	assert_int_equal(extent_new(&shelf, i * LENGTH, LENGTH, &extents[i]),
			 0);
}

static void make_all(void)
{
	for (unsigned long i = 0; i < REGIONS; i++)
		make(i);
}

static void free_all(void)
{
	for (unsigned long i = 0; i < REGIONS; i++)
		extent_free(&shelf, &extents[i]);
	assert_null(shelf.first);
}

static void set_all(struct extent *extent, uint64_t digest)
{
	for (uint64_t block = 0; block < BLOCKS; block++)
		atomic_store(&extent->digests[block], digest);
}

static void check_all(const struct extent *extent, uint64_t digest)
{
	for (uint64_t block = 0; block < BLOCKS; block++)
		assert_true(atomic_load(&extent->digests[block]) == digest);
}

/* What is allocated of all of them. */
static uint64_t memory(void)
{
	uint64_t bytes = 0;
	struct stat st;
	int seen = -1;

	for (unsigned long i = 0; i < REGIONS; i++) {
		int fd = extent_place(&extents[i]).fd;

		if (fd == seen)
			continue;
		seen = fd;
		assert_int_equal(fstat(fd, &st), 0);
		bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

static void new__a_thousand_take_what_they_need(void **state)
{
	(void)state;
	make_all();
	for (unsigned long i = 0; i < REGIONS; i++)
		set_all(&extents[i], i + 10);
	for (unsigned long i = 0; i < REGIONS; i++) {
		assert_true(extents[i].page->offset == i * LENGTH);
		check_all(&extents[i], i + 10);
	}
	/* 96 bytes, a digest for each block, and the heads of books */
	assert_true(memory() <= REGIONS * (96 + BLOCKS * 8 + 8));
	free_all();
}

static void new__in_the_place_of_another_it_is_empty(void **state)
{
	int fd;

	(void)state;
	make_all();
	for (unsigned long i = 0; i < REGIONS; i++)
		set_all(&extents[i], 99);
	fd = extent_place(&extents[500]).fd;
	for (unsigned long i = 500; i < 510; i++)
		extent_free(&shelf, &extents[i]);
	/* as many small ones, or fewer that are larger */
	assert_int_equal(extent_new(&shelf, 0, 4 * LENGTH, &extents[500]), 0);
	assert_int_equal(extent_place(&extents[500]).fd, fd);
	check_all(&extents[500], EXTENT_NOT_FILLED);
	assert_true(atomic_load(&extents[500].page->passes) == 0);
	for (unsigned long i = 501; i < 510; i++)
		make(i);
	for (unsigned long i = 0; i < REGIONS; i++)
		if (i < 500 || i >= 510)
			check_all(&extents[i], 99);
		else
			check_all(&extents[i], EXTENT_NOT_FILLED);
	free_all();
}

/* Each frees one and makes another, in an order that is none. */
static void new__again_and_again_takes_no_more(void **state)
{
	unsigned long seed = 1;
	uint64_t before;

	(void)state;
	make_all();
	before = memory();
	for (unsigned long i = 0; i < 50 * REGIONS; i++) {
		unsigned long at;

		seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		at = (seed >> 33) % REGIONS;
		extent_free(&shelf, &extents[at]);
		make(at);
	}
	assert_true(memory() <= before + EXTENT_BLOCK);
	free_all();
}

static void map__what_one_side_writes_the_other_reads(void **state)
{
	struct extent views[REGIONS];
	uint8_t block[EXTENT_BLOCK] = {1};

	(void)state;
	make_all();
	for (unsigned long i = 0; i < REGIONS; i++) {
		const struct extent_place place = extent_place(&extents[i]);

		assert_int_equal(extent_map(&place, &views[i]), 0);
		assert_true(views[i].offset == i * LENGTH);
		assert_true(views[i].blocks == BLOCKS);
	}
	for (unsigned long i = 0; i < REGIONS; i++) {
		assert_false(extent_is_filled(&views[i], 3));
		extent_set_filled(&extents[i], 3);
		assert_true(extent_is_filled(&views[i], 3));
		atomic_store(&views[i].digests[4], i + 10);
		assert_true(atomic_load(&extents[i].digests[4]) == i + 10);
	}
	assert_true(extent_digest(&views[7], block) ==
		    extent_digest(&extents[7], block));
	/* The keeper has them when the program is gone. */
	free_all();
	for (unsigned long i = 0; i < REGIONS; i++) {
		assert_true(atomic_load(&views[i].digests[4]) == i + 10);
		extent_unmap(&views[i]);
	}
}

static void refused(int fd, uint64_t at)
{
	const struct extent_place place = {fd, at};
	struct extent view = {.page = NULL};

	assert_int_equal(extent_map(&place, &view), -EPROTO);
	assert_null(view.page);
}

static void map__what_makes_no_sense_is_refused(void **state)
{
	struct extent_place place;
	struct extent view;
	uint32_t version = EXTENT_VERSION + 1, right = EXTENT_VERSION;
	struct stat st;
	int empty;

	(void)state;
	make(0);
	place = extent_place(&extents[0]);
	assert_int_equal(fstat(place.fd, &st), 0);
	assert_int_equal(ftruncate(place.fd, 4096), -1);
	empty = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	refused(empty, place.at);
	refused(place.fd, place.at + 1);
	refused(place.fd, 0);
	refused(place.fd, place.at + EXTENT_GRAIN);
	refused(place.fd, (uint64_t)st.st_size - EXTENT_GRAIN);
	refused(place.fd, (uint64_t)st.st_size);
	refused(place.fd, UINT64_MAX - EXTENT_GRAIN + 1);
	extents[0].page->length = (uint64_t)st.st_size / 8 * EXTENT_BLOCK;
	refused(place.fd, place.at);
	extents[0].page->length = UINT64_MAX - EXTENT_BLOCK + 1;
	refused(place.fd, place.at);
	extents[0].page->length = 0;
	refused(place.fd, place.at);
	extents[0].page->length = LENGTH;
	extents[0].page->offset = 1;
	refused(place.fd, place.at);
	extents[0].page->offset = 0;
	assert_int_equal(pwrite(place.fd, &version, sizeof(version), 0),
			 sizeof(version));
	refused(place.fd, place.at);
	assert_int_equal(pwrite(place.fd, &right, sizeof(right), 0),
			 sizeof(right));
	assert_int_equal(extent_map(&place, &view), 0);
	extent_unmap(&view);
	close(empty);
	extent_free(&shelf, &extents[0]);
}

static void new__no_whole_pages_refused(void **state)
{
	struct extent extent;

	(void)state;
	assert_int_equal(extent_new(&shelf, 1, LENGTH, &extent), -EINVAL);
	assert_int_equal(extent_new(&shelf, 0, LENGTH + 1, &extent), -EINVAL);
	assert_int_equal(extent_new(&shelf, 0, 0, &extent), -EINVAL);
	assert_null(shelf.first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new__a_thousand_take_what_they_need),
		cmocka_unit_test(new__in_the_place_of_another_it_is_empty),
		cmocka_unit_test(new__again_and_again_takes_no_more),
		cmocka_unit_test(new__no_whole_pages_refused),
		cmocka_unit_test(map__what_one_side_writes_the_other_reads),
		cmocka_unit_test(map__what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests_name("lease book", tests, NULL, NULL);
}
