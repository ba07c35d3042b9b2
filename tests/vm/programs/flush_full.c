/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flush_full FOLDER full|quota
 *
 * A shadow is flushed into a file of which half has blocks, on a file system
 * that is full, or of which the user's quota leaves nothing: the blocks that
 * there is no room for are an error, the others are flushed, and once there is
 * room the next pass writes what was left. That there is no room is found out a
 * few times in a pass, not for each block: somebody may be waiting for the
 * file, and each time takes milliseconds. To allocate the file is refused
 * meanwhile; where it is for a quota nothing is allocated, though it leaves a
 * little.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocate.h"
#include "extent_book.h"
#include "flush.h"
#include "reason.h"

#define BLOCKS 1024UL
#define SIZE   (BLOCKS * EXTENT_BLOCK)

#define check(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "line %d: %s (%s; %s)\n", __LINE__,    \
				#condition, strerror(errno), reason_text());   \
			exit(1);                                               \
		}                                                              \
	} while (0)

static int no_room;
static char *shadow, *seen;
static struct extent_shelf shelf;
static struct extent extent;
static struct sigaction real_handler;
static volatile sig_atomic_t faults;

static int make_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	check(fd >= 0 && !ftruncate(fd, SIZE));
	check(pwrite(fd, seen, SIZE / 2, 0) == SIZE / 2 && !fsync(fd));
	return fd;
}

/* To the last block. */
static void fill_up(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	off_t at = 0;

	check(fd >= 0);
	for (off_t piece = 1 << 28; piece >= 4096;) {
		if (!fallocate(fd, 0, at, piece)) {
			at += piece;
		} else {
			check(errno == no_room);
			piece /= 2;
		}
	}
	close(fd);
}

static void count_fault(int sig, siginfo_t *info, void *context)
{
	faults++;
	real_handler.sa_sigaction(sig, info, context);
}

static void count_faults(void)
{
	struct sigaction counting;

	check(!sigaction(SIGBUS, NULL, &real_handler));
	check(real_handler.sa_flags & SA_SIGINFO);
	counting = real_handler;
	counting.sa_sigaction = count_fault;
	check(!sigaction(SIGBUS, &counting, NULL));
}

static int pass(struct flush *flush)
{
	int r;

	do
		r = flush_piece(flush);
	while (r > 0);
	return r;
}

/* A block has a digest where it is in the file, and nowhere else. */
static unsigned long count_unwritten(int fd)
{
	unsigned long unwritten = 0;

	check(pread(fd, seen, SIZE, 0) == SIZE);
	for (unsigned long i = 0; i < BLOCKS; i++) {
		size_t at = i * EXTENT_BLOCK;
		bool is_same = !memcmp(seen + at, shadow + at, EXTENT_BLOCK);

		check(is_same == (extent.digests[i] > EXTENT_IN_CONFLICT));
		check(is_same || i >= BLOCKS / 2);
		unwritten += !is_same;
	}
	return unwritten;
}

static long blocks_of(int fd)
{
	struct stat st;

	check(!fsync(fd) && !fstat(fd, &st));
	return st.st_blocks;
}

static void check_refused(int fd)
{
	long before = blocks_of(fd);

	check(allocate_range(fd, 0, SIZE) == -no_room);
	printf("%s\n", reason_text());
	/* Of what ext4 keeps for itself a program knows nothing. */
	if (no_room == ENOSPC)
		return;
	check(strstr(reason_text(), "KiB are needed, the quota of user"));
	check(blocks_of(fd) == before);
}

static void make_some_room(const char *filler)
{
	struct stat st;

	check(!stat(filler, &st));
	check(!truncate(filler, st.st_size - (off_t)SIZE / 4));
}

int main(int argc, char **argv)
{
	char path[4096], filler[4096];
	int fd, shadow_fd;
	unsigned long unwritten;
	struct flush *flush;

	if (argc != 3)
		return 2;
	no_room = strcmp(argv[2], "full") != 0 ? EDQUOT : ENOSPC;
	snprintf(path, sizeof(path), "%s/flushed", argv[1]);
	snprintf(filler, sizeof(filler), "%s/filler", argv[1]);
	seen = calloc(1, SIZE);
	check(seen);
	fd = make_file(path);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	check(shadow_fd >= 0 && !ftruncate(shadow_fd, SIZE));
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		      0);
	check(shadow != MAP_FAILED);
	check(!extent_new(&shelf, 0, SIZE, &extent));
	memset(shadow, 's', SIZE);
	for (unsigned long i = 0; i < BLOCKS; i++)
		extent_set_filled(&extent, i);
	check(!flush_open(fd, shadow_fd, &extent, &flush));
	count_faults();
	fill_up(filler);
	check(pass(flush) == -no_room);
	unwritten = count_unwritten(fd);
	printf("%lu of %lu blocks have no room\n", unwritten, BLOCKS);
	check(unwritten > 0);
	check(atomic_load(&extent.page->failed) == unwritten);
	check(atomic_load(&extent.page->state) == EXTENT_FAILED);
	check(faults > 0);
	faults = 0;
	check(pass(flush) == -no_room);
	printf("%d faults in a pass over them\n", (int)faults);
	check(faults > 0 && (unsigned long)faults < unwritten / 8);
	check_refused(fd);
	if (no_room == EDQUOT) {
		make_some_room(filler);
		check_refused(fd);
	}
	check(!unlink(filler));
	check(!pass(flush));
	check(!count_unwritten(fd));
	check(atomic_load(&extent.page->state) == EXTENT_IDLE);
	flush_close(flush);
	check(!unlink(path));
	return 0;
}
