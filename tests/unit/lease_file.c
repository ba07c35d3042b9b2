/* SPDX-License-Identifier: BSD-2-Clause */
/* Real files and other processes for the tests of lease/: lease_file.h. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lease_file.h"
#include "unit.h"

#define XFS_MAGIC 0x58465342

static const char *folder(void)
{
	const char *dir = getenv("DAXMR_TEST_DAX_DIR");

	return dir ? dir : ".";
}

int file_cannot_lease(void)
{
	struct statfs fs;

	if (statfs(folder(), &fs) ||
	    (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_MAGIC)) {
		printf("%s is neither on ext4 nor on xfs\n", folder());
		return 77;
	}
	return 0;
}

void file_make(struct file *file, size_t size)
{
	snprintf(file->path, sizeof(file->path), "%s/lease-test-XXXXXX",
		 folder());
	file->fd = mkostemp(file->path, O_CLOEXEC);
	assert_true(file->fd >= 0);
	assert_int_equal(ftruncate(file->fd, (off_t)size), 0);
}

void file_remove(struct file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	unlink(file->path);
}

double now_sec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void wait_for(condition_fn *condition, void *arg, const char *what)
{
	double deadline = now_sec() + WAIT_SEC;

	while (!condition(arg)) {
		if (now_sec() > deadline)
			fail_msg("waited %d s for: %s", WAIT_SEC, what);
		usleep(200);
	}
}

int lease_of(int fd)
{
	return fcntl(fd, F_GETLEASE);
}

void child_start(struct child *child, void (*fn)(void *arg), void *arg)
{
	int ready[2], end[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	child->pid = fork();
	assert_true(child->pid >= 0);
	if (!child->pid) {
		close(ready[0]);
		close(end[1]);
		fn(arg);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		_exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(ready[1]);
	close(end[0]);
	child->ready = ready[0];
	child->end = end[1];
	assert_int_equal(read(child->ready, &byte, 1), 1);
	close(child->ready);
}

void child_end(struct child *child)
{
	int status;

	close(child->end);
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	assert_int_equal(status, 0);
}
