/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others did to a file while it was lent out, and what we did meanwhile
 * and later, under each on_conflict and on_shrink: shadow and file end as a
 * model says.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extent_book.h"
#include "extents.h"
#include "fault.h"
#include "lease_file.h"
#include "unit.h"

#define BLOCKS 40UL
#define SIZE   (BLOCKS * PAGE)
#define OFFSET (2 * PAGE)
/* Where the file ends at first: in the last page of the extent. */
#define TAIL	  100UL
#define FIRST_END (SIZE - PAGE + TAIL)

static struct file file;
static struct extents extents;
static struct extent_shelf shelf;
static struct extent extent;
static int shadow_fd;
static char *shadow;
static char model[SIZE]; /* of the file's part, zeroes beyond its end */

static void read_file(char *into)
{
	memset(into, 0, SIZE);
	assert_true(pread(file.fd, into, SIZE, OFFSET) >= 0);
}

static uint64_t end_of_file(void)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	return (uint64_t)st.st_size - OFFSET;
}

static void check_file(uint64_t end)
{
	char *bytes = malloc(SIZE);

	assert_int_equal(end_of_file(), end);
	read_file(bytes);
	assert_memory_equal(bytes, model, SIZE);
	free(bytes);
}

static void check_both(uint64_t end)
{
	check_file(end);
	assert_memory_equal(shadow, model, SIZE);
}

static void attach(void)
{
	const struct extent_place page = extent_place(&extent);

	assert_int_equal(extents_add(&extents, 1, OFFSET, SIZE, file.fd,
				     shadow_fd, &page),
			 0);
}

/* As filled from the file, with what a block has in it. */
static int setup(void **state)
{
	(void)state;
	file_make(&file, OFFSET + FIRST_END);
	memset(&extents, 0, sizeof(extents));
	for (uint64_t i = 0; i < FIRST_END; i++)
		model[i] = (char)(i / PAGE + 1);
	memset(model + FIRST_END, 0, SIZE - FIRST_END);
	assert_int_equal(pwrite(file.fd, model, FIRST_END, OFFSET), FIRST_END);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		      0);
	assert_ptr_not_equal(shadow, MAP_FAILED);
	memcpy(shadow, model, SIZE);
	assert_int_equal(extent_new(&shelf, OFFSET, SIZE, &extent), 0);
	for (uint64_t block = 0; block < BLOCKS; block++) {
		extent.digests[block] =
			extent_digest(&extent, model + block * PAGE);
		extent_set_filled(&extent, block);
	}
	attach();
	/* Each test of cmocka's takes SIGBUS for itself. */
	assert_int_equal(fault_init(), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	extents_remove_all(&extents);
	munmap(shadow, SIZE);
	extent_free(&shelf, &extent);
	close(shadow_fd);
	file_remove(&file);
	return 0;
}

static int flush(void)
{
	int r;

	do
		r = extents_flush(&extents);
	while (r > 0);
	return r;
}

static int merge(void)
{
	int r;

	extents_restart_merge(&extents);
	do
		r = extents_merge(&extents, file.fd, true);
	while (r > 0);
	return r;
}

static void merge_and_flush(void)
{
	assert_int_equal(merge(), 0);
	assert_int_equal(flush(), 0);
}

/* What others do: to the file and to the model. */

static void they_write(uint64_t at, const char *text)
{
	memcpy(model + at, text, strlen(text));
	assert_int_equal(
		pwrite(file.fd, text, strlen(text), (off_t)(OFFSET + at)),
		(ssize_t)strlen(text));
}

static void they_cut_off(uint64_t end)
{
	memset(model + end, 0, SIZE - end);
	assert_int_equal(ftruncate(file.fd, (off_t)(OFFSET + end)), 0);
}

static void they_punch(uint64_t at, uint64_t length)
{
	memset(model + at, 0, length);
	assert_int_equal(fallocate(file.fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)(OFFSET + at), (off_t)length),
			 0);
}

static void we_store(uint64_t at, const char *text)
{
	memcpy(shadow + at, text, strlen(text));
}

