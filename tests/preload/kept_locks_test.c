/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file that is locked and mapped, and whose descriptor is closed, as
 * libpmemobj does with its pools: it can be registered, and the lock is there
 * as long as the mapping and no longer.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

static int descriptors_before;

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* By another process, past all hooks; waits for nobody but a lease. */
static bool is_locked(void)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		int fd = (int)syscall(SYS_openat, AT_FDCWD, staged_file.path,
				      O_RDWR, 0);

		_exit(fd < 0					  ? 2
		      : syscall(SYS_flock, fd, LOCK_EX | LOCK_NB) ? 1
								  : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status) == 1;
}

static int open_locked(void)
{
	int fd = open(staged_file.path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	return fd;
}

static int set_up(void **state)
{
	staging_set_up(state);
	assert_int_equal(munmap(staged_file.addr, SIZE), 0);
	descriptors_before = count_descriptors();
	return 0;
}

static char *map_file(int fd)
{
	char *addr =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	staged_file.addr = addr;
	return addr;
}

static char *map_locked(void)
{
	int fd = open_locked();
	char *addr = map_file(fd);

	assert_int_equal(close(fd), 0);
	assert_true(is_locked());
	return addr;
}

static void check_free(void)
{
	assert_false(is_locked());
	assert_int_equal(count_descriptors(), descriptors_before);
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(unlink(staged_file.path), 0);
	return 0;
}

static void registered__and_locked_until_it_is_unmapped(void **state)
{
	char *addr = map_locked();

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct ibv_mr *mr = register_range(addr, SIZE);

		assert_true(is_shadow(addr));
		memcpy(addr, "kept", 4);
		assert_true(is_locked());
		assert_int_equal(ibv_dereg_mr(mr), 0);
		wait_until_file(&staged_file);
		assert_true(is_locked());
	}
	file_mapping_check_outside(&staged_file, 0, "kept", 4);
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_false(is_locked());
}

static void unmapped__part_by_part(void **state)
{
	char *addr = map_locked();

	(void)state;
	assert_int_equal(munmap(addr, PAGE), 0);
	assert_int_equal(munmap(addr + 2 * PAGE, SIZE - 2 * PAGE), 0);
	assert_true(is_locked());
	assert_int_equal(munmap(addr, SIZE), 0);
	check_free();
}

static void moved__the_lock_goes_with_it(void **state)
{
	char *addr = map_locked(), *room, *now;

	(void)state;
	room = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	now = mremap(addr, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	assert_ptr_equal(now, room);
	assert_true(is_locked());
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_true(is_locked());
	assert_int_equal(munmap(now, SIZE), 0);
	check_free();
}

static void mapped_over__as_unmapped(void **state)
{
	char *addr = map_locked();

	(void)state;
	assert_ptr_equal(mmap(addr, SIZE, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 addr);
	check_free();
	munmap(addr, SIZE);
}

static void unlocked__nothing_is_kept(void **state)
{
	int fd = open_locked();
	char *addr = map_file(fd);

	(void)state;
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(close(fd), 0);
	check_free();
	assert_int_equal(munmap(addr, SIZE), 0);
}

static void not_mapped__goes_at_once(void **state)
{
	int fd = open_locked();

	(void)state;
	assert_int_equal(close(fd), 0);
	check_free();
	fd = open_locked();
	errno = TAKEN;
	assert_int_equal(dup2(STDERR_FILENO, fd), fd);
	assert_int_equal(errno, TAKEN);
	assert_false(is_locked());
	close(fd);
}

/* What is mapped is another description's, or was unmapped before. */
static void other_mapping__keeps_no_lock(void **state)
{
	int first = open(staged_file.path, O_RDWR | O_CLOEXEC), fd;
	char *addr = map_file(first), *second;

	(void)state;
	assert_int_equal(close(first), 0);
	for (int i = 0; i < 3; i++) {
		fd = open_locked();
		assert_int_equal(close(fd), 0);
		check_free();
	}
	fd = open_locked();
	second = map_file(fd);
	assert_int_equal(munmap(second, SIZE), 0);
	assert_int_equal(close(fd), 0);
	check_free();
	assert_int_equal(munmap(addr, SIZE), 0);
}

/* The copy is none that is closed by the same call; its number is another's. */
static void closed_with_all__number_is_another_files(void **state)
{
	int fd = open_locked(), other;
	char *addr = map_file(fd);

	(void)state;
	assert_int_equal(close_range((unsigned int)fd, ~0U, 0), 0);
	assert_true(is_locked());
	other = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 700);
	assert_int_equal(other, 700);
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_true(fcntl(other, F_GETFD) >= 0);
	assert_int_equal(close(other), 0);
	assert_false(is_locked());
}

/* A raw call is not seen. */
static void closed_past_the_hooks__number_is_another_files(void **state)
{
	char *addr = map_locked();
	int other;

	(void)state;
	assert_int_equal(syscall(SYS_close, 700), 0);
	other = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 700);
	assert_int_equal(other, 700);
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_true(fcntl(other, F_GETFD) >= 0);
	assert_int_equal(close(other), 0);
	check_free();
}

