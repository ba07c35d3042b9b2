/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies under a mapping while the lease is held: extents, clones, and what
 * an administrator can do to the file system or the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>

#include "lease_facts.h"

#define EXTENTS 64

/* Of the bytes from 0 on, how many lie in written, in unwritten extents. */
static void extents(int fd, uint64_t length, uint64_t *ret_written,
		    uint64_t *ret_unwritten)
{
	struct fiemap *map =
		calloc(1, sizeof(*map) + EXTENTS * sizeof(map->fm_extents[0]));
	unsigned int i;

	assert_non_null(map);
	map->fm_length = length;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = EXTENTS;
	assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, map), 0);
	assert_in_range(map->fm_mapped_extents, 0, EXTENTS - 1);
	*ret_written = 0;
	*ret_unwritten = 0;
	for (i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *e = &map->fm_extents[i];
		uint64_t end = e->fe_logical + e->fe_length;

		if (end > length)
			end = length;
		if (e->fe_flags & FIEMAP_EXTENT_UNWRITTEN)
			*ret_unwritten += end - e->fe_logical;
		else
			*ret_written += end - e->fe_logical;
	}
	free(map);
}

static void extents_expected(int fd, uint64_t written, uint64_t unwritten)
{
	uint64_t w, u;

	extents(fd, FILE_SIZE, &w, &u);
	assert_int_equal(w, written);
	assert_int_equal(u, unwritten);
}

static void fallocate__leaves_unwritten_extents(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR | O_TRUNC);
	assert_int_equal(ftruncate(f->fd, FILE_SIZE), 0);
	extents_expected(f->fd, 0, 0);
	assert_int_equal(fallocate(f->fd, 0, 0, FILE_SIZE), 0);
	extents_expected(f->fd, 0, FILE_SIZE);
}

static void fallocate__zero_range_leaves_unwritten_extents(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	extents_expected(f->fd, FILE_SIZE, 0);
	assert_int_equal(
		fallocate(f->fd, FALLOC_FL_ZERO_RANGE, 0, FILE_SIZE / 2), 0);
	extents_expected(f->fd, FILE_SIZE / 2, FILE_SIZE / 2);
}

/* How daxmr allocates: no store later needs a block. */
static void
populate__after_fallocate_leaves_written_extents_and_the_data(void **state)
{
	struct facts *f = *state;
	struct stat st;
	size_t i;

	holder_open(f, O_RDWR);
	assert_int_equal(fallocate(f->fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   FILE_SIZE / 2, FILE_SIZE / 4),
			 0);
	extents_expected(f->fd, FILE_SIZE * 3 / 4, 0);
	assert_int_equal(fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, FILE_SIZE),
			 0);
	extents_expected(f->fd, FILE_SIZE * 3 / 4, FILE_SIZE / 4);
	holder_map(f);
	assert_int_equal(madvise(f->map, FILE_SIZE, MADV_POPULATE_WRITE), 0);
	extents_expected(f->fd, FILE_SIZE, 0);
	for (i = 0; i < FILE_SIZE; i++) {
		bool hole = i >= FILE_SIZE / 2 && i < FILE_SIZE * 3 / 4;

		assert_int_equal(f->map[i], hole ? 0 : FILLED);
	}
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, FILE_SIZE);
}

/* Takes every block there is: by large steps first. */
static int fill_file_system(const char *path)
{
	int fd = open_or_fail(path, O_RDWR | O_CREAT);
	off_t step, at = 0;

	for (step = 64 << 20; step >= 4096; step /= 2) {
		while (fallocate(fd, 0, at, step) == 0)
			at += step;
		assert_int_equal(errno, ENOSPC);
	}
	return fd;
}