/* The whole block is as it stands in the shadow. */
static void ours_wins(uint64_t block)
{
	memcpy(model + block * PAGE, shadow + block * PAGE, PAGE);
}

static void others__overwrite_punch_and_grow_it_is_in_the_shadow(void **state)
{
	(void)state;
	they_write(3 * PAGE + 5, "theirs");
	they_punch(7 * PAGE, 3 * PAGE);
	they_write(FIRST_END + 50, "grown");
	we_store(20 * PAGE, "ours");
	ours_wins(20);
	merge_and_flush();
	check_both(FIRST_END + 55);
	assert_int_equal(extents.theirs, 5);
	assert_int_equal(extents.conflicts + extents.cut_off, 0);
}

static void conflict_error__neither_is_touched(void **state)
{
	char before[PAGE];

	(void)state;
	extents.policy.on_conflict = ON_CONFLICT_ERROR;
	they_write(3 * PAGE, "theirs");
	we_store(3 * PAGE + 9, "ours");
	we_store(4 * PAGE, "ours alone");
	ours_wins(4);
	they_write(5 * PAGE, "theirs alone");
	memcpy(before, shadow + 3 * PAGE, PAGE);
	for (int i = 0; i < 3; i++) {
		merge_and_flush();
		/* the others are settled */
		check_file(FIRST_END);
		assert_memory_equal(shadow + 3 * PAGE, before, PAGE);
		assert_memory_equal(shadow + 4 * PAGE, model + 4 * PAGE,
				    2 * PAGE);
	}
	assert_int_equal(extents.conflicts, 1);
	assert_false(extents.has_met_others);
	assert_true(extent_has_conflict(&extent, 0, UINT64_MAX));
	assert_true(extent_has_conflict(&extent, OFFSET + 4 * PAGE - 1,
					OFFSET + 5 * PAGE));
	assert_false(
		extent_has_conflict(&extent, OFFSET + 4 * PAGE, OFFSET + SIZE));
	assert_false(extent_has_conflict(&extent, 0, OFFSET + 3 * PAGE));
	/* Another keeper finds it so. */
	extents_remove_all(&extents);
	attach();
	merge_and_flush();
	check_file(FIRST_END);
	assert_true(extent_has_conflict(&extent, 0, UINT64_MAX));
}

static void conflict_error__the_same_on_both_sides_it_is_over(void **state)
{
	(void)state;
	extents.policy.on_conflict = ON_CONFLICT_ERROR;
	they_write(3 * PAGE, "theirs");
	we_store(3 * PAGE, "ours");
	they_write(4 * PAGE, "theirs");
	we_store(4 * PAGE, "ours");
	merge_and_flush();
	/* The program has made up its mind. */
	memcpy(shadow + 3 * PAGE, model + 3 * PAGE, PAGE);
	assert_int_equal(flush(), 0);
	assert_false(extent_has_conflict(&extent, 0, OFFSET + 4 * PAGE));
	/* The others have. */
	ours_wins(4);
	assert_int_equal(
		pwrite(file.fd, model + 4 * PAGE, PAGE, OFFSET + 4 * PAGE),
		PAGE);
	merge_and_flush();
	assert_false(extent_has_conflict(&extent, 0, UINT64_MAX));
	check_both(FIRST_END);
	/* and it goes on from there */
	we_store(3 * PAGE, "new");
	ours_wins(3);
	assert_int_equal(flush(), 0);
	check_both(FIRST_END);
}

/* Nobody announced it, and no merge was before the flush. */
static void conflict_past_us__is_for_the_merge(enum on_conflict on_conflict)
{
	extents.policy.on_conflict = on_conflict;
	they_write(3 * PAGE, "theirs");
	we_store(3 * PAGE + 9, "ours");
	we_store(4 * PAGE, "ours");
	ours_wins(4);
	assert_int_equal(flush(), 0);
	assert_true(extents.has_met_others);
	check_file(FIRST_END);
	merge_and_flush();
	assert_false(extents.has_met_others);
	assert_int_equal(extents.conflicts, 1);
	check_file(FIRST_END);
}

