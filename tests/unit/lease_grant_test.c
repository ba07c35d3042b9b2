/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a lease can be had, who stands in the way, and blocks for a range: on
 * real files, with real processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocate.h"
#include "grant.h"
#include "lease_file.h"
#include "openers.h"
#include "reason.h"
#include "unit.h"

static void check_says(const char *text)
{
	if (!strstr(reason_text(), text))
		fail_msg("'%s' is not in: %s", text, reason_text());
}

static void check__a_file_of_our_own_will_do(void **state)
{
	struct file file;
	int read_only;

	(void)state;
	file_make(&file, PAGE);
	errno = 77;
	assert_int_equal(grant_check(file.fd, F_WRLCK), 0);
	assert_int_equal(errno, 77);
	read_only = open(file.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(grant_check(read_only, F_RDLCK), 0);
	close(read_only);
	file_remove(&file);
}

/* In a PID namespace whose /proc is still that outside. */
static void check__foreign_proc_is_said(void **state)
{
	struct file file;
	int status = -1;
	pid_t child;

	(void)state;
	file_make(&file, PAGE);
	fflush(stdout);
	child = fork();
	if (!child) {
		pid_t inner;

		if (unshare(CLONE_NEWPID))
			_exit(77);
		inner = fork();
		if (!inner)
			_exit(grant_check(file.fd, F_WRLCK) != -EOPNOTSUPP ||
			      reason_kind() != REASON_UNSEEN ||
			      !strstr(reason_text(), "PID namespace"));
		waitpid(inner, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	file_remove(&file);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("a PID namespace takes CAP_SYS_ADMIN\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void check__wrong_mode_is_said(void **state)
{
	struct file file;
	int fd;

	(void)state;
	file_make(&file, PAGE);
	assert_int_equal(grant_check(file.fd, F_RDLCK), -EBADF);
	check_says("open for writing");
	check_says("lease-test-");
	fd = open(file.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(grant_check(fd, F_WRLCK), -EBADF);
	close(fd);
	fd = open(file.path, O_PATH | O_CLOEXEC);
	assert_int_equal(grant_check(fd, F_WRLCK), -EBADF);
	check_says("O_PATH");
	close(fd);
	assert_int_equal(grant_check(fd, F_WRLCK), -EBADF);
	file_remove(&file);
}

static void check__other_files_are_refused(void **state)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC), pair[2];

	(void)state;
	assert_int_equal(grant_check(fd, F_WRLCK), -EINVAL);
	check_says("not a regular file");
	close(fd);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(grant_check(pair[0], F_WRLCK), -EINVAL);
	close(pair[0]);
	close(pair[1]);
	fd = memfd_create("lease-test", MFD_CLOEXEC);
	assert_int_equal(grant_check(fd, F_WRLCK), -EOPNOTSUPP);
	check_says("a lease guards nothing");
	close(fd);
}

/* In a child: it stays another user. */
static void check__another_users_file_is_refused(void **state)
{
	struct file file;
	int status;
	pid_t pid;

	(void)state;
	if (geteuid()) {
		print_message("only root can become another user\n");
		skip();
	}
	file_make(&file, PAGE);
	pid = fork();
	if (!pid)
		_exit(setresuid(65534, 65534, 65534) ||
		      grant_check(file.fd, F_WRLCK) != -EACCES ||
		      !strstr(reason_text(), "CAP_LEASE"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	file_remove(&file);
}

static void open_it(void *arg)
{
	prctl(PR_SET_NAME, "open it");
	if (open(arg, O_RDONLY | O_CLOEXEC) < 0)
		_exit(1);
}

static void explain__names_who_has_it_open(void **state)
{
	struct child child;
	struct file file;
	char name[64];

	(void)state;
	file_make(&file, PAGE);
	fcntl(file.fd, F_SETFD, FD_CLOEXEC);
	child_start(&child, open_it, file.path);
	/* the child has our description as well, and one of its own */
	assert_int_equal(fcntl(file.fd, F_SETLEASE, F_WRLCK), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(grant_explain(file.fd, F_WRLCK, -errno, 0), -EBUSY);
	snprintf(name, sizeof(name), "%d (open it)", child.pid);
	check_says(name);
	child_end(&child);
	assert_int_equal(fcntl(file.fd, F_SETLEASE, F_WRLCK), 0);
	fcntl(file.fd, F_SETLEASE, F_UNLCK);
	file_remove(&file);
}

static void explain__names_ourselves(void **state)
{
	struct file file;
	char name[64];
	int other, same;

	(void)state;
	file_make(&file, PAGE);
	same = dup(file.fd);
	other = open(file.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(grant_explain(file.fd, F_WRLCK, -EAGAIN, 0), -EBUSY);
	snprintf(name, sizeof(name), "descriptor %d beside ", other);
	check_says(name);
	close(other);
	/* a dup of it is no other opener */
	assert_int_equal(grant_explain(file.fd, F_WRLCK, -EAGAIN, 0), -EBUSY);
	check_says("not in a process that /proc shows");
	close(same);
	file_remove(&file);
}

struct shared {
	struct file file;
	void *addr;
};

/* Only the mapping, with no descriptor: as a child that closed all. */
static void keep_mapping(void *arg)
{
	struct shared *shared = arg;

	close(shared->file.fd);
}

static void shared__a_child_forked_earlier_is_named(void **state)
{
	struct shared shared;
	struct child child;
	char name[64];

	(void)state;
	file_make(&shared.file, PAGE);
	shared.addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   shared.file.fd, 0);
	assert_ptr_not_equal(shared.addr, MAP_FAILED);
	child_start(&child, keep_mapping, &shared);
	/* the kernel sees one description and has no objection */
	assert_int_equal(fcntl(shared.file.fd, F_SETLEASE, F_WRLCK), 0);
	assert_int_equal(grant_check_shared(shared.file.fd, 0), -EBUSY);
	snprintf(name, sizeof(name), "%d (", child.pid);
	check_says(name);
	check_says("mapped");
	assert_int_equal(grant_check_shared(shared.file.fd, child.pid), 0);
	child_end(&child);
	assert_int_equal(grant_check_shared(shared.file.fd, 0), 0);
	munmap(shared.addr, PAGE);
	file_remove(&shared.file);
}

static void keep_private_mapping(void *arg)
{
	struct shared *shared = arg;

	munmap(shared->addr, PAGE);
	shared->addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			    shared->file.fd, 0);
	close(shared->file.fd);
	if (shared->addr == MAP_FAILED)
		_exit(1);
}

/* What it reads there would be as old as the last write-back, unsaid. */
static void shared__a_childs_private_mapping_is_named(void **state)
{
	struct shared shared;
	struct child child;
	char name[64];

	(void)state;
	file_make(&shared.file, PAGE);
	shared.addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   shared.file.fd, 0);
	assert_ptr_not_equal(shared.addr, MAP_FAILED);
	child_start(&child, keep_private_mapping, &shared);
	assert_int_equal(grant_check_shared(shared.file.fd, 0), -EBUSY);
	snprintf(name, sizeof(name), "%d (", child.pid);
	check_says(name);
	check_says("mapped");
	child_end(&child);
	assert_int_equal(grant_check_shared(shared.file.fd, 0), 0);
	munmap(shared.addr, PAGE);
	file_remove(&shared.file);
}

static void explain__other_answers_have_sentences(void **state)
{
	struct file file;

	(void)state;
	file_make(&file, PAGE);
	assert_int_equal(grant_explain(file.fd, F_WRLCK, -EACCES, 0), -EACCES);
	check_says("CAP_LEASE");
	assert_int_equal(grant_explain(file.fd, F_WRLCK, -EINVAL, 0), -EINVAL);
	check_says("leases-enable");
	assert_int_equal(grant_explain(file.fd, F_WRLCK, -ENOMEM, 0), -ENOMEM);
	check_says("Cannot allocate memory");
	file_remove(&file);
}

static void names__many_are_counted(void **state)
{
	struct openers openers = {.found = 11};
	char text[400], little[20];

	(void)state;
	for (int i = 0; i < OPENERS_MAX; i++) {
		openers.list[i].pid = 4000000 + i;
		openers.list[i].maps = 1;
		strcpy(openers.list[i].command, "sixteen letters.");
	}
	openers_names(&openers, text, sizeof(text));
	assert_non_null(strstr(text, "4000007 (sixteen letters., mapped)"));
	assert_non_null(strstr(text, " and 3 more"));
	openers_names(&openers, little, sizeof(little));
	assert_true(strlen(little) < sizeof(little));
}

/* Extents of the file after a sync: bytes that are written and have a block. */
static uint64_t written_bytes(int fd)
{
	char room[sizeof(struct fiemap) + 256 * sizeof(struct fiemap_extent)]
		__attribute__((aligned(8))) = {0};
	struct fiemap *map = (struct fiemap *)room;
	uint64_t written = 0;

	map->fm_length = FIEMAP_MAX_OFFSET;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = 256;
	assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, map), 0);
	for (unsigned int i = 0; i < map->fm_mapped_extents; i++)
		if (!(map->fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN))
			written += map->fm_extents[i].fe_length;
	return written;
}

static void allocate__holes_get_blocks_data_and_size_stay(void **state)
{
	unsigned char *before = malloc(64 * PAGE), *after = malloc(64 * PAGE);
	struct file file;
	struct stat st;

	(void)state;
	file_make(&file, 64 * PAGE - 100);
	for (unsigned int i = 0; i < 64; i += 3) {
		char byte = (char)(i + 1);

		assert_int_equal(
			pwrite(file.fd, &byte, 1, (off_t)(i * PAGE + i)), 1);
	}
	assert_int_equal(
		fallocate(file.fd, FALLOC_FL_KEEP_SIZE, 10 * PAGE, 2 * PAGE),
		0);
	assert_int_equal(pread(file.fd, before, 64 * PAGE, 0), 64 * PAGE - 100);
	assert_true(written_bytes(file.fd) < 64 * PAGE);

	errno = 77;
	assert_int_equal(allocate_range(file.fd, 0, 64 * PAGE - 100), 0);
	assert_int_equal(errno, 77);
	assert_int_equal(written_bytes(file.fd), 64 * PAGE);
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, 64 * PAGE - 100);
	assert_int_equal(pread(file.fd, after, 64 * PAGE, 0), 64 * PAGE - 100);
	assert_memory_equal(before, after, 64 * PAGE - 100);
	/* again: nothing to do */
	assert_int_equal(allocate_range(file.fd, 0, 64 * PAGE - 100), 0);
	free(before);
	free(after);
	file_remove(&file);
}

/* Blocks that were never written would be looked up at the first store. */
static void allocate__unwritten_blocks_are_written(void **state)
{
	struct file file;

	(void)state;
	file_make(&file, 4 * PAGE);
	assert_int_equal(fallocate(file.fd, 0, 0, 4 * PAGE), 0);
	assert_int_equal(written_bytes(file.fd), 0);
	assert_int_equal(allocate_range(file.fd, 0, 4 * PAGE), 0);
	assert_int_equal(written_bytes(file.fd), 4 * PAGE);
	file_remove(&file);
}

static void allocate__only_the_range(void **state)
{
	struct file file;

	(void)state;
	file_make(&file, 64 * PAGE);
	assert_int_equal(allocate_range(file.fd, 3 * PAGE + 5, PAGE), 0);
	assert_int_equal(written_bytes(file.fd), 2 * PAGE);
	assert_int_equal(allocate_range(file.fd, 3, 0), 0);
	assert_int_equal(written_bytes(file.fd), 2 * PAGE);
	file_remove(&file);
}

static void allocate__beyond_the_end_is_refused(void **state)
{
	struct file file;

	(void)state;
	file_make(&file, 2 * PAGE);
	assert_int_equal(allocate_range(file.fd, PAGE, PAGE + 1), -ERANGE);
	check_says("has 8192 bytes");
	assert_int_equal(allocate_range(file.fd, UINT64_MAX - 5, 10), -ERANGE);
	assert_int_equal(written_bytes(file.fd), 0);
	file_remove(&file);
}

static void allocate__no_room_is_seen_before_anything_changed(void **state)
{
	struct file file;
	off_t size = 1LL << 43;

	(void)state;
	file_make(&file, PAGE);
	if (ftruncate(file.fd, size)) {
		print_message("no files of 8 TiB here\n");
		file_remove(&file);
		skip();
	}
	assert_int_equal(allocate_range(file.fd, 0, (uint64_t)size), -ENOSPC);
	check_says("No space left");
	assert_int_equal(written_bytes(file.fd), 0);
	file_remove(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check__a_file_of_our_own_will_do),
		cmocka_unit_test(check__foreign_proc_is_said),
		cmocka_unit_test(check__wrong_mode_is_said),
		cmocka_unit_test(check__other_files_are_refused),
		cmocka_unit_test(check__another_users_file_is_refused),
		cmocka_unit_test(explain__names_who_has_it_open),
		cmocka_unit_test(explain__names_ourselves),
		cmocka_unit_test(shared__a_child_forked_earlier_is_named),
		cmocka_unit_test(shared__a_childs_private_mapping_is_named),
		cmocka_unit_test(explain__other_answers_have_sentences),
		cmocka_unit_test(names__many_are_counted),
		cmocka_unit_test(allocate__holes_get_blocks_data_and_size_stay),
		cmocka_unit_test(allocate__unwritten_blocks_are_written),
		cmocka_unit_test(allocate__only_the_range),
		cmocka_unit_test(allocate__beyond_the_end_is_refused),
		cmocka_unit_test(
			allocate__no_room_is_seen_before_anything_changed),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease grant", tests, NULL, NULL);
}