static long act_clone(const char *path, long unused)
{
	char clone[256];
	int to, result;

	(void)unused;
	make_path(clone, sizeof(clone), "%s.clone", path);
	outsider_fd = open(path, O_RDONLY | O_CLOEXEC);
	to = open(clone, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (outsider_fd < 0 || to < 0)
		return -ECANCELED;
	result = ioctl(to, FICLONE, outsider_fd) < 0 ? -errno : 0;
	close(to);
	close(outsider_fd);
	return result;
}

/* A store that the file system cannot serve ends the outsider by a signal. */
static long act_store_all(const char *path, long unused)
{
	long i;

	(void)path;
	(void)unused;
	for (i = 0; i < (long)(FILE_SIZE / 4096); i++)
		((volatile unsigned char *)outsider_map)[i * 4096] = 0x33;
	return 0;
}

/*
 * An outsider's cp --reflink shares the blocks: the next store into each has to
 * allocate.  xfs with reflink only, which 6.1 does not mount with DAX.
 */
static void clone__on_a_full_file_system_kills_the_next_store(void **state)
{
	struct facts *f = *state;
	char clone[200], filler[200];
	int status, fd;
	long result;

	make_path(clone, sizeof(clone), "%s.clone", f->file);
	make_path(filler, sizeof(filler), "%s.filler", f->file);
	outsider_do(&f->one, act_open, f->file, O_RDWR);
	assert_int_equal(outsider_do(&f->one, act_map, "", 0), 0);
	/* Written and mapped writable: a store needs nothing. */
	assert_int_equal(outsider_do(&f->one, act_store_all, "", 0), 0);
	result = outsider_do(&f->two, act_clone, f->file, 0);
	if (!on_xfs(f) || !kernel_is(6, 2)) {
		unlink(clone);
		assert_int_equal(result, -EOPNOTSUPP);
		return;
	}
	assert_int_equal(result, 0);
	fd = fill_file_system(filler);
	outsider_ask(&f->one, act_store_all, "", 0);
	status = outsider_wait(&f->one);
	close(fd);
	unlink(filler);
	unlink(clone);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static bool is_uninterruptible(const void *arg)
{
	const pid_t *pid = arg;

	return process_state(*pid) == 'D';
}

static int freeze(const struct facts *f)
{
	struct stat root, here;
	int fd;

	/* Not the file system that everything lives on. */
	assert_int_equal(stat("/", &root), 0);
	assert_int_equal(stat(f->folder, &here), 0);
	if (root.st_dev == here.st_dev)
		skip();
	fd = open_or_fail(f->folder, O_RDONLY | O_DIRECTORY);
	assert_int_equal(ioctl(fd, FIFREEZE, 0), 0);
	return fd;
}

/*
 * Freezing makes every page clean, and so write-protected: the next store has
 * to ask the file system, and waits in sb_start_pagefault() for the thaw.
 */
static void frozen__store_hangs_until_the_thaw(void **state)
{
	struct facts *f = *state;
	unsigned char byte;
	int fd;

	outsider_do(&f->one, act_open, f->file, O_RDWR);
	assert_int_equal(outsider_do(&f->one, act_map, "", 0), 0);
	outsider_do(&f->one, act_store, "", 1);
	fd = freeze(f);
	outsider_ask(&f->one, act_store, "", 0x44);
	wait_until(is_uninterruptible, &f->one.pid, "the store hangs");
	assert_false(outsider_has_answered(&f->one));
	/* Leases and readers do not wait: only what writes does. */
	holder_open(f, O_RDONLY);
	assert_int_equal(pread(f->fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 1);
	assert_int_equal(ioctl(fd, FITHAW, 0), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(pread(f->fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 0x44);
}

static void frozen__store_cannot_be_killed(void **state)
{
	struct facts *f = *state;
	int status, fd;

	outsider_do(&f->one, act_open, f->file, O_RDWR);
	assert_int_equal(outsider_do(&f->one, act_map, "", 0), 0);
	outsider_do(&f->one, act_store, "", 1);
	fd = freeze(f);
	outsider_ask(&f->one, act_store, "", 2);
	wait_until(is_uninterruptible, &f->one.pid, "the store hangs");
	kill(f->one.pid, SIGKILL);
	/* A wait that can be killed is woken by kill() itself. */
	assert_int_equal(process_state(f->one.pid), 'D');
	assert_int_equal(waitpid(f->one.pid, &status, WNOHANG), 0);
	assert_int_equal(ioctl(fd, FITHAW, 0), 0);
	status = outsider_wait(&f->one);
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* The lease itself is no write: it is broken and released all the same. */
static void frozen__lease_is_broken_released_and_taken(void **state)
{
	struct facts *f = *state;
	int fd;

	holder_lease(f);
	fd = freeze(f);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
	assert_int_equal(outsider_do(&f->one, act_close, "", 0), 0);
	holder_take(f->fd);
	assert_int_equal(ioctl(fd, FITHAW, 0), 0);
}

static int set_immutable(int fd, bool on)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? -errno : 0;
}

static int result_of(int64_t result)
{
	return result < 0 ? -errno : 0;
}

static long act_unlink(const char *path, long unused)
{
	(void)unused;
	return unlink(path) < 0 ? -errno : 0;
}

/* Before the common one, which removes the file. */
static int immutable_teardown(void **state)
{
	struct facts *f = *state;

	if (f->fd >= 0)
		set_immutable(f->fd, false);
	return facts_teardown(state);
}

static void immutable__binds_the_holder_too(void **state)
{
	struct facts *f = *state;
	/* ext4 asks in every call, xfs where the file is opened. */
	int later = on_xfs(f) ? 0 : -EPERM;

	holder_open(f, O_RDWR);
	holder_map(f)[0] = 1;
	holder_take(f->fd);
	assert_int_equal(set_immutable(f->fd, true), 0);
	assert_int_equal(result_of(fallocate(f->fd, 0, 0, FILE_SIZE)), -EPERM);
	assert_int_equal(result_of(open(f->file, O_RDWR | O_CLOEXEC)), -EPERM);
	assert_int_equal(result_of(truncate(f->file, 4096)), -EPERM);
	assert_int_equal(result_of(pwrite(f->fd, "x", 1, 0)), later);
	assert_int_equal(result_of(ftruncate(f->fd, FILE_SIZE)), later);
	no_break_expected(f->fd);
	/* and it can be leased, released and leased again */
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	holder_take(f->fd);
}

static void immutable__keeps_writers_out_and_readers_still_break(void **state)
{
	struct facts *f = *state;

	holder_lease(f);
	assert_int_equal(set_immutable(f->fd, true), 0);
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_WRONLY),
			 -EPERM);
	assert_int_equal(outsider_do(&f->one, act_truncate, f->file, 4096),
			 -EPERM);
	assert_int_equal(outsider_do(&f->one, act_unlink, f->file, 0), -EPERM);
	no_break_expected(f->fd);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

int file_tests(void)
{
	const struct CMUnitTest file[] = {
		FACT(fallocate__leaves_unwritten_extents),
		FACT(fallocate__zero_range_leaves_unwritten_extents),
		FACT(populate__after_fallocate_leaves_written_extents_and_the_data),
		FACT(clone__on_a_full_file_system_kills_the_next_store),
		FACT(frozen__store_hangs_until_the_thaw),
		FACT(frozen__store_cannot_be_killed),
		FACT(frozen__lease_is_broken_released_and_taken),
		cmocka_unit_test_setup_teardown(immutable__binds_the_holder_too,
						facts_setup,
						immutable_teardown),
		cmocka_unit_test_setup_teardown(
			immutable__keeps_writers_out_and_readers_still_break,
			facts_setup, immutable_teardown),
	};

	return cmocka_run_group_tests(file, NULL, NULL);
}
