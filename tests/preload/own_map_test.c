/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that goes on mapping, moving, cutting and punching a file of which
 * a part has a shadow: all its mappings and the file show one truth.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

#define FIRST 4 /* pages [FIRST, LAST) of the file have a shadow */
#define LAST  12

static char *whole; /* mapped before the shadow came */

static void stage_part(unsigned int first, unsigned int last)
{
	assert_int_equal(own_engine->lease_stage(own_lease, first * PAGE,
						 (last - first) * PAGE),
			 0);
}

static void unstage_part(unsigned int first, unsigned int last)
{
	own_wait_until_held();
	assert_int_equal(own_engine->lease_unstage(own_lease, first * PAGE,
						   (last - first) * PAGE),
			 0);
}

/*
 * This thread has its first sentence, and the page of ours that it stands in:
 * later that page could lie in a gap that a test makes, and goes with.
 */
static void be_refused(void)
{
	struct lease_want nothing = {.fd = -1, .type = F_WRLCK, .length = PAGE};
	struct lease *none;

	assert_true(own_engine->lease_acquire(&nothing, &none) < 0);
}

static int set_up(void **state)
{
	own_setup(state);
	be_refused();
	whole = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     own_fd, 0);
	assert_true(whole != MAP_FAILED);
	for (size_t page = 0; page < FILE_SIZE / PAGE; page++)
		memset(whole + page * PAGE, 'a' + (int)page, PAGE);
	stage_part(FIRST, LAST);
	return 0;
}

/* In the end all is the file's, and the file has what `whole` has. */
static int tear_down(void **state)
{
	char bytes[FILE_SIZE];
	struct stat st;

	unstage_part(FIRST, LAST);
	assert_int_equal(*own_engine->shadows, 0);
	assert_int_equal(fstat(own_fd, &st), 0);
	assert_true(st.st_size <= FILE_SIZE);
	assert_int_equal(pread(own_fd, bytes, FILE_SIZE, 0), st.st_size);
	assert_memory_equal(bytes, whole, (size_t)st.st_size);
	assert_int_equal(munmap(whole, FILE_SIZE), 0);
	return own_teardown(state);
}

/* What one shows the other does, byte for byte and at once. */
static void check_same(char *a, const char *b, size_t length)
{
	assert_memory_equal(a, b, length);
	for (size_t at = 0; at < length; at += PAGE) {
		char before = a[at + 7];

		a[at + 7] = (char)(before + 1);
		assert_int_equal(b[at + 7], (char)(before + 1));
		a[at + 7] = before;
	}
}

static void *map_part(void *addr, unsigned int first, unsigned int pages,
		      int flags)
{
	return mmap(addr, pages * PAGE, PROT_READ | PROT_WRITE, flags, own_fd,
		    first * PAGE);
}

