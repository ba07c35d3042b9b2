/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registered ranges in the keeper: allocated again when others have had the
 * file, their shadows flushed before anybody gets it, at SIGTERM, and when the
 * program is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "extent_book.h"
#include "lease_kept.h"
#include "unit.h"

#define BLOCKS 16UL
#define SIZE   (BLOCKS * PAGE)

static struct extent_shelf shelf;
static struct extent extent;
static int shadow_fd;
static char *shadow;

static int attach(uint32_t number, uint64_t offset, uint64_t length,
		  bool has_shadow)
{
	struct keeper_extent wanted = {
		.extent = number,
		.offset = offset,
		.length = length,
		.shadow_fd = has_shadow ? shadow_fd : -1,
		.page = has_shadow ? extent_place(&extent)
				   : (struct extent_place){.fd = -1},
	};
	struct keeper_message message;

	assert_int_equal(keeper_attach(&keeper, &wanted), 0);
	do {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	} while (message.kind != KEEPER_ATTACHED);
	assert_int_equal(message.extent.id, number);
	return message.error;
}

/* A leased file of zeroes, a shadow of it with an 's' in each block. */
static int setup(void **state)
{
	kept_setup(state);
	assert_int_equal(ftruncate(file.fd, SIZE), 0);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(shadow_fd >= 0);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		      0);
	assert_ptr_not_equal(shadow, MAP_FAILED);
	assert_int_equal(extent_new(&shelf, 0, SIZE, &extent), 0);
	for (uint64_t block = 0; block < BLOCKS; block++) {
		shadow[block * PAGE] = 's';
		extent_set_filled(&extent, block);
	}
	kept_acquire(0);
	return 0;
}

static int teardown(void **state)
{
	extent_free(&shelf, &extent);
	if (shadow)
		munmap(shadow, SIZE);
	close(shadow_fd);
	return kept_teardown(state);
}

static char byte_of_file(uint64_t block)
{
	char byte;

	assert_int_equal(pread(file.fd, &byte, 1, (off_t)(block * PAGE)), 1);
	return byte;
}

static bool is_allocated(void *arg)
{
	struct stat st;

	(void)arg;
	return !fstat(file.fd, &st) && st.st_blocks * 512 >= st.st_size;
}

static void attach__nonsense_is_refused(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, false), 0);
	assert_int_equal(attach(1, 0, SIZE, false), -EEXIST);
	assert_int_equal(attach(2, 1, SIZE, false), -EINVAL);
	assert_int_equal(attach(2, UINT64_MAX - PAGE + 1, SIZE, false),
			 -EINVAL);
	assert_int_equal(keeper_detach(&keeper, 0, 1, 0), 0);
	assert_int_equal(keeper_detach(&keeper, 0, 7, 3), 0);
	assert_int_equal(kept_receive(KEEPER_DETACHED).ticket, 3);
	assert_int_equal(attach(1, 0, SIZE, false), 0);
}

static void allocated__again_after_others_had_the_file(void **state)
{
	int other;

	(void)state;
	assert_int_equal(attach(1, 0, SIZE, false), 0);
	wait_for(is_allocated, NULL, "all has blocks");
	other = open(file.path, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0);
	kept_until(0, RECALL_YIELDED);
	assert_int_equal(fallocate(other,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   0, SIZE),
			 0);
	assert_false(is_allocated(NULL));
	close(other);
	kept_next(RECALL_MERGING, RECALL_RETAKEN);
	/* its own allocation is no news */
	kept_next(RECALL_HELD, RECALL_MERGED);
	assert_true(is_allocated(NULL));
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_HELD);
}

static void allocated__as_far_as_the_file_goes(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(attach(1, 0, SIZE, false), 0);
	wait_for(is_allocated, NULL, "all has blocks");
	assert_int_equal(truncate(file.path, PAGE / 2), 0);
	kept_until(0, RECALL_HELD);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, PAGE / 2);
	/* the program makes it longer: at the end of that */
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(ftruncate(file.fd, SIZE), 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE), 0);
	wait_for(is_allocated, NULL, "all has blocks again");
}

