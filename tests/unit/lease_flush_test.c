/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flushing a shadow into a real file. What a file does between two steps of the
 * flush (it shrinks, its disk is full, its blocks cannot be written) is brought
 * about in the system calls that it makes there: linked with --wrap.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extent_page.h"
#include "fault.h"
#include "flush.h"
#include "lease_file.h"
#include "unit.h"

#define BLOCKS 600UL
#define SIZE   (BLOCKS * PAGE)
/* The extent does not begin where the file does. */
#define OFFSET (3 * PAGE)

static struct file file;
static uint8_t *bytes; /* of the file, the extent's */
static uint8_t *shadow;
static int shadow_fd;
static struct extent extent;
static int page_fd;
static struct flush *flush;

/* What the wrapped calls do: a countdown each; 0: as ever. */
static int shrink_after_look;
static off_t shrink_to;
static bool is_short;
static bool grows_again; /* at the next look */
static int fail_write;
static int fail_sync;
static int syncs;

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
ssize_t __real_pwrite(int fd, const void *from, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t at);
int __real_sync_file_range(int fd, off_t at, off_t size, unsigned int flags);
int __wrap_sync_file_range(int fd, off_t at, off_t size, unsigned int flags);

int __wrap_fstat(int fd, struct stat *st)
{
	int r;

	if (fd == file.fd && is_short && grows_again) {
		assert_int_equal(ftruncate(fd, (off_t)(OFFSET + SIZE)), 0);
		is_short = false;
	}
	r = __real_fstat(fd, st);
	if (fd == file.fd && shrink_after_look && !--shrink_after_look) {
		assert_int_equal(ftruncate(fd, shrink_to), 0);
		is_short = true;
	}
	return r;
}

ssize_t __wrap_pwrite(int fd, const void *from, size_t size, off_t at)
{
	if (fail_write && !--fail_write) {
		errno = ENOSPC;
		return -1;
	}
	return __real_pwrite(fd, from, size, at);
}

/* Whatever is made durable stands in the file already. */
int __wrap_sync_file_range(int fd, off_t at, off_t size, unsigned int flags)
{
	syncs++;
	assert_true(atomic_load(&extent.page->complete) <
		    atomic_load(&extent.page->generation));
	if (fail_sync && !--fail_sync) {
		errno = EIO;
		return -1;
	}
	return __real_sync_file_range(fd, at, size, flags);
}

static int set_up(void **state)
{
	(void)state;
	file_make(&file, OFFSET + SIZE);
	/* Blocks of its own, as a leased range has. */
	assert_int_equal(posix_fallocate(file.fd, 0, OFFSET + SIZE), 0);
	bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd,
		     OFFSET);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(shadow_fd >= 0);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		      0);
	assert_true(bytes != MAP_FAILED && shadow != MAP_FAILED);
	assert_int_equal(extent_new(OFFSET, SIZE, &extent, &page_fd), 0);
	assert_int_equal(flush_open(file.fd, shadow_fd, page_fd, &flush), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	shrink_after_look = fail_write = fail_sync = 0;
	is_short = grows_again = false;
	flush_close(flush);
	munmap(bytes, SIZE);
	munmap(shadow, SIZE);
	extent_unmap(&extent);
	close(shadow_fd);
	close(page_fd);
	file_remove(&file);
	return 0;
}

/* Never 0, which the file has. */
static void fill(uint64_t from, uint64_t end)
{
	for (uint64_t block = from; block < end; block++) {
		memset(shadow + block * PAGE, (int)(block % 255) + 1, PAGE);
		extent_set_filled(&extent, block);
	}
}

static uint64_t copied(void)
{
	return atomic_load(&extent.page->copied);
}

/* One pass; each piece within its bounds. */
static int pass(void)
{
	uint64_t compared_before, copied_before;
	int r;

	/* Each test of cmocka's takes SIGBUS for itself. */
	assert_int_equal(fault_init(), 0);
	do {
		compared_before = atomic_load(&extent.page->compared);
		copied_before = copied();
		r = flush_piece(flush);
		assert_true(atomic_load(&extent.page->compared) -
				    compared_before <=
			    FLUSH_COMPARE / PAGE);
		assert_true(copied() - copied_before <= FLUSH_PIECE / PAGE);
	} while (r > 0);
	return r;
}

