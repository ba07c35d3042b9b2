/* SPDX-License-Identifier: BSD-2-Clause */
/* Real files and other processes for the tests of lease/: lease_file.h. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
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

void *file_map(const struct file *file, size_t length)
{
	void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file->fd, 0);

	assert_true(map != MAP_FAILED);
	return map;
}

void file_remove(struct file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	unlink(file->path);
}

int acquire_range(struct lease_engine *engine, int fd, int type,
		  unsigned long offset, unsigned long length,
		  struct lease **ret)
{
	struct lease_want want = {
		.fd = fd,
		.type = type,
		.offset = offset,
		.length = length,
	};

	return lease_acquire(engine, &want, ret);
}

static pid_t look_for_holder(const char *wanted)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	pid_t pid = 0;

	assert_non_null(locks);
	while (fgets(line, sizeof(line), locks))
		if (strstr(line, "LEASE") && strstr(line, wanted))
			assert_int_equal(
				sscanf(line, "%*d: %*s %*s %*s %d", &pid), 1);
	fclose(locks);
	return pid;
}

/*
 * The list is handed out in pieces, by number: where others' locks go
 * meanwhile, a look may miss one that is there. It never shows one that is not.
 */
pid_t file_lease_holder(const struct file *file)
{
	char wanted[64];
	struct stat st;
	pid_t pid = 0;

	assert_int_equal(stat(file->path, &st), 0);
	snprintf(wanted, sizeof(wanted), " %02x:%02x:%lu ", major(st.st_dev),
		 minor(st.st_dev), (unsigned long)st.st_ino);
	for (int look = 0; look < 8 && !pid; look++)
		pid = look_for_holder(wanted);
	return pid;
}

void file_check_let_in(const struct file *file, int flags)
{
	double start = now_sec();
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(open(file->path, flags | O_CLOEXEC) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(now_sec() - start < 5);
}

bool process_is_gone(void *arg)
{
	char path[64], text[128] = "";
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", *(pid_t *)arg);
	stat = fopen(path, "re");
	if (!stat)
		return true;
	if (!fgets(text, sizeof(text), stat))
		text[0] = '\0';
	fclose(stat);
	return !text[0] || strstr(text, ") Z ");
}

unsigned int process_fds(pid_t pid)
{
	unsigned int n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
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

static bool has_open(pid_t pid, ino_t memfd)
{
	char path[300], target[64];
	struct dirent *entry;
	bool found = false;
	struct stat st;
	ssize_t n;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid,
			 entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		found |= !strncmp(target, "/memfd:", 7) && !stat(path, &st) &&
			 st.st_ino == memfd;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool has_mapped(pid_t pid, ino_t memfd)
{
	char path[64], line[512];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long ino = 0;

		sscanf(line, "%*s %*s %*s %*s %lu", &ino);
		found |= strstr(line, "/memfd:") && ino == memfd;
	}
	if (maps)
		fclose(maps);
	return found;
}

bool memfd_is_held(ino_t memfd, pid_t may_map)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (pid > 0)
			found |= has_open(pid, memfd) ||
				 (pid != may_map && has_mapped(pid, memfd));
	}
	closedir(dir);
	return found;
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
