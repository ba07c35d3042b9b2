/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flush [FOLDER [MIB...]]
 *
 * How long it takes to flush a shadow of so many MiB (256) of which nothing, 1
 * %, 10 % or all has changed, over what it takes to compare as much by memcmp()
 * and then to copy what changed by memcpy(), blocks of 4 KiB of the same file
 * and shadow. Medians of five, in turns, of the time on the CPU: others on the
 * machine are not meant. The last byte of a block is what differs, so that both
 * have to read all of it. Fails where it is more than 1.3; less than 64 MiB is
 * told: it may stay in the processor's cache.
 *
 * FOLDER: on a DAX file system, or on tmpfs (else: /dev/shm), where the time of
 * a disk is not in it; the page faults of stores into clean pages are.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "budget.h"
#include "extent_book.h"
#include "flush.h"
#include "pairs.h"
#include "reason.h"

#define BLOCK	   4096UL
#define TURNS	   5
#define GOAL	   1.3
#define JUDGED_MIB 64

static uint64_t blocks;
static uint8_t *file, *shadow;
static uint64_t differing; /* so that they are compared */

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* percent of the blocks, spread. */
static bool is_changed(uint64_t block, unsigned int percent)
{
	return block * percent / 100 != (block + 1) * percent / 100;
}

static void change(unsigned int percent)
{
	for (uint64_t block = 0; block < blocks; block++)
		if (is_changed(block, percent))
			shadow[block * BLOCK + BLOCK - 1]++;
}

static double baseline(unsigned int percent)
{
	double start = now_ms();

	for (uint64_t at = 0; at < blocks * BLOCK; at += BLOCK)
		differing += memcmp(shadow + at, file + at, BLOCK) != 0;
	for (uint64_t block = 0; block < blocks; block++)
		if (is_changed(block, percent))
			memcpy(file + block * BLOCK, shadow + block * BLOCK,
			       BLOCK);
	return now_ms() - start;
}

static double ours(struct flush *flush)
{
	double start = now_ms();
	int r;

	do {
		r = flush_piece(flush);
	} while (r > 0);
	if (r) {
		fprintf(stderr, "flush: %s\n", strerror(-r));
		exit(2);
	}
	return now_ms() - start;
}

static void *map(int fd)
{
	void *bytes = mmap(NULL, blocks * BLOCK, PROT_READ | PROT_WRITE,
			   MAP_SHARED, fd, 0);

	if (bytes == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return bytes;
}

/* For each MiB, in us. Sorts. */
static void point(const char *what, unsigned int percent, double *ms)
{
	struct spread spread = spread_of(ms, TURNS);
	double mib = (double)(blocks * BLOCK >> 20);
	char series[128];

	snprintf(series, sizeof(series), "%s, %u %% changed", what, percent);
	budget_point("flush", series, mib, spread.median * 1e3 / mib,
		     spread.min * 1e3 / mib, spread.max * 1e3 / mib);
}

static bool measure(struct flush *flush, unsigned int percent)
{
	struct pairs pairs = {.count = TURNS};
	char what[128];
	bool is_met;

	for (int i = 0; i < TURNS; i++) {
		change(percent);
		pairs.base[i] = baseline(percent);
		change(percent);
		pairs.ours[i] = ours(flush);
	}
	snprintf(what, sizeof(what), "flush, %u %% of %lu MiB changed", percent,
		 (unsigned long)(blocks * BLOCK >> 20));
	is_met = pairs_print(&pairs, what, "compare and copy",
			     blocks * BLOCK >> 20 < JUDGED_MIB ? 0 : GOAL);
	if (percent == 1 || percent == 100) {
		point("flush", percent, pairs.ours);
		point("compare and copy", percent, pairs.base);
	}
	return is_met;
}

/* How many budgets were missed. */
static int flush_mib(const char *folder, unsigned long mib)
{
	static const unsigned int percents[] = {0, 1, 10, 100};
	struct extent_shelf shelf = {0};
	struct extent extent;
	struct flush *flush;
	int fd, shadow_fd, failures = 0;
	char path[4096];

	blocks = (mib << 20) / BLOCK;
	snprintf(path, sizeof(path), "%s/flush-XXXXXX", folder);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || unlink(path) ||
	    posix_fallocate(fd, 0, (off_t)(blocks * BLOCK))) {
		perror(path);
		exit(2);
	}
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (shadow_fd < 0 || ftruncate(shadow_fd, (off_t)(blocks * BLOCK))) {
		perror("memfd");
		exit(2);
	}
	file = map(fd);
	shadow = map(shadow_fd);
	memset(file, 1, blocks * BLOCK);
	memset(shadow, 1, blocks * BLOCK);
	if (extent_new(&shelf, 0, blocks * BLOCK, &extent) ||
	    flush_open(fd, shadow_fd, &extent, &flush)) {
		fprintf(stderr, "%s\n", reason_text());
		exit(2);
	}
	for (uint64_t block = 0; block < blocks; block++)
		extent_set_filled(&extent, block);
	/* Page tables, and digests of what has none. */
	ours(flush);
	for (size_t i = 0; i < sizeof(percents) / sizeof(*percents); i++)
		failures += !measure(flush, percents[i]);
	flush_close(flush);
	extent_free(&shelf, &extent);
	munmap(file, blocks * BLOCK);
	munmap(shadow, blocks * BLOCK);
	close(fd);
	close(shadow_fd);
	return failures;
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "/dev/shm";
	int failures = 0;

	if (argc < 3)
		failures = flush_mib(folder, 256);
	for (int i = 2; i < argc; i++)
		failures += flush_mib(folder, strtoul(argv[i], NULL, 0));
	return failures != 0;
}
