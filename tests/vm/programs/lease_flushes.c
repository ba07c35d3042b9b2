/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_flushes CASE FOLDER KEEPER
 *
 * A flush that is held up: the kernel takes the lease away in the middle of it,
 * the file system is frozen, the disk is full. Talks to the keeper itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "extent_book.h"
#include "haste.h"
#include "keeper.h"
#include "reason.h"

#define SIZE	 (16UL << 20)
#define WAIT_SEC 60

#define check(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "line %d: %s (%s; %s)\n", __LINE__,    \
				#condition, strerror(errno), reason_text());   \
			exit(1);                                               \
		}                                                              \
	} while (0)

static char path[4096];
static const char *folder;
static int file_fd;
static struct keeper keeper;
static struct extent_shelf shelf;
static struct extent extent;
static char *shadow, *seen;

static double now_sec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Until the file has got into this state, for this cause. */
static struct keeper_message until(enum recall_state to,
				   enum recall_cause cause)
{
	struct keeper_message message;

	do {
		check(!keeper_receive(&keeper, WAIT_SEC * 1000, &message));
		if (message.kind == KEEPER_REPORT)
			printf("%s: cause %u, error %d\n",
			       recall_state_name(message.report.to),
			       message.report.cause, message.error);
	} while (message.kind != KEEPER_REPORT || message.report.to != to ||
		 message.report.cause != cause);
	return message;
}

static void write_text(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	check(fd >= 0 && write(fd, text, strlen(text)) > 0);
	close(fd);
}

/* A leased file of zeroes whose shadow differs from it in each block. */
static void set_up(const char *keeper_path)
{
	struct keeper_request request = {.type = F_WRLCK};
	struct keeper_extent range = {.extent = 1, .length = SIZE};
	struct keeper_message message;

	snprintf(path, sizeof(path), "%s/flushed", folder);
	file_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	check(file_fd >= 0 && !ftruncate(file_fd, SIZE));
	range.shadow_fd =
		memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	check(range.shadow_fd >= 0 && !ftruncate(range.shadow_fd, SIZE));
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      range.shadow_fd, 0);
	seen = malloc(SIZE);
	check(shadow != MAP_FAILED && seen);
	check(!extent_new(&shelf, 0, SIZE, &extent));
	range.page = extent_place(&extent);
	memset(shadow, 's', SIZE);
	for (uint64_t block = 0; block < SIZE / EXTENT_BLOCK; block++)
		extent_set_filled(&extent, block);
	check(!keeper_init(&keeper) && !keeper_start(&keeper, keeper_path));
	request.fd = file_fd;
	check(!keeper_acquire(&keeper, &request));
	check(!keeper_own_end(&keeper, 0, KEEPER_OWN_ALLOCATE));
	until(RECALL_HELD, RECALL_GRANTED);
	check(!keeper_attach(&keeper, &range));
	/* before that a break finds nothing to write */
	do
		check(!keeper_receive(&keeper, WAIT_SEC * 1000, &message));
	while (message.kind != KEEPER_ATTACHED);
	check(!message.error);
	close(range.shadow_fd);
}

/* All of the shadow is in the file, and the lease given back. */
static void check_written(void)
{
	check(!keeper_release(&keeper, 0, INT64_MAX));
	check(!until(RECALL_FREE, RECALL_RELEASED).error);
	check(pread(file_fd, seen, SIZE, 0) == SIZE);
	check(!memcmp(seen, shadow, SIZE));
	keeper_done(&keeper);
}