/* What somebody else sees at once after his open. */
static void reads_all_s(void *arg)
{
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);
	char byte;

	(void)arg;
	for (uint64_t block = 0; block < BLOCKS; block++)
		if (pread(fd, &byte, 1, (off_t)(block * PAGE)) != 1 ||
		    byte != 's')
			_exit(1);
}

static void break__is_flushed_before_anybody_has_it(void **state)
{
	struct child reader;

	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	child_start(&reader, reads_all_s, NULL);
	kept_until(0, RECALL_YIELDED);
	child_end(&reader);
}

static void own_open__is_flushed_before(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	assert_int_equal(kept_ready(0, KEEPER_OWN_OPEN), 0);
	assert_int_equal(byte_of_file(BLOCKS - 1), 's');
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_OPEN), 0);
}

static void sigterm__flushes_and_holds(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	for (int i = 0; i < 3; i++) {
		shadow[PAGE] = (char)('a' + i);
		assert_int_equal(kill(keeper.pid, SIGTERM), 0);
		/* and what it wrote itself is no news */
		kept_next(RECALL_HELD, RECALL_WRITTEN);
		assert_int_equal(byte_of_file(0), 's');
		assert_int_equal(byte_of_file(1), 'a' + i);
		assert_int_equal(lease_of(file.fd), F_WRLCK);
	}
}

static void release__flushes(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	assert_int_equal(keeper_release(&keeper, 0, INT64_MAX), 0);
	assert_int_equal(kept_until(0, RECALL_FREE).error, 0);
	assert_int_equal(byte_of_file(BLOCKS - 1), 's');
}