static void failed_dup2__closes_nothing(void **state)
{
	char *addr = map_locked();

	(void)state;
	assert_int_equal(dup2(-1, 700), -1);
	assert_int_equal(munmap(addr, SIZE), 0);
	check_free();
}

/* Closed by the C library, which no hook sees; and registered in between. */
static void many_by_stdio__leave_room(void **state)
{
	struct ibv_mr *mr;
	char *addr;

	(void)state;
	for (int i = 0; i < 100; i++) {
		FILE *first = fopen(staged_file.path, "r+");
		int fds[2];

		assert_non_null(first);
		assert_int_equal(flock(fileno(first), LOCK_SH), 0);
		assert_int_equal(pipe(fds), 0);
		fclose(first);
		/* its number is taken for the next round */
		fds[0] = fcntl(fds[0], F_DUPFD, 3);
		assert_true(fds[0] >= 0);
	}
	closefrom(3);
	descriptors_before = count_descriptors();
	addr = map_locked();
	mr = register_range(addr, SIZE);
	assert_true(is_shadow(addr));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_false(is_locked());
}

/* More than are followed: those are locked as ever. */
static void many__none_stays(void **state)
{
	int fds[200];

	(void)state;
	for (int i = 0; i < 200; i++) {
		fds[i] = open(staged_file.path, O_RDWR | O_CLOEXEC);
		assert_int_equal(flock(fds[i], LOCK_SH), 0);
	}
	for (int i = 0; i < 200; i++)
		close(fds[i]);
	check_free();
	assert_int_equal(munmap(map_locked(), SIZE), 0);
	check_free();
}

/* The lock stays, and says why the file cannot be leased. */
static void program_closes_all__is_refused(void **state)
{
	char *addr = map_locked();

	(void)state;
	closefrom(100);
	assert_true(is_locked());
	assert_null(ibv_reg_mr(pd, addr, SIZE, RW));
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), "locked"));
	assert_true(is_locked());
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_false(is_locked());
}

static void child__keeps_what_it_has_mapped(void **state)
{
	char *addr = map_locked(), byte;
	int end[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(end), 0);
	pid = fork();
	if (!pid) {
		close(end[1]);
		while (read(end[0], &byte, 1) == 1)
			if (munmap(addr, SIZE) || write(end[0], "", 0) > 0)
				_exit(1);
		_exit(0);
	}
	close(end[0]);
	assert_int_equal(munmap(addr, SIZE), 0);
	assert_true(is_locked());
	assert_int_equal(write(end[1], "x", 1), 1);
	for (int i = 0; is_locked(); i++) {
		assert_in_range(i, 0, 100 * FILE_MAPPING_WAIT_SEC);
		usleep(10000);
	}
	/* it lives */
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	close(end[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	check_free();
}

/* Its table is its own, its memory the parent's. */
static void child_of_vfork__closes_its_own(void **state)
{
	int fd = open_locked(), status;
	char *addr = map_file(fd);
	pid_t pid;

	(void)state;
	pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (!pid) {
		close(fd);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(is_locked());
	assert_int_equal(count_descriptors(), descriptors_before + 1);
	assert_int_equal(close(fd), 0);
	/* the copy */
	assert_int_equal(count_descriptors(), descriptors_before + 1);
	assert_true(is_locked());
	assert_int_equal(munmap(addr, SIZE), 0);
	check_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(unmapped__part_by_part),
		TEST(moved__the_lock_goes_with_it),
		TEST(mapped_over__as_unmapped),
		TEST(unlocked__nothing_is_kept),
		TEST(not_mapped__goes_at_once),
		TEST(other_mapping__keeps_no_lock),
		TEST(many__none_stays),
		TEST(closed_with_all__number_is_another_files),
		TEST(closed_past_the_hooks__number_is_another_files),
		TEST(failed_dup2__closes_nothing),
		TEST(child__keeps_what_it_has_mapped),
		TEST(child_of_vfork__closes_its_own),
		TEST(registered__and_locked_until_it_is_unmapped),
		TEST(program_closes_all__is_refused),
		TEST(many_by_stdio__leave_room),
	};
	int skip = staging_cannot();

	if (skip)
		return skip;
	alarm(180);
	staging_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