static void conflict_theirs__met_by_a_flush_theirs_stay(void **state)
{
	(void)state;
	conflict_past_us__is_for_the_merge(ON_CONFLICT_THEIRS);
	check_both(FIRST_END);
}

static void conflict_error__met_by_a_flush_both_stay(void **state)
{
	(void)state;
	conflict_past_us__is_for_the_merge(ON_CONFLICT_ERROR);
	assert_memory_equal(shadow + 3 * PAGE + 9, "ours", 4);
	assert_true(extent_has_conflict(&extent, 0, UINT64_MAX));
}

static void shrunk__what_was_there_is_gone(void **state)
{
	(void)state;
	they_cut_off(10 * PAGE + 7);
	/* Before the merge has seen it nothing is done about it. */
	assert_int_equal(flush(), 0);
	assert_true(extents.has_met_others);
	check_file(10 * PAGE + 7);
	merge_and_flush();
	check_both(10 * PAGE + 7);
	assert_int_equal(extents.cut_off, BLOCKS - 10);
	assert_int_equal(extents.held + extents.dropped, 0);
	merge_and_flush();
	assert_int_equal(extents.cut_off, BLOCKS - 10);
	/* Grown again by others: a hole. */
	they_cut_off(30 * PAGE);
	they_write(25 * PAGE, "theirs");
	merge_and_flush();
	check_both(30 * PAGE);
}

static void extend__stored_later_the_file_grows_to_hold_it(void **state)
{
	(void)state;
	they_cut_off(10 * PAGE + 7);
	merge_and_flush();
	we_store(20 * PAGE + 5, "later");
	we_store(10 * PAGE + 200, "in the same page");
	ours_wins(20);
	ours_wins(10);
	merge_and_flush();
	check_both(21 * PAGE);
	assert_int_equal(extents.held, 2);
	merge_and_flush();
	check_both(21 * PAGE);
	assert_int_equal(extents.held, 2);
	assert_int_equal(extents.conflicts, 0);
}

static void extend__not_beyond_where_it_ended_before(void **state)
{
	(void)state;
	they_cut_off(0);
	merge_and_flush();
	we_store(SIZE - PAGE + TAIL - 2, "last and more");
	memcpy(model + SIZE - PAGE + TAIL - 2, "la", 2);
	assert_int_equal(flush(), 0);
	check_file(FIRST_END);
	assert_int_equal(extents.held, 1);
}

/* Where the file has never been it is nobody's, as in any mapping. */
static void extend__the_rest_of_the_last_page_is_left_alone(void **state)
{
	(void)state;
	we_store(SIZE - PAGE + TAIL, "nobody's");
	merge_and_flush();
	check_file(FIRST_END);
	assert_int_equal(extents.held, 0);
	/* nor does it make a conflict of what others write */
	they_write(SIZE - PAGE, "theirs");
	merge_and_flush();
	check_file(FIRST_END);
	assert_int_equal(extents.conflicts, 0);
	assert_memory_equal(shadow + SIZE - PAGE, "theirs", 6);
}

