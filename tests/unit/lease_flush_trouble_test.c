/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flushing a shadow into a file that makes trouble between two steps of it: it
 * shrinks, its disk is full, its blocks cannot be written. That is brought
 * about in the system calls that the flush makes there: linked with --wrap.
 */
#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "flush_file.h"
#include "lease_flush.h"
#include "unit.h"

/* What the wrapped calls do: a countdown each; 0: as ever. */
static int shrink_after_look;
static off_t shrink_to;
static bool is_short;
static bool grows_again; /* at the next look */
static int fail_write;
static bool has_room_behind; /* the blocks behind the one that failed */
static int fail_sync;
static int syncs;

long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
ssize_t __real_pwrite(int fd, const void *from, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t at);
int __real_sync_file_range(int fd, off_t at, off_t size, unsigned int flags);
int __wrap_sync_file_range(int fd, off_t at, off_t size, unsigned int flags);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	bool is_look = number == SYS_fstat && (int)a == file.fd;
	long r;

	if (is_look && is_short && grows_again) {
		assert_int_equal(ftruncate(file.fd, (off_t)(OFFSET + SIZE)), 0);
		is_short = false;
	}
	r = __real_syscall(number, a, b, c, d, e, f);
	if (is_look && shrink_after_look && !--shrink_after_look) {
		assert_int_equal(ftruncate(file.fd, shrink_to), 0);
		is_short = true;
	}
	return r;
}

ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t at)
{
	if (fail_write && !--fail_write) {
		off_t next = at + (off_t)size;

		if (has_room_behind)
			assert_int_equal(
				fallocate(fd, 0, next,
					  (off_t)(OFFSET + SIZE) - next),
				0);
		errno = ENOSPC;
		return -1;
	}
	return __real_pwrite(fd, from, size, at);
}

/* Whatever is made durable stands in the file already. */
int __wrap_sync_file_range(int fd, off_t at, off_t size, unsigned int flags)
{
	syncs++;
	assert_int_equal(atomic_load(&extent.page->state), EXTENT_FLUSHING);
	if (fail_sync && !--fail_sync) {
		errno = EIO;
		return -1;
	}
	return __real_sync_file_range(fd, at, size, flags);
}

static int tear_down(void **state)
{
	shrink_after_look = fail_write = fail_sync = 0;
	is_short = grows_again = has_room_behind = false;
	return flush_tear_down(state);
}

static void flush__file_shrinks_before_the_store_rest_is_flushed(void **state)
{
	struct stat st;

	(void)state;
	fill(0, BLOCKS);
	shrink_after_look = 3;
	shrink_to = OFFSET + 20 * PAGE;
	assert_int_equal(pass(), 0);
	assert_int_equal(shrink_after_look, 0);
	check_same(0, 20);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, shrink_to);
	assert_int_equal(atomic_load(&extent.page->failed), 0);
}

/* The store is a SIGBUS, though the block is within the file. */
static void make_store_fail(void)
{
	shrink_after_look = 3;
	shrink_to = OFFSET + 20 * PAGE;
	grows_again = true;
}

static void flush__store_that_fails_is_written_otherwise(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	make_store_fail();
	assert_int_equal(pass(), 0);
	check_same(20, BLOCKS);
	assert_int_equal(atomic_load(&extent.page->failed), 0);
	assert_true(atomic_load(&extent.page->copied) == BLOCKS);
}

static void flush__disk_full_other_blocks_are_flushed(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	make_store_fail();
	fail_write = 1;
	has_room_behind = true;
	assert_int_equal(pass(), -ENOSPC);
	assert_int_equal(fail_write, 0);
	assert_int_equal(atomic_load(&extent.page->failed), 1);
	assert_int_equal(atomic_load(&extent.page->state), EXTENT_FAILED);
	assert_int_equal(atomic_load(&extent.page->passes), 0);
	assert_int_equal(bytes[20 * PAGE], 0);
	assert_true(extent.digests[20] == EXTENT_NO_DIGEST);
	check_same(0, 20);
	check_same(21, BLOCKS);
	/* Once there is room. */
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	assert_int_equal(atomic_load(&extent.page->state), EXTENT_IDLE);
}

/* Else the next merge would take it for one that others have changed, too. */
static void flush__disk_full_a_block_keeps_its_base(void **state)
{
	uint64_t base;

	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	base = extent.digests[20];
	assert_true(base > EXTENT_IN_CONFLICT);
	for (size_t i = 0; i < BLOCKS; i++)
		shadow[i * PAGE] ^= 0x80;
	make_store_fail();
	fail_write = 1;
	has_room_behind = true;
	assert_int_equal(pass(), -ENOSPC);
	assert_int_equal(fail_write, 0);
	assert_true(extent.digests[20] == base);
}