/* A program that is gone: SIGTERM or not, all is flushed first. */
static void program_gone__flushes_then_gives_back(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	munmap(shadow, SIZE);
	shadow = NULL;
	close(keeper.socket);
	keeper.socket = -1;
	kill(keeper.pid, SIGTERM);
	wait_for(process_is_gone, &keeper.pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
	assert_int_equal(byte_of_file(BLOCKS - 1), 's');
}

static bool is_served(void *arg)
{
	file_check_let_in(&file, O_RDONLY);
	return byte_of_file(2) == *(char *)arg;
}

static bool is_in_file(void *arg)
{
	return byte_of_file(3) == *(char *)arg;
}

/*
 * Somebody can still write to the shadow: all that he does gets to the file, an
 * opener gets in with what was there, and what openers do gets its place too.
 */
static void program_gone__a_writer_lives_on_nothing_is_lost(void **state)
{
	int other;

	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	close(keeper.socket);
	keeper.socket = -1;
	for (int i = 0; i < 5; i++) {
		char letter = (char)('a' + i);

		shadow[2 * PAGE] = letter;
		assert_true(is_served(&letter));
		/* and when nobody opens it, too */
		shadow[3 * PAGE] = letter;
		wait_for(is_in_file, &letter, "it is flushed");
	}
	other = open(file.path, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0);
	assert_int_equal(pwrite(other, "t", 1, 4 * PAGE), 1);
	shadow[5 * PAGE] = 'z';
	close(other);
	assert_int_equal(kill(keeper.pid, 0), 0);
	munmap(shadow, SIZE);
	shadow = NULL;
	wait_for(process_is_gone, &keeper.pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
	assert_int_equal(byte_of_file(4), 't');
	assert_int_equal(byte_of_file(5), 'z');
}

/* By a mapping, which nobody tells of: found by the flush. */
static void changed_past_us__is_found_and_told(void **state)
{
	char *bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   file.fd, 0);

	(void)state;
	assert_ptr_not_equal(bytes, MAP_FAILED);
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	assert_int_equal(keeper_flush(&keeper, 0, 0), 0);
	kept_next(RECALL_HELD, RECALL_WRITTEN);
	bytes[6 * PAGE] = 'c';
	file_check_let_in(&file, O_RDONLY);
	kept_until(0, RECALL_HELD);
	assert_int_equal(bytes[6 * PAGE], 'c');
	assert_int_equal(shadow[6 * PAGE], 'c');
	bytes[7 * PAGE] = 'd';
	assert_int_equal(keeper_flush(&keeper, 0, 0), 0);
	kept_next(RECALL_HELD, RECALL_WRITTEN);
	kept_next(RECALL_MERGING, RECALL_CHANGED);
	kept_next(RECALL_HELD, RECALL_MERGED);
	assert_int_equal(shadow[7 * PAGE], 'd');
	assert_int_equal(bytes[7 * PAGE], 'd');
	munmap(bytes, SIZE);
}

/* Noticed or not yet: an opener sees it. */
static void changed_by_a_raw_write__then_broken_at_once(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	assert_int_equal(keeper_flush(&keeper, 0, 0), 0);
	kept_next(RECALL_HELD, RECALL_WRITTEN);
	for (int i = 0; i < 50; i++) {
		char letter = (char)('A' + i % 26);

		assert_int_equal(pwrite(file.fd, &letter, 1, 8 * PAGE), 1);
		file_check_let_in(&file, O_RDONLY);
		assert_int_equal(byte_of_file(8), letter);
	}
	kept_until(0, RECALL_HELD);
}

/* Others write to two blocks; who has it, for close(). */
static int lend_and_change(void)
{
	int other;

	assert_int_equal(attach(1, 0, SIZE, true), 0);
	/* from now on they have digests */
	file_check_let_in(&file, O_RDONLY);
	kept_until(0, RECALL_HELD);
	other = open(file.path, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0);
	kept_until(0, RECALL_YIELDED);
	assert_int_equal(pwrite(other, "t", 1, 2 * PAGE), 1);
	assert_int_equal(pwrite(other, "c", 1, 6 * PAGE), 1);
	return other;
}

static void merged__theirs_comes_ours_stays(void **state)
{
	struct keeper_message merged;
	int other = lend_and_change();

	(void)state;
	shadow[3 * PAGE] = shadow[6 * PAGE] = 'o';
	close(other);
	merged = kept_until(0, RECALL_HELD);
	assert_int_equal(merged.report.cause, RECALL_MERGED);
	assert_int_equal(merged.report.theirs, 1);
	assert_int_equal(merged.report.conflicts, 1);
	assert_int_equal(shadow[2 * PAGE], 't');
	assert_int_equal(shadow[3 * PAGE], 'o');
	assert_int_equal(keeper_release(&keeper, 0, INT64_MAX), 0);
	kept_until(0, RECALL_FREE);
	assert_int_equal(byte_of_file(2), 't');
	assert_int_equal(byte_of_file(3), 'o');
	assert_int_equal(byte_of_file(6), 'o');
}

/* Nothing is heard of it afterwards: what is found last is told before. */
static void released_while_lent__all_is_told_till_the_end(void **state)
{
	unsigned int told[RECALL_CAUSES] = {0};
	uint32_t theirs = 0, conflicts = 0, beyond = 0;
	struct keeper_message message;
	int other = lend_and_change();

	(void)state;
	assert_int_equal(ftruncate(other, SIZE - 3 * PAGE), 0);
	shadow[6 * PAGE] = 'o';
	shadow[SIZE - 1] = 'o';
	assert_int_equal(keeper_release(&keeper, 0, INT64_MAX), 0);
	kept_fence();
	close(other);
	do {
		message = kept_receive(KEEPER_REPORT);
		told[message.report.cause]++;
		theirs += message.report.theirs;
		conflicts += message.report.conflicts;
		beyond += message.report.beyond;
	} while (message.report.to != RECALL_FREE);
	assert_int_equal(message.report.cause, RECALL_RELEASED);
	assert_int_equal(theirs, 1 + 2); /* of those cut off */
	assert_int_equal(conflicts, 1 + 1);
	assert_int_equal(told[RECALL_SHRUNK], 1);
	assert_int_equal(told[RECALL_GROWN], 1);
	assert_int_equal(beyond, 3 + 1);
}

static void keeper_killed__the_next_one_has_the_ranges(void **state)
{
	struct keeper_request wanted = kept_request(0);
	struct keeper_message message;

	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	kill(keeper.pid, SIGKILL);
	while (!keeper_receive(&keeper, WAIT_SEC * 1000, &message))
		;
	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	assert_int_equal(keeper_adopt(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	assert_int_equal(keeper_release(&keeper, 0, INT64_MAX), 0);
	kept_until(0, RECALL_FREE);
	assert_int_equal(byte_of_file(BLOCKS - 1), 's');
}

#define range_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* By a pass that begins from now on. */
static void flush_all(void)
{
	static uint32_t ticket;
	struct keeper_message message;

	assert_int_equal(keeper_flush(&keeper, 0, ++ticket), 0);
	do
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	while (message.kind != KEEPER_REPORT || message.ticket != ticket);
	assert_int_equal(message.report.cause, RECALL_WRITTEN);
	assert_int_equal(message.error, 0);
}

/* Of what was asked last before the pass began, by whoever's pass. */
static void flush__the_end_of_a_pass_says_whose_it_is(void **state)
{
	struct keeper_message message;

	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	kill(keeper.pid, SIGSTOP);
	assert_int_equal(keeper_flush(&keeper, 0, 5), 0);
	assert_int_equal(keeper_flush(&keeper, 0, 9), 0);
	assert_int_equal(keeper_flush(&keeper, 0, 7), 0);
	kill(keeper.pid, SIGCONT);
	do
		message = kept_receive(KEEPER_REPORT);
	while (message.ticket != 9);
	assert_int_equal(message.report.cause, RECALL_WRITTEN);
	kept_fence();
	file_check_let_in(&file, O_RDONLY);
	message = kept_until(0, RECALL_YIELDED);
	assert_int_equal(message.report.cause, RECALL_FLUSHED);
	assert_int_equal(message.ticket, 9);
}

static off_t size_of_file(void)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	return st.st_size;
}

/* What others have cut off grows again, what the program has cut off doesn't.
 */
static void cut_off__by_whom_says_whether_it_grows_again(void **state)
{
	(void)state;
	assert_int_equal(attach(1, 0, SIZE, true), 0);
	flush_all();
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(ftruncate(file.fd, 10 * PAGE), 0);
	memset(shadow + 10 * PAGE, 0, SIZE - 10 * PAGE);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE), 0);
	kept_fence();
	shadow[12 * PAGE] = 'x';
	flush_all();
	assert_int_equal(size_of_file(), 10 * PAGE);

	assert_int_equal(truncate(file.path, 5 * PAGE), 0);
	kept_until(0, RECALL_YIELDED);
	kept_until(0, RECALL_HELD);
	assert_int_equal(shadow[7 * PAGE], 0);
	/* A change that cuts nothing off changes nothing about that. */
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE), 0);
	shadow[7 * PAGE] = 'x';
	flush_all();
	assert_int_equal(size_of_file(), 8 * PAGE);
	assert_int_equal(byte_of_file(7), 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		range_test(attach__nonsense_is_refused),
		range_test(allocated__again_after_others_had_the_file),
		range_test(allocated__as_far_as_the_file_goes),
		range_test(break__is_flushed_before_anybody_has_it),
		range_test(own_open__is_flushed_before),
		range_test(sigterm__flushes_and_holds),
		range_test(release__flushes),
		range_test(program_gone__flushes_then_gives_back),
		range_test(program_gone__a_writer_lives_on_nothing_is_lost),
		range_test(changed_past_us__is_found_and_told),
		range_test(changed_by_a_raw_write__then_broken_at_once),
		range_test(merged__theirs_comes_ours_stays),
		range_test(released_while_lent__all_is_told_till_the_end),
		range_test(keeper_killed__the_next_one_has_the_ranges),
		range_test(flush__the_end_of_a_pass_says_whose_it_is),
		range_test(cut_off__by_whom_says_whether_it_grows_again),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease ranges", tests, NULL, NULL);
}