static void check_same(uint64_t from, uint64_t end)
{
	for (uint64_t block = from; block < end; block++) {
		assert_memory_equal(bytes + block * PAGE, shadow + block * PAGE,
				    PAGE);
		assert_true(extent.digests[block] ==
			    extent_digest(&extent, bytes + block * PAGE));
	}
}

/* 60 blocks in a row, the rest not; and what a number says. */
static bool is_in(int pattern, uint64_t block)
{
	switch (pattern) {
	case 0:
		return false;
	case 1:
		return block == 0;
	case 2:
		return block == BLOCKS - 1;
	case 3:
		return block % 2;
	case 4:
		return block >= 230 && block < 290;
	case 5:
		return block * 2654435761UL % 100 < 13;
	default:
		return true;
	}
}

static void flush__any_blocks_differ_those_are_copied(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	for (int pattern = 0; pattern < 7; pattern++) {
		uint64_t before = copied(), changed = 0;

		for (uint64_t block = 0; block < BLOCKS; block++) {
			if (!is_in(pattern, block))
				continue;
			/* One byte, anywhere in the block. */
			shadow[block * PAGE + (block * 769 + pattern) % PAGE]++;
			changed++;
		}
		assert_int_equal(pass(), 0);
		check_same(0, BLOCKS);
		assert_int_equal(copied() - before, changed);
	}
	assert_int_equal(atomic_load(&extent.page->passes), 8);
	assert_int_equal(atomic_load(&extent.page->compared), 8 * BLOCKS);
	assert_int_equal(atomic_load(&extent.page->complete), 8);
	assert_true(atomic_load(&extent.page->complete_ns) > 0);
}

static void flush__block_not_filled_is_not_even_read(void **state)
{
	struct stat st;

	(void)state;
	memset(bytes, 7, SIZE);
	extent_set_filled(&extent, 5);
	memset(shadow + 5 * PAGE, 9, PAGE);
	assert_int_equal(pass(), 0);
	assert_int_equal(bytes[5 * PAGE], 9);
	assert_int_equal(bytes[4 * PAGE], 7);
	assert_int_equal(bytes[6 * PAGE], 7);
	assert_int_equal(__real_fstat(shadow_fd, &st), 0);
	assert_int_equal(st.st_blocks, PAGE / 512);
}

/* The caller looks at its lease between what may wait and what writes. */
static void flush__first_piece_of_a_pass_writes_nothing(void **state)
{
	(void)state;
	fill(1, BLOCKS);
	assert_int_equal(flush_piece(flush), 1);
	for (uint64_t block = 1; block < BLOCKS; block++)
		assert_int_equal(bytes[block * PAGE], 0);
	assert_int_equal(flush_piece(flush), 1);
	assert_int_equal(bytes[PAGE], 2);
	assert_int_equal(bytes[17 * PAGE], 0);
}

static void flush__restarted_half_way_is_complete(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	for (int i = 0; i < 5; i++)
		assert_int_equal(flush_piece(flush), 1);
	shadow[0]++;
	flush_restart(flush);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	assert_int_equal(atomic_load(&extent.page->passes), 1);
	assert_int_equal(atomic_load(&extent.page->complete), 2);
}

static void flush__last_page_half_in_the_file(void **state)
{
	uint8_t block[PAGE] = {0};
	struct stat st;

	(void)state;
	assert_int_equal(ftruncate(file.fd, OFFSET + 10 * PAGE + 100), 0);
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	check_same(0, 10);
	memset(block, 11, 100);
	assert_memory_equal(bytes + 10 * PAGE, block, PAGE);
	assert_true(extent.digests[10] == extent_digest(&extent, block));
	assert_true(extent.digests[11] == 0);
	assert_int_equal(__real_fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, OFFSET + 10 * PAGE + 100);
	assert_int_equal(copied(), 11);
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
	assert_int_equal(__real_fstat(file.fd, &st), 0);
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
	assert_int_equal(pass(), -ENOSPC);
	assert_int_equal(fail_write, 0);
	assert_int_equal(atomic_load(&extent.page->failed), 1);
	assert_int_equal(atomic_load(&extent.page->state), EXTENT_FAILED);
	assert_int_equal(atomic_load(&extent.page->passes), 0);
	assert_int_equal(bytes[20 * PAGE], 0);
	assert_true(extent.digests[20] == 0);
	check_same(0, 20);
	check_same(21, BLOCKS);
	/* Once there is room. */
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
	assert_int_equal(atomic_load(&extent.page->state), EXTENT_IDLE);
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

static void flush__digest_lost_comes_back(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(pass(), 0);
	extent.digests[300] = 0;
	assert_int_equal(pass(), 0);
	assert_int_equal(copied(), BLOCKS);
	check_same(0, BLOCKS);
}

static atomic_bool stop;

static void *scribble(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; !atomic_load(&stop); i++)
		for (uint64_t at = 0; at < 64 * PAGE; at += sizeof(i))
			__atomic_store_n((uint64_t *)(shadow + at), i,
					 __ATOMIC_RELAXED);
	return NULL;
}