/* An outsider that says by its pipe when it is in, and stays till told. */
static pid_t outsider_start(int flags, int *is_in)
{
	int ends[2];
	pid_t pid;

	check(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		if (open(path, flags | O_CLOEXEC) < 0 ||
		    write(ends[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	*is_in = ends[0];
	return pid;
}

static void outsider_wait(int is_in)
{
	char byte;

	check(read(is_in, &byte, 1) == 1);
	close(is_in);
}

static void outsider_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static bool is_unchanged(void)
{
	char *now = malloc(SIZE);
	bool is_same = pread(file_fd, now, SIZE, 0) == SIZE &&
		       !memcmp(now, seen, SIZE);

	free(now);
	return is_same;
}

/*
 * The keeper, a slow one, is stopped half way for longer than the kernel gives
 * it. What is in the file then stays so until the keeper has it again. It goes
 * before other processes for as long as somebody waits for it, and no longer.
 */
static void revoked(void)
{
	double deadline = now_sec() + WAIT_SEC;
	uint64_t copied;
	int is_in;
	pid_t pid;

	write_text("/proc/sys/fs/lease-break-time", "1");
	pid = outsider_start(O_RDWR, &is_in);
	while (atomic_load(&extent.page->copied) < 64)
		check(now_sec() < deadline);
	kill(keeper.pid, SIGSTOP);
	check(getpriority(PRIO_PROCESS, (id_t)keeper.pid) == HASTE_NICE);
	outsider_wait(is_in);
	copied = atomic_load(&extent.page->copied);
	check(copied < SIZE / EXTENT_BLOCK);
	check(pread(file_fd, seen, SIZE, 0) == SIZE);
	check(memcmp(seen, shadow, SIZE));
	kill(keeper.pid, SIGCONT);
	until(RECALL_LOST, RECALL_REVOKED);
	deadline = now_sec() + 1;
	do
		check(is_unchanged());
	while (now_sec() < deadline);
	check(keeper_state(&keeper, 0) == RECALL_LOST);
	outsider_end(pid);
	until(RECALL_HELD, RECALL_MERGED);
	check(getpriority(PRIO_PROCESS, (id_t)keeper.pid) == 0);
	write_text("/proc/sys/fs/lease-break-time", "45");
	check_written();
}

/* The kernel lets others in when its time is over; the flush goes on later. */
static void frozen(void)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), is_in;
	double start;
	pid_t pid;

	write_text("/proc/sys/fs/lease-break-time", "2");
	check(dir >= 0 && !ioctl(dir, FIFREEZE, 0));
	start = now_sec();
	pid = outsider_start(O_RDONLY, &is_in);
	outsider_wait(is_in);
	printf("let in after %.1f s\n", now_sec() - start);
	check(now_sec() - start < 10);
	outsider_end(pid);
	check(!ioctl(dir, FITHAW, 0));
	write_text("/proc/sys/fs/lease-break-time", "45");
	until(RECALL_HELD, RECALL_MERGED);
	check_written();
}

/* Others take the file's blocks, and all the room that there is. */
static void full(void)
{
	struct keeper_message message;
	int other, filler, is_in;
	char name[4096];
	off_t at = 0;
	double start;
	pid_t pid;

	other = open(path, O_RDWR | O_CLOEXEC);
	check(other >= 0);
	until(RECALL_YIELDED, RECALL_FLUSHED);
	check(!fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 SIZE));
	snprintf(name, sizeof(name), "%s/filler", folder);
	filler = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(filler >= 0);
	for (off_t piece = 1 << 28; piece >= 4096;) {
		if (!fallocate(filler, 0, at, piece))
			at += piece;
		else
			piece /= 2;
	}
	close(other);
	message = until(RECALL_MERGING, RECALL_MERGE_FAILED);
	check(message.error == -ENOSPC);
	start = now_sec();
	pid = outsider_start(O_RDONLY, &is_in);
	outsider_wait(is_in);
	printf("let in after %.1f s\n", now_sec() - start);
	check(now_sec() - start < 5);
	/* There is nothing that needs room: ours are written as they were. */
	message = until(RECALL_YIELDED, RECALL_FLUSHED);
	check(!message.error);
	outsider_end(pid);
	check(!ftruncate(filler, 0));
	close(filler);
	unlink(name);
	/* What others punched comes into the shadow. */
	until(RECALL_HELD, RECALL_MERGED);
	check_written();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {{"revoked", revoked}, {"frozen", frozen}, {"full", full}};

	if (argc != 4)
		return 2;
	folder = argv[2];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name) != 0)
			continue;
		set_up(argv[3]);
		cases[i].run();
		unlink(path);
		return 0;
	}
	return 2;
}
