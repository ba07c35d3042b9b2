/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each call of a program's own on a file that it has leased returns what it
 * would without a lease, at once, errno included; a change breaks no lease.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

/* What a program that is compiled with _FORTIFY_SOURCE calls. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

static off_t size_of_file(void)
{
	struct stat st;

	assert_int_equal(fstat(own_fd, &st), 0);
	return st.st_size;
}

/* An open of our own: in without waiting, retaken as soon as it is closed. */
static void check_opened(int fd)
{
	int saved_errno = errno;

	if (fd < 0)
		fail_msg("not opened: %s", strerrordesc_np(saved_errno));
	assert_int_equal(saved_errno, 77);
	assert_int_equal(close(fd), 0);
	own_wait_until_held();
	errno = 77;
}

static void open__every_variant_is_let_in(void **state)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK;
	double start = own_now();

	(void)state;
	errno = 77;
	check_opened(open(own_path, flags));
	check_opened(open64(own_path, flags));
	check_opened(__open_2(own_path, flags));
	check_opened(__open64_2(own_path, flags));
	check_opened(openat(AT_FDCWD, own_path, flags));
	check_opened(openat64(AT_FDCWD, own_path, flags));
	check_opened(__openat_2(AT_FDCWD, own_path, flags));
	check_opened(__openat64_2(AT_FDCWD, own_path, flags));
	check_opened(open(own_path, O_RDONLY | O_NONBLOCK));
	check_opened(open(own_path, O_RDONLY));
	check_opened(open(own_path, O_RDWR | O_CREAT, 0600));
	assert_true(own_now() - start < 5);
}

static void open__truncating_variants_truncate(void **state)
{
	(void)state;
	errno = 77;
	check_opened(creat(own_path, 0600));
	assert_int_equal(size_of_file(), 0);
	assert_int_equal(ftruncate(own_fd, PAGE), 0);
	check_opened(creat64(own_path, 0600));
	assert_int_equal(size_of_file(), 0);
	assert_int_equal(ftruncate(own_fd, PAGE), 0);
	check_opened(open(own_path, O_RDONLY | O_TRUNC | O_NONBLOCK));
	assert_int_equal(size_of_file(), 0);
}