static void
flush__shadow_written_meanwhile_digests_are_of_the_file(void **state)
{
	pthread_t thread;

	(void)state;
	fill(0, BLOCKS);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, scribble, NULL), 0);
	for (uint64_t i = 0; i < 100 || copied() < BLOCKS + 200; i++) {
		assert_int_equal(pass(), 0);
		for (uint64_t block = 0; block < BLOCKS; block++)
			assert_true(
				extent.digests[block] ==
				extent_digest(&extent, bytes + block * PAGE));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

static void flush__shadow_can_be_sealed_under_it(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(flush_piece(flush), 1);
	assert_int_equal(fcntl(shadow_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	munmap(shadow, SIZE);
	assert_int_equal(fcntl(shadow_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, shadow_fd, 0);
	assert_true(shadow != MAP_FAILED);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

static void flush__program_scribbles_on_the_page_keeper_lives(void **state)
{
	uint64_t *words = (uint64_t *)extent.page, seed = 1;

	(void)state;
	assert_int_equal(ftruncate(page_fd, 512), -1);
	assert_int_equal(ftruncate(shadow_fd, 0), -1);
	for (int i = 0; i < 300; i++) {
		for (uint64_t j = 0; j < extent.size / sizeof(*words); j++)
			words[j] = seed = seed * 6364136223846793005UL + i + 1;
		assert_true(flush_piece(flush) >= 0);
	}
}

static void flush__page_or_shadow_makes_no_sense_refused(void **state)
{
	struct flush *other = NULL;
	int short_fd;

	(void)state;
	short_fd = memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(flush_open(file.fd, short_fd, page_fd, &other),
			 -EPROTO);
	assert_int_equal(flush_open(file.fd, shadow_fd, short_fd, &other),
			 -EPROTO);
	assert_true(flush_open(file.fd, file.fd, page_fd, &other) < 0);
	close(short_fd);
	extent.page->length += PAGE;
	assert_int_equal(flush_open(file.fd, shadow_fd, page_fd, &other),
			 -EPROTO);
	extent.page->length = UINT64_MAX - PAGE + 1;
	assert_int_equal(flush_open(file.fd, shadow_fd, page_fd, &other),
			 -EPROTO);
	extent.page->length = SIZE;
	extent.page->version++;
	assert_int_equal(flush_open(file.fd, shadow_fd, page_fd, &other),
			 -EPROTO);
	assert_null(other);
}

/* A signal that somebody sends is no fault of memory. */
static void flush__sigbus_sent_by_somebody_does_nothing(void **state)
{
	(void)state;
	fill(0, BLOCKS);
	assert_int_equal(fault_init(), 0);
	assert_int_equal(kill(getpid(), SIGBUS), 0);
	assert_int_equal(pass(), 0);
	check_same(0, BLOCKS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flush__any_blocks_differ_those_are_copied),
		TEST(flush__block_not_filled_is_not_even_read),
		TEST(flush__first_piece_of_a_pass_writes_nothing),
		TEST(flush__restarted_half_way_is_complete),
		TEST(flush__last_page_half_in_the_file),
		TEST(flush__file_shrinks_before_the_store_rest_is_flushed),
		TEST(flush__store_that_fails_is_written_otherwise),
		TEST(flush__disk_full_other_blocks_are_flushed),
		TEST(flush__not_durable_is_stored_once_more),
		TEST(flush__nothing_differs_nothing_is_synced_twice),
		TEST(flush__digest_lost_comes_back),
		TEST(flush__shadow_written_meanwhile_digests_are_of_the_file),
		TEST(flush__shadow_can_be_sealed_under_it),
		TEST(flush__program_scribbles_on_the_page_keeper_lives),
		TEST(flush__page_or_shadow_makes_no_sense_refused),
		TEST(flush__sigbus_sent_by_somebody_does_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