static void extend__no_room_is_an_error_and_tried_again(void **state)
{
	struct rlimit old, small = {OFFSET + 10 * PAGE, RLIM_INFINITY};

	(void)state;
	they_cut_off(10 * PAGE);
	merge_and_flush();
	we_store(20 * PAGE, "later");
	we_store(5 * PAGE, "inside");
	ours_wins(5);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(flush(), -EFBIG);
	assert_int_equal(flush(), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_file(10 * PAGE);
	assert_int_equal(extents.held, 0);
	ours_wins(20);
	assert_int_equal(flush(), 0);
	check_both(21 * PAGE);
}

static void extend__the_program_changes_the_size_it_waits(void **state)
{
	(void)state;
	they_cut_off(10 * PAGE);
	merge_and_flush();
	we_store(20 * PAGE, "later");
	extents.policy.is_size_busy = true;
	assert_int_equal(flush(), 0);
	check_file(10 * PAGE);
	extents.policy.is_size_busy = false;
	ours_wins(20);
	assert_int_equal(flush(), 0);
	check_both(21 * PAGE);
}

static void own_shrink__stored_later_it_is_nobodys(void **state)
{
	(void)state;
	they_cut_off(10 * PAGE);
	extents_own_size(&extents, OFFSET + 10 * PAGE);
	memset(shadow + 10 * PAGE, 0, SIZE - 10 * PAGE);
	merge_and_flush();
	assert_int_equal(extents.cut_off, 0);
	check_both(10 * PAGE);
	we_store(20 * PAGE, "later");
	assert_int_equal(flush(), 0);
	check_file(10 * PAGE);
	assert_int_equal(extents.held + extents.dropped, 0);
}

/* Grown again by the program, no merge has seen that when it is cut off. */
static void own_growth__what_they_cut_off_of_it_is_gone(void **state)
{
	(void)state;
	they_cut_off(10 * PAGE);
	extents_own_size(&extents, OFFSET + 10 * PAGE);
	memset(shadow + 10 * PAGE, 0, SIZE - 10 * PAGE);
	merge_and_flush();
	they_cut_off(30 * PAGE);
	we_store(20 * PAGE, "before");
	assert_int_equal(flush(), 0);
	they_cut_off(10 * PAGE);
	assert_int_equal(merge(), 0);
	they_cut_off(30 * PAGE);
	merge_and_flush();
	check_both(30 * PAGE);
}

static void discard__stored_later_it_is_counted_and_dropped(void **state)
{
	(void)state;
	extents.policy.on_shrink = ON_SHRINK_DISCARD;
	they_cut_off(10 * PAGE + 7);
	merge_and_flush();
	for (int i = 1; i <= 3; i++) {
		we_store(20 * PAGE + (uint64_t)i, "later");
		assert_int_equal(flush(), 0);
		assert_int_equal(flush(), 0);
		check_file(10 * PAGE + 7);
		assert_int_equal(extents.dropped, i);
	}
	/* Half of its page is the file's. */
	we_store(10 * PAGE + 3, "inside");
	we_store(10 * PAGE + 100, "outside");
	memcpy(model + 10 * PAGE + 3, "insi", 4);
	assert_int_equal(flush(), 0);
	assert_int_equal(flush(), 0);
	assert_int_equal(extents.dropped, 4);
	check_file(10 * PAGE + 7);
	assert_int_equal(extents.held, 0);
	merge_and_flush();
	check_both(10 * PAGE + 7);
	/* The file is there again: what is stored now counts. */
	they_cut_off(30 * PAGE);
	merge_and_flush();
	we_store(20 * PAGE, "now");
	ours_wins(20);
	merge_and_flush();
	check_both(30 * PAGE);
}

/*
 * Stored while others had the file and cut it off: before or after, nobody
 * knows. That is a conflict.
 */
static void shrunk__stored_meanwhile_ours_is_kept(void **state)
{
	(void)state;
	we_store(20 * PAGE, "meanwhile");
	they_cut_off(10 * PAGE);
	ours_wins(20);
	merge_and_flush();
	assert_int_equal(extents.conflicts, 1);
	assert_int_equal(extents.held, 1);
	check_both(21 * PAGE);
}

static void shrunk__stored_meanwhile_theirs_is_taken(void **state)
{
	(void)state;
	extents.policy.on_conflict = ON_CONFLICT_THEIRS;
	we_store(20 * PAGE, "meanwhile");
	they_cut_off(10 * PAGE);
	merge_and_flush();
	assert_int_equal(extents.conflicts, 1);
	check_both(10 * PAGE);
}

/* A child cuts it off through its descriptor, between two passes. */
static void shrunk__met_by_a_flush_it_is_for_the_merge(void **state)
{
	(void)state;
	extents.policy.on_conflict = ON_CONFLICT_THEIRS;
	we_store(20 * PAGE, "meanwhile");
	they_cut_off(10 * PAGE);
	assert_int_equal(flush(), 0);
	assert_true(extents.has_met_others);
	merge_and_flush();
	check_both(10 * PAGE);
}

static void shrunk__stored_meanwhile_error_leaves_both(void **state)
{
	(void)state;
	extents.policy.on_conflict = ON_CONFLICT_ERROR;
	we_store(20 * PAGE, "meanwhile");
	they_cut_off(10 * PAGE);
	merge_and_flush();
	merge_and_flush();
	check_file(10 * PAGE);
	assert_memory_equal(shadow + 20 * PAGE, "meanwhile", 9);
	assert_true(extent_has_conflict(&extent, OFFSET + 20 * PAGE,
					OFFSET + 21 * PAGE));
	assert_int_equal(extents.held + extents.dropped, 0);
}

/* The next keeper knows where the file had ended, and tells of the shrink. */
static void shrunk__another_keeper_goes_on(void **state)
{
	(void)state;
	extents_remove_all(&extents);
	they_cut_off(10 * PAGE);
	attach();
	merge_and_flush();
	assert_int_equal(extents.cut_off, BLOCKS - 10);
	extents_remove_all(&extents);
	attach();
	we_store(30 * PAGE, "later");
	ours_wins(30);
	merge_and_flush();
	check_both(31 * PAGE);
}

/* Where the file ends when it is to hold all of this block. */
static uint64_t end_with(uint64_t block, uint64_t end)
{
	uint64_t stop = (block + 1) * PAGE;

	if (stop > FIRST_END)
		stop = FIRST_END;
	for (uint64_t at = end > block * PAGE ? end : block * PAGE; at < stop;
	     at++)
		if (model[at])
			return stop;
	return end;
}

/*
 * Rounds of anything that others can do, and of stores of ours at random, while
 * they have it and afterwards.
 */
static void anything__ends_as_the_model_says(void **state)
{
	uint64_t end = FIRST_END;
	unsigned int seed = 4711;

	(void)state;
	for (int round = 0; round < 300; round++) {
		uint64_t at = (uint64_t)rand_r(&seed) % (FIRST_END - 8);
		char text[9];
		bool is_meanwhile = rand_r(&seed) % 2;

		snprintf(text, sizeof(text), "%08d", round);
		switch (rand_r(&seed) % 5) {
		case 0:
			they_cut_off(at);
			end = at;
			break;
		case 1:
			they_cut_off(FIRST_END);
			end = FIRST_END;
			break;
		case 2:
			they_write(at, text);
			end = at + 8 > end ? at + 8 : end;
			break;
		case 3:
			they_punch(at, 5000 < SIZE - at ? 5000 : SIZE - at);
			break;
		default:
			break;
		}
		if (!is_meanwhile)
			merge_and_flush();
		for (int i = rand_r(&seed) % 3; i; i--) {
			at = (uint64_t)rand_r(&seed) % FIRST_END / PAGE * PAGE;
			we_store(at + 8, text);
			ours_wins(at / PAGE);
			end = end_with(at / PAGE, end);
		}
		merge_and_flush();
		check_both(end);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(others__overwrite_punch_and_grow_it_is_in_the_shadow),
		TEST(conflict_error__neither_is_touched),
		TEST(conflict_error__the_same_on_both_sides_it_is_over),
		TEST(conflict_theirs__met_by_a_flush_theirs_stay),
		TEST(conflict_error__met_by_a_flush_both_stay),
		TEST(shrunk__what_was_there_is_gone),
		TEST(extend__stored_later_the_file_grows_to_hold_it),
		TEST(extend__not_beyond_where_it_ended_before),
		TEST(extend__the_rest_of_the_last_page_is_left_alone),
		TEST(extend__no_room_is_an_error_and_tried_again),
		TEST(extend__the_program_changes_the_size_it_waits),
		TEST(own_shrink__stored_later_it_is_nobodys),
		TEST(own_growth__what_they_cut_off_of_it_is_gone),
		TEST(discard__stored_later_it_is_counted_and_dropped),
		TEST(shrunk__stored_meanwhile_ours_is_kept),
		TEST(shrunk__stored_meanwhile_theirs_is_taken),
		TEST(shrunk__met_by_a_flush_it_is_for_the_merge),
		TEST(shrunk__stored_meanwhile_error_leaves_both),
		TEST(shrunk__another_keeper_goes_on),
		TEST(anything__ends_as_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