static void map__shows_the_shadow_where_there_is_one(void **state)
{
	static const unsigned int parts[][2] = {{0, 16}, {0, 4},  {4, 8},
						{6, 3},	 {2, 4},  {10, 5},
						{12, 4}, {5, 11}, {3, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		unsigned int first = parts[i][0], pages = parts[i][1];
		char *map = map_part(NULL, first, pages, MAP_SHARED);

		assert_true(map != MAP_FAILED);
		check_same(map, whole + first * PAGE, pages * PAGE);
		check_same(whole + first * PAGE, map, pages * PAGE);
		if (i % 2)
			assert_int_equal(munmap(map, pages * PAGE), 0);
	}
}

/* Those that stay are the file's in the end, whatever was done to them. */
static void map__all_are_mapped_back(void **state)
{
	char *map = map_part(NULL, 0, 16, MAP_SHARED);
	char *other = map_part(NULL, 5, 3, MAP_SHARED);

	(void)state;
	assert_int_equal(mprotect(map + 6 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(map + 8 * PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(munmap(map + 10 * PAGE, PAGE), 0);
	other[0] = '!';
	unstage_part(FIRST, LAST);
	assert_int_equal(other[0], '!');
	other[0] = '?';
	assert_int_equal(map[5 * PAGE], '?');
	assert_int_equal(pread(own_fd, whole, 1, 5 * PAGE), 1);
	assert_int_equal(whole[0], '?');
	whole[0] = 'a';
	/* still as it was protected */
	assert_int_equal(syscall(SYS_pread64, own_fd, map + 6 * PAGE, 1, 0),
			 -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(mprotect(map + 8 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(map[8 * PAGE], 'a' + 8);
	stage_part(FIRST, LAST);
	check_same(map, whole, 6 * PAGE);
	munmap(map, 16 * PAGE);
	munmap(other, 3 * PAGE);
}

static void map__private_one_shows_the_shadow_and_keeps_its_stores(void **state)
{
	char *map;

	(void)state;
	whole[5 * PAGE] = 'S';
	map = map_part(NULL, 3, 4, MAP_PRIVATE);
	assert_true(map != MAP_FAILED);
	assert_int_equal(map[2 * PAGE], 'S');
	assert_int_equal(map[0], 'a' + 3);
	map[2 * PAGE] = 'P';
	assert_int_equal(whole[5 * PAGE], 'S');
	unstage_part(FIRST, LAST);
	assert_int_equal(map[2 * PAGE], 'P');
	assert_int_equal(map[3 * PAGE], 'a' + 6);
	stage_part(FIRST, LAST);
	munmap(map, 4 * PAGE);
}

static void map__over_a_mapping(void **state)
{
	char *room = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map;

	(void)state;
	whole[5 * PAGE] = 'S';
	map = map_part(room + PAGE, 2, 6, MAP_SHARED | MAP_FIXED);
	assert_ptr_equal(map, room + PAGE);
	check_same(map, whole + 2 * PAGE, 6 * PAGE);
	assert_int_equal(room[7 * PAGE], 0);
	/* over itself */
	map = map_part(whole, 0, 16, MAP_SHARED | MAP_FIXED);
	assert_ptr_equal(map, whole);
	assert_int_equal(whole[5 * PAGE], 'S');
	check_same(room + PAGE, whole + 2 * PAGE, 6 * PAGE);
	/* something else over a part of it */
	map = mmap(room + 5 * PAGE, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	assert_int_equal(map[0], 0);
	map = map_part(room + 2 * PAGE, 2, 6, MAP_PRIVATE | MAP_FIXED);
	assert_int_equal(map[3 * PAGE], 'S');
	munmap(room, 16 * PAGE);
}

static void map__refusals_are_the_kernels(void **state)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	assert_ptr_equal(mmap(NULL, 0, PROT_READ, MAP_SHARED, own_fd, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_ptr_equal(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, own_fd, 1),
			 MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_ptr_equal(mmap(whole + 1, PAGE, PROT_READ,
			      MAP_SHARED | MAP_FIXED, own_fd, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_ptr_equal(
		mmap(whole, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, 999, 0),
		MAP_FAILED);
	assert_int_equal(errno, EBADF);
	assert_ptr_equal(mmap(whole, PAGE, PROT_READ, MAP_FIXED, own_fd, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	assert_true(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) !=
		    MAP_FAILED);
	assert_int_equal(whole[0], 'a');
	close(fd);
}

static void move__pieces_go_as_one(void **state)
{
	char *room = mmap(NULL, 64 * PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map = map_part(NULL, 0, 16, MAP_SHARED), *at;

	(void)state;
	whole[5 * PAGE] = 'S';
	at = mremap(map, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		    room + PAGE);
	assert_ptr_equal(at, room + PAGE);
	check_same(at, whole, 16 * PAGE);
	/* a part of it */
	at = mremap(room + 3 * PAGE, 6 * PAGE, 4 * PAGE,
		    MREMAP_MAYMOVE | MREMAP_FIXED, room + 40 * PAGE);
	assert_ptr_equal(at, room + 40 * PAGE);
	check_same(at, whole + 2 * PAGE, 4 * PAGE);
	check_same(room + PAGE, whole, 2 * PAGE);
	check_same(room + 9 * PAGE, whole + 8 * PAGE, 8 * PAGE);
	/* what is no mapping any more */
	assert_ptr_equal(
		mremap(room + PAGE, 16 * PAGE, 20 * PAGE, MREMAP_MAYMOVE),
		MAP_FAILED);
	assert_int_equal(errno, EFAULT);
	munmap(room, 64 * PAGE);
}

static void move__grows_over_shadows(void **state)
{
	char *room = mmap(NULL, 64 * PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map, *at;

	(void)state;
	whole[5 * PAGE] = 'S';
	/* in place, from the file into the shadow and out again */
	munmap(room + 8 * PAGE, 16 * PAGE);
	map = map_part(room + 8 * PAGE, 2, 1, MAP_SHARED | MAP_FIXED);
	assert_ptr_equal(mremap(map, PAGE, 6 * PAGE, 0), map);
	check_same(map, whole + 2 * PAGE, 6 * PAGE);
	assert_ptr_equal(mremap(map, 6 * PAGE, 14 * PAGE, MREMAP_MAYMOVE), map);
	check_same(map, whole + 2 * PAGE, 14 * PAGE);
	/* shrinks, and has no room then */
	assert_ptr_equal(mremap(map, 14 * PAGE, 4 * PAGE, 0), map);
	check_same(map, whole + 2 * PAGE, 4 * PAGE);
	assert_ptr_equal(mmap(map + 4 * PAGE, PAGE, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 map + 4 * PAGE);
	assert_ptr_equal(mremap(map, 4 * PAGE, 8 * PAGE, 0), MAP_FAILED);
	assert_int_equal(errno, ENOMEM);
	check_same(map, whole + 2 * PAGE, 4 * PAGE);
	at = mremap(map, 4 * PAGE, 14 * PAGE, MREMAP_MAYMOVE);
	assert_true(at != MAP_FAILED && at != map);
	check_same(at, whole + 2 * PAGE, 14 * PAGE);
	munmap(at, 14 * PAGE);
	munmap(room, 64 * PAGE);
}

static void move__of_no_size_duplicates(void **state)
{
	char *map = map_part(NULL, 5, 2, MAP_SHARED), *at;

	(void)state;
	whole[5 * PAGE] = 'S';
	/* the shadow's own memory ends sooner */
	at = mremap(map, 0, 10 * PAGE, MREMAP_MAYMOVE);
	assert_true(at != MAP_FAILED);
	check_same(at, whole + 5 * PAGE, 10 * PAGE);
	check_same(map, whole + 5 * PAGE, 2 * PAGE);
	unstage_part(FIRST, LAST);
	check_same(at, whole + 5 * PAGE, 10 * PAGE);
	stage_part(FIRST, LAST);
	munmap(map, 2 * PAGE);
	munmap(at, 10 * PAGE);
}

static off_t size_of_file(void)
{
	struct stat st;

	assert_int_equal(fstat(own_fd, &st), 0);
	return st.st_size;
}

static void check_zero(const char *at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (at[i])
			fail_msg("byte %zu of %zu is 0x%x", i, length, at[i]);
}

/* By the program's own description, as the others see the file. */
static void check_file(unsigned int first, unsigned int pages)
{
	char bytes[FILE_SIZE];
	size_t length = pages * PAGE;

	unstage_part(FIRST, LAST);
	assert_int_equal(pread(own_fd, bytes, length, first * PAGE), length);
	assert_memory_equal(bytes, whole + first * PAGE, length);
	stage_part(FIRST, LAST);
}

static void cut__is_zero_in_the_shadow_and_after_growing(void **state)
{
	(void)state;
	memset(whole + 5 * PAGE, 'S', 4 * PAGE);
	assert_int_equal(ftruncate(own_fd, 6 * PAGE + 100), 0);
	assert_int_equal(whole[6 * PAGE + 99], 'S');
	check_zero(whole + 6 * PAGE + 100, 6 * PAGE - 100);
	assert_int_equal(size_of_file(), 6 * PAGE + 100);
	assert_int_equal(ftruncate(own_fd, FILE_SIZE), 0);
	check_zero(whole + 6 * PAGE + 100, 10 * PAGE - 100);
	assert_int_equal(whole[6 * PAGE + 99], 'S');
	check_file(0, 16);
	assert_int_equal(whole[5 * PAGE], 'S');
	/* by its name */
	assert_int_equal(truncate(own_path, 5 * PAGE + 1), 0);
	assert_int_equal(whole[5 * PAGE], 'S');
	check_zero(whole + 5 * PAGE + 1, 7 * PAGE - 1);
	assert_int_equal(truncate(own_path, FILE_SIZE), 0);
	check_file(0, 16);
	check_zero(whole + 5 * PAGE + 1, 10 * PAGE);
}

static void cut__by_opening_it(void **state)
{
	int fd = open(own_path, O_RDWR | O_TRUNC);

	(void)state;
	assert_true(fd >= 0);
	check_zero(whole + FIRST * PAGE, (LAST - FIRST) * PAGE);
	assert_int_equal(size_of_file(), 0);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	whole[5 * PAGE] = 'S';
	close(fd);
	own_wait_until_held();
	check_file(0, 16);
	assert_int_equal(whole[5 * PAGE], 'S');
	check_zero(whole + 6 * PAGE, 10 * PAGE);
}

/* As by ftruncate(): what is stored there later is nobody's, and is dropped. */
static void cut__by_opening_it_is_for_good(void **state)
{
	int fd = open(own_path, O_WRONLY | O_TRUNC);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	own_wait_until_held();
	whole[5 * PAGE] = 'S';
	own_check_let_in();
	own_wait_until_held();
	assert_int_equal(size_of_file(), 0);
	assert_int_equal(ftruncate(own_fd, FILE_SIZE), 0);
	check_zero(whole + 6 * PAGE, 10 * PAGE);
}

static void punch__is_zero_in_file_and_shadow(void **state)
{
	const int keep = FALLOC_FL_KEEP_SIZE;
	const off_t from = 3 * PAGE + 5, to = 9 * PAGE + 77;

	(void)state;
	for (int i = 0; i < 2; i++) {
		int mode = i ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;

		memset(whole + 2 * PAGE, 'S', 10 * PAGE);
		assert_int_equal(
			fallocate(own_fd, mode | keep, from, to - from), 0);
		check_zero(whole + from, (size_t)(to - from));
		assert_int_equal(whole[from - 1], 'S');
		assert_int_equal(whole[to], 'S');
		/* stores come after */
		whole[7 * PAGE] = 'N';
		check_file(0, 16);
		assert_int_equal(whole[7 * PAGE], 'N');
		assert_int_equal(whole[from - 1], 'S');
		assert_int_equal(whole[to], 'S');
		check_zero(whole + 8 * PAGE, PAGE);
	}
	/* refused ones change nothing */
	whole[7 * PAGE] = 'N';
	assert_int_equal(
		fallocate(own_fd, FALLOC_FL_PUNCH_HOLE, 7 * PAGE, PAGE), -1);
	assert_int_equal(whole[7 * PAGE], 'N');
	assert_int_equal(fallocate(own_fd, 0, 0, FILE_SIZE), 0);
	assert_int_equal(whole[7 * PAGE], 'N');
}

static void shift__is_refused_while_there_is_a_shadow(void **state)
{
	(void)state;
	assert_int_equal(fallocate(own_fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE),
			 -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(fallocate(own_fd, FALLOC_FL_INSERT_RANGE, 0, PAGE),
			 -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(size_of_file(), FILE_SIZE);
}

/*
 * A pipe that a page of the shadow has been spliced into stands for a device:
 * it has that page, whatever the memfd has.
 */
static void remove__keeps_the_page_that_a_device_has(void **state)
{
	struct iovec page = {whole + 6 * PAGE, PAGE};
	char bytes[PAGE];
	int pipe_fds[2];

	(void)state;
	memset(whole + 2 * PAGE, 'S', 10 * PAGE);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(vmsplice(pipe_fds[1], &page, 1, 0), PAGE);
	own_expect_quiet();
	/* file, shadow and file */
	assert_int_equal(madvise(whole + 2 * PAGE, 12 * PAGE, MADV_REMOVE), 0);
	check_zero(whole + 2 * PAGE, 12 * PAGE);
	own_check_quiet();
	memset(whole + 6 * PAGE, 'N', PAGE);
	assert_int_equal(read(pipe_fds[0], bytes, PAGE), PAGE);
	assert_memory_equal(bytes, whole + 6 * PAGE, PAGE);
	check_file(0, 16);
	assert_int_equal(whole[6 * PAGE], 'N');
	check_zero(whole + 7 * PAGE, 7 * PAGE);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void remove__refusals_are_the_kernels(void **state)
{
	char *reader =
		mmap(NULL, PAGE, PROT_READ, MAP_SHARED, own_fd, 5 * PAGE);

	(void)state;
	assert_int_equal(madvise(reader, PAGE, MADV_REMOVE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(posix_madvise(reader, PAGE, MADV_REMOVE), EACCES);
	assert_int_equal(madvise(whole + 5 * PAGE + 1, PAGE, MADV_REMOVE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(whole[5 * PAGE], 'a' + 5);
	assert_int_equal(posix_madvise(whole + 5 * PAGE, PAGE, MADV_REMOVE), 0);
	assert_int_equal(reader[0], 0);
	munmap(reader, PAGE);
}

/* Advice that changes no byte. */
static void advise__changes_no_byte(void **state)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_WILLNEED,	    MADV_POPULATE_READ,
		MADV_COLD,     MADV_POPULATE_WRITE, MADV_DONTFORK,
		MADV_DOFORK,   MADV_DODUMP,	    MADV_DONTDUMP,
		MADV_RANDOM,   MADV_NORMAL,	    MADV_NOHUGEPAGE};

	(void)state;
	memset(whole + 2 * PAGE, 'S', 10 * PAGE);
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
		assert_int_equal(madvise(whole, FILE_SIZE, advice[i]), 0);
	assert_int_equal(madvise(whole, FILE_SIZE, MADV_FREE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(mlock(whole, FILE_SIZE), 0);
	assert_int_equal(munlock(whole, FILE_SIZE), 0);
	assert_int_equal(whole[2 * PAGE], 'S');
	assert_int_equal(whole[12 * PAGE - 1], 'S');
	check_file(0, 16);
}

#define MAP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MAP_TEST(map__shows_the_shadow_where_there_is_one),
		MAP_TEST(map__all_are_mapped_back),
		MAP_TEST(
			map__private_one_shows_the_shadow_and_keeps_its_stores),
		MAP_TEST(map__over_a_mapping),
		MAP_TEST(map__refusals_are_the_kernels),
		MAP_TEST(move__pieces_go_as_one),
		MAP_TEST(move__grows_over_shadows),
		MAP_TEST(move__of_no_size_duplicates),
		MAP_TEST(cut__is_zero_in_the_shadow_and_after_growing),
		MAP_TEST(cut__by_opening_it),
		MAP_TEST(cut__by_opening_it_is_for_good),
		MAP_TEST(punch__is_zero_in_file_and_shadow),
		MAP_TEST(shift__is_refused_while_there_is_a_shadow),
		MAP_TEST(remove__keeps_the_page_that_a_device_has),
		MAP_TEST(remove__refusals_are_the_kernels),
		MAP_TEST(advise__changes_no_byte),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