static void open__by_other_ways_to_the_file(void **state)
{
	char link_path[300], name[32];

	(void)state;
	snprintf(link_path, sizeof(link_path), "%s.link", own_path);
	assert_int_equal(symlink(basename(own_path), link_path), 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", own_fd);
	errno = 77;
	check_opened(open(link_path, O_RDONLY | O_NONBLOCK));
	check_opened(open(name, O_RDWR | O_NONBLOCK));
	assert_int_equal(unlink(link_path), 0);
}

/* Refused as without a lease, which is not touched. */
#define CHECK_REFUSED(call, error)                                             \
	do {                                                                   \
		own_expect_quiet();                                            \
		assert_int_equal(call, -1);                                    \
		assert_int_equal(errno, error);                                \
		own_check_quiet();                                             \
	} while (0)

static void open__what_opens_nothing_breaks_nothing(void **state)
{
	char link_path[300];
	int fd;

	(void)state;
	snprintf(link_path, sizeof(link_path), "%s.link", own_path);
	assert_int_equal(symlink(basename(own_path), link_path), 0);
	CHECK_REFUSED(open(own_path, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	CHECK_REFUSED(open(own_path, O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_REFUSED(open(link_path, O_RDONLY | O_NOFOLLOW), ELOOP);
	CHECK_REFUSED(open((const char *)16, O_RDONLY), EFAULT);
	CHECK_REFUSED(open("", O_RDONLY), ENOENT);
	CHECK_REFUSED(openat(own_fd, "x", O_RDONLY), ENOTDIR);
	CHECK_REFUSED(openat(-7, "x", O_RDONLY), EBADF);
	own_expect_quiet();
	fd = open(own_path, O_PATH);
	assert_true(fd >= 0);
	close(fd);
	own_check_quiet();
	assert_int_equal(unlink(link_path), 0);
}

/* The mode gets through where it counts, and only there. */
static void open__mode_is_handed_over(void **state)
{
	mode_t before = umask(0);
	char path[300];
	struct stat st;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s.new", own_path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0741);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0741);
	close(fd);
	assert_int_equal(unlink(path), 0);
	*strrchr(path, '/') = '\0';
	fd = openat(AT_FDCWD, path, O_RDWR | O_TMPFILE, 0640);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	close(fd);
	umask(before);
}

/* Done, not broken, errno as it was. */
#define CHECK_CHANGE(call, size)                                               \
	do {                                                                   \
		own_expect_quiet();                                            \
		errno = 77;                                                    \
		assert_int_equal(call, 0);                                     \
		assert_int_equal(errno, 77);                                   \
		own_check_quiet();                                             \
		assert_int_equal(size_of_file(), size);                        \
	} while (0)

static void change__through_the_descriptor_keeps_the_lease(void **state)
{
	const int keep = FALLOC_FL_KEEP_SIZE;

	(void)state;
	CHECK_CHANGE(ftruncate(own_fd, 3 * PAGE), 3 * PAGE);
	CHECK_CHANGE(ftruncate64(own_fd, 4 * PAGE), 4 * PAGE);
	CHECK_CHANGE(fallocate(own_fd, 0, 0, 5 * PAGE), 5 * PAGE);
	CHECK_CHANGE(fallocate64(own_fd, keep, 0, 6 * PAGE), 5 * PAGE);
	CHECK_CHANGE(fallocate(own_fd, keep | FALLOC_FL_PUNCH_HOLE, 0, PAGE),
		     5 * PAGE);
	CHECK_CHANGE(fallocate(own_fd, FALLOC_FL_ZERO_RANGE, 0, 7 * PAGE),
		     7 * PAGE);
	CHECK_CHANGE(posix_fallocate(own_fd, 0, 8 * PAGE), 8 * PAGE);
	CHECK_CHANGE(posix_fallocate64(own_fd, 0, 9 * PAGE), 9 * PAGE);
	CHECK_CHANGE(fallocate(own_fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE),
		     8 * PAGE);
	CHECK_CHANGE(fallocate(own_fd, FALLOC_FL_INSERT_RANGE, 0, PAGE),
		     9 * PAGE);
}

static void change__by_path_keeps_the_lease(void **state)
{
	(void)state;
	CHECK_CHANGE(truncate(own_path, 3 * PAGE), 3 * PAGE);
	CHECK_CHANGE(truncate64(own_path, 20 * PAGE), 20 * PAGE);
	CHECK_CHANGE(truncate(own_path, 0), 0);
}

static bool changes_times(const char *path)
{
	struct timespec pause = {0, 20000000}; /* a tick of the file's clock */
	struct stat before, after;

	assert_int_equal(stat(path, &before), 0);
	nanosleep(&pause, NULL);
	assert_int_equal(truncate(path, before.st_size), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	return before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
	       before.st_mtim.tv_nsec != after.st_mtim.tv_nsec;
}

/* File systems differ: as they do it with a file that is not leased. */
static void change__to_the_same_size_is_the_file_systems_business(void **state)
{
	char path[300];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s.other", own_path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	close(fd);
	assert_int_equal(changes_times(own_path), changes_times(path));
	assert_int_equal(unlink(path), 0);
}

static void change__refusals_are_the_kernels(void **state)
{
	char path[300];

	(void)state;
	CHECK_REFUSED(truncate(own_path, -1), EINVAL);
	CHECK_REFUSED(ftruncate(own_fd, -1), EINVAL);
	CHECK_REFUSED(fallocate(own_fd, 0, 0, 0), EINVAL);
	CHECK_REFUSED(truncate("/nonexistent/x", 1), ENOENT);
	CHECK_REFUSED(ftruncate(-1, 1), EBADF);
	CHECK_REFUSED(madvise((void *)1, PAGE, MADV_REMOVE), EINVAL);
	assert_int_equal(posix_fallocate(own_fd, 0, 0), EINVAL);
	snprintf(path, sizeof(path), "%s/x", own_path);
	CHECK_REFUSED(truncate(path, 1), ENOTDIR);
	assert_int_equal(size_of_file(), FILE_SIZE);
}

/* Of this thread alone: the C library's would change all of them. */
static void change__who_may_not_write_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(own_path, 0644), 0);
	own_expect_quiet();
	assert_int_equal(syscall(SYS_setresuid, -1, 65534, -1), 0);
	assert_int_equal(truncate(own_path, 0), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	assert_int_equal(size_of_file(), FILE_SIZE);
	own_check_quiet();
}

static atomic_int too_large;

static void count_too_large(int signal)
{
	(void)signal;
	atomic_fetch_add(&too_large, 1);
}

static void change__beyond_the_limit_is_signalled(void **state)
{
	struct sigaction before, action = {.sa_handler = count_too_large};
	struct rlimit limit, old;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 32 * PAGE;
	assert_int_equal(sigaction(SIGXFSZ, &action, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(truncate(own_path, 33 * PAGE), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(atomic_load(&too_large), 1);
	assert_int_equal(ftruncate(own_fd, 33 * PAGE), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(atomic_load(&too_large), 2);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(sigaction(SIGXFSZ, &before, NULL), 0);
}

static void punch__through_a_mapping_keeps_the_lease(void **state)
{
	char *map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 own_fd, 0);

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	memset(map, 'x', FILE_SIZE);
	CHECK_CHANGE(madvise(map, PAGE, MADV_REMOVE), FILE_SIZE);
	CHECK_CHANGE(posix_madvise(map + PAGE, PAGE, MADV_REMOVE), FILE_SIZE);
	assert_int_equal(map[0], 0);
	assert_int_equal(map[PAGE], 0);
	assert_int_equal(map[2 * PAGE], 'x');
	CHECK_CHANGE(madvise(map, PAGE, MADV_DONTNEED), FILE_SIZE);
	munmap(map, FILE_SIZE);
}

/* How long from the last close of a second descriptor to the lease. */
static void open__lease_is_back_soon(void **state)
{
	double worst = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		int fd = open(own_path, O_RDWR);
		double start;

		assert_true(fd >= 0);
		start = own_now();
		close(fd);
		own_wait_until_held();
		if (own_now() - start > worst)
			worst = own_now() - start;
	}
	print_message("lease back after the last close: %.1f ms at most\n",
		      worst * 1000);
	assert_true(worst < 2);
}

/* Readers break no read lease, our own neither; truncate() does. */
static void read_lease__own_readers_break_nothing(void **state)
{
	struct lease_want want = {.type = F_RDLCK, .length = FILE_SIZE};
	char path[300];
	struct stat st;
	int other = own_fd, fd, reader;

	(void)state;
	snprintf(path, sizeof(path), "%s.read", own_path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	own_fd = want.fd = fd;
	own_engine->lease_release(own_lease, 0, FILE_SIZE, INT64_MAX);
	assert_int_equal(own_engine->lease_acquire(&want, &own_lease), 0);
	own_expect_quiet();
	reader = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(reader >= 0);
	assert_int_equal(close(reader), 0);
	own_check_quiet();
	assert_int_equal(truncate(path, PAGE), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, PAGE);
	own_wait_until_held();
	reader = open(path, O_RDWR | O_NONBLOCK);
	assert_true(reader >= 0);
	assert_int_equal(close(reader), 0);
	own_wait_until_held();
	own_engine->lease_release(own_lease, 0, FILE_SIZE, INT64_MAX);
	close(fd);
	assert_int_equal(unlink(path), 0);
	/* what teardown expects */
	want.type = F_WRLCK;
	own_fd = want.fd = other;
	assert_int_equal(own_engine->lease_acquire(&want, &own_lease), 0);
}

#define OWN_TEST(name)                                                         \
	cmocka_unit_test_setup_teardown(name, own_setup, own_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(open__every_variant_is_let_in),
		OWN_TEST(open__truncating_variants_truncate),
		OWN_TEST(open__by_other_ways_to_the_file),
		OWN_TEST(open__what_opens_nothing_breaks_nothing),
		OWN_TEST(open__mode_is_handed_over),
		OWN_TEST(open__lease_is_back_soon),
		OWN_TEST(change__through_the_descriptor_keeps_the_lease),
		OWN_TEST(change__by_path_keeps_the_lease),
		OWN_TEST(change__to_the_same_size_is_the_file_systems_business),
		OWN_TEST(change__refusals_are_the_kernels),
		OWN_TEST(change__who_may_not_write_is_refused),
		OWN_TEST(change__beyond_the_limit_is_signalled),
		OWN_TEST(punch__through_a_mapping_keeps_the_lease),
		OWN_TEST(read_lease__own_readers_break_nothing),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