/* It was asked once in this pass, which is dear: nothing is stored there. */
static void flush__disk_full_blocks_without_room_wait(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	make_store_fail();
	fail_write = 1;
	assert_int_equal(pass(), -ENOSPC);
	assert_int_equal(atomic_load(&extent.page->failed), BLOCKS - 20);
	check_same(0, 20);
	for (size_t i = 20; i < BLOCKS; i++)
		assert_true(extent.digests[i] == EXTENT_NO_DIGEST);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

static void flush__not_durable_is_stored_once_more(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	fail_sync = 1;
	assert_int_equal(pass(), -EIO);
	assert_int_equal(fail_sync, 0);
	assert_int_equal(copied(), BLOCKS);
	assert_int_equal(pass(), 0);
	assert_int_equal(copied(), 2 * BLOCKS);
	check_same(0, BLOCKS);
	assert_int_equal(pass(), 0);
	assert_int_equal(copied(), 2 * BLOCKS);
}

/* The kernel dropped what it could not write: that is no change by others. */
static void flush__not_durable_then_gone_is_stored_once_more(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	fail_sync = 1;
	assert_int_equal(pass(), -EIO);
	assert_true(extent.digests[0] == EXTENT_NO_DIGEST);
	assert_true(extent.digests[BLOCKS - 1] == EXTENT_NO_DIGEST);
	memset(bytes, 0, SIZE);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	assert_false(flush_has_met_others(flush));
}

/* A block that cannot be looked at is ours, though we changed nothing in it. */
static void flush__block_not_to_be_read_is_written(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	memset(bytes + 20 * PAGE, 0, PAGE);
	shrink_after_look = 1;
	shrink_to = OFFSET + 20 * PAGE;
	grows_again = true;
	assert_int_equal(pass(), 0);
	check_same(20, 21);
	/* These could be looked at: it is others that made zeroes of them. */
	assert_int_equal(bytes[21 * PAGE], 0);
	assert_true(flush_has_met_others(flush));
}

static void flush__nothing_differs_nothing_is_synced_twice(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	syncs = 0;
	/* What others have left is seen to once. */
	assert_int_equal(pass(), 0);
	assert_true(syncs > 0);
	syncs = 0;
	assert_int_equal(pass(), 0);
	assert_int_equal(syncs, 0);
}

/* What stands around it is stored once more, it isn't. */
static void flush__not_durable_what_is_in_conflict_stays_so(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	extent.digests[5] = EXTENT_IN_CONFLICT;
	bytes[5 * PAGE] = 99;
	fail_sync = 1;
	assert_int_equal(pass(), -EIO);
	assert_true(extent.digests[5] == EXTENT_IN_CONFLICT);
	assert_int_equal(pass(), 0);
	assert_true(extent.digests[5] == EXTENT_IN_CONFLICT);
	assert_int_equal(bytes[5 * PAGE], 99);
	check_same(6, BLOCKS);
}

/* Its size, where a store through the mapping is durable by itself. */
static void grown__the_size_is_made_durable(void **state)
{
	struct flush_file grown;

	(void)state;
	atomic_store(&extent.page->state, EXTENT_FLUSHING);
	assert_int_equal(ftruncate(file.fd, OFFSET + 8), 0);
	assert_int_equal(flush_file_open(&grown, file.fd, OFFSET, SIZE), 0);
	while (flush_file_sync(&grown) > 0)
		;
	syncs = 0;
	assert_int_equal(flush_file_grow(&grown, 8), 0);
	assert_int_equal(flush_file_sync(&grown), 0);
	assert_int_equal(syncs, 0);
	assert_int_equal(flush_file_grow(&grown, 100), 0);
	assert_int_equal(grown.in_file, 100);
	assert_int_equal(flush_file_sync(&grown), 0);
	assert_int_equal(syncs, 1);
	assert_int_equal(flush_file_sync(&grown), 0);
	assert_int_equal(syncs, 1);
	flush_file_close(&grown);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, flush_set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flush__file_shrinks_before_the_store_rest_is_flushed),
		TEST(flush__store_that_fails_is_written_otherwise),
		TEST(flush__disk_full_other_blocks_are_flushed),
		TEST(flush__disk_full_a_block_keeps_its_base),
		TEST(flush__disk_full_blocks_without_room_wait),
		TEST(flush__not_durable_is_stored_once_more),
		TEST(flush__not_durable_then_gone_is_stored_once_more),
		TEST(flush__block_not_to_be_read_is_written),
		TEST(flush__nothing_differs_nothing_is_synced_twice),
		TEST(flush__not_durable_what_is_in_conflict_stays_so),
		TEST(grown__the_size_is_made_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
