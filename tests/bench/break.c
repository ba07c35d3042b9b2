/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * break KEEPER [FOLDER [MIB [OPENS]]]
 *
 * How long an outsider's open() of a file with a shadow of 256 MiB takes, of
 * which nothing, 1 %, 10 % or all has changed since it was last the file's: the
 * break of the lease, all that the keeper does, the answer. Over what it takes
 * to compare as much by memcmp() and to copy what changed, blocks of 4 KiB of
 * another file and memory, all of which is mapped and has been touched: to
 * persistent memory by libpmem2, which goes past the cache, and drained, as the
 * keeper has to; on a file system that is not DAX by memcpy(), and that has to
 * reach the disk, and is told only.
 *
 * Medians of five pairs on the clock. Fails where it is more than 1.3. With
 * OPENS nothing is judged: so many opens, and five times by hand, are points
 * for two plots, by size, and the distribution for a size.
 *
 * Each side when the other is at rest: what the keeper does when it has the
 * file back would be in the baseline.
 *
 * The rig's clock can count instructions (--icount). It knows of no memory that
 * is slower than the processor: there the digest of a block takes nearly as
 * long as comparing and copying it, and a region of which much has changed
 * misses the goal. On a clock of time (flush.c) a digest is little beside the
 * memory. Hence what one of each block that changed adds to the baseline is
 * told as well.
 *
 * In instructions of that clock, AVX2 on both sides, for a block (6.1):
 * memcmp() 580, libpmem2's copy 720; ours: the compare 480, a copy 270, its
 * digest 1150, libpmem2's copy 720. These are 2.0 of the baseline where all
 * has changed: no work on the rest meets the goal there, a cheaper digest of
 * as many bits does. Where a tenth has, they are 1.1, and the rest decides.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <libpmem2.h>

#include "bench_stage.h"
#include "block.h"
#include "budget.h"
#include "pairs.h"

#define PAIRS	  5
#define DRAWN_MIB 16 /* whose distribution is drawn */
#define GOAL	  1.3
#define WAIT_MS	  60000
#define REST_USEC 20000

static size_t length = 256UL << 20;
static bool is_dax;
static uint64_t differing; /* so that they are compared */
static uint64_t digests;

/* An outsider, forked before there was anything: opens when it is told to. */
static struct outsider {
	char path[4096];
	atomic_bool is_asked;
	double took_ms;
} * outsider;

static void be_outsider(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		double start;
		int fd;

		while (!atomic_load(&outsider->is_asked))
			usleep(1000);
		start = pairs_now_ms();
		fd = open(outsider->path, O_RDONLY | O_CLOEXEC);
		outsider->took_ms = pairs_now_ms() - start;
		if (fd < 0)
			bench_die("open");
		close(fd);
		atomic_store(&outsider->is_asked, false);
	}
}

static void wait_for_lease(const struct lease *lease)
{
	double until = pairs_now_ms() + WAIT_MS;

	while (lease_state(lease) != RECALL_HELD) {
		if (pairs_now_ms() > until)
			bench_die("the lease has not come back");
		usleep(1000);
	}
	usleep(REST_USEC);
}

static double break_lease(const struct lease *lease)
{
	wait_for_lease(lease);
	atomic_store(&outsider->is_asked, true);
	while (atomic_load(&outsider->is_asked))
		usleep(1000);
	return outsider->took_ms;
}

/* percent of the blocks, spread. */
static bool is_changed(uint64_t block, unsigned int percent)
{
	return block * percent / 100 != (block + 1) * percent / 100;
}

/* The last byte: both have to read all of a block. */
static void change(uint8_t *bytes, unsigned int percent)
{
	for (uint64_t block = 0; block < length / PAGE; block++)
		if (is_changed(block, percent))
			bytes[block * PAGE + PAGE - 1]++;
}

static pmem2_memcpy_fn pmem_copy;
static pmem2_drain_fn pmem_drain;

static void find_pmem(int fd, uint8_t *file)
{
	struct pmem2_source *source;
	struct pmem2_map *map;

	if (pmem2_source_from_fd(&source, fd) ||
	    pmem2_map_from_existing(&map, source, file, length,
				    PMEM2_GRANULARITY_CACHE_LINE))
		bench_die("libpmem2");
	pmem_copy = pmem2_get_memcpy_fn(map);
	pmem_drain = pmem2_get_drain_fn(map);
}

static void copy(uint8_t *file, const uint8_t *memory)
{
	if (is_dax)
		pmem_copy(file, memory, PAGE, PMEM2_F_MEM_NODRAIN);
	else
		memcpy(file, memory, PAGE);
}

static double by_hand(uint8_t *file, const uint8_t *memory)
{
	double start = pairs_now_ms();

	for (size_t at = 0; at < length; at += PAGE) {
		bool differs = memcmp(file + at, memory + at, PAGE) != 0;

		differing += differs;
		if (differs)
			copy(file + at, memory + at);
	}
	if (is_dax)
		pmem_drain();
	else if (msync(file, length, MS_SYNC))
		bench_die("msync");
	return pairs_now_ms() - start;
}

static double digest_by_hand(const uint8_t *memory, unsigned int percent)
{
	static const uint8_t secret[EXTENT_SECRET_SIZE] = {1};
	double start = pairs_now_ms();

	for (uint64_t block = 0; block < length / PAGE; block++)
		if (is_changed(block, percent))
			digests ^= block_code()->digest(memory + block * PAGE,
							secret);
	return pairs_now_ms() - start;
}

static bool find_dax(int fd)
{
	void *bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			   MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

	if (bytes == MAP_FAILED)
		return false;
	munmap(bytes, PAGE);
	return true;
}

static bool measure(const struct lease *lease, uint8_t *shadow, uint8_t *file,
		    uint8_t *memory, unsigned int percent)
{
	struct pairs pairs = {0}, digested = {0};
	char what[128];
	bool is_met;

	for (unsigned int i = 0; i < PAIRS; i++) {
		change(memory, percent);
		wait_for_lease(lease);
		pairs.base[i] = by_hand(file, memory);
		digested.base[i] =
			pairs.base[i] + digest_by_hand(memory, percent);
		change(shadow, percent);
		pairs.ours[i] = digested.ours[i] = break_lease(lease);
		pairs.count = digested.count = i + 1;
	}
	snprintf(what, sizeof(what),
		 "an outsider's open, %u %% of %zu MiB changed", percent,
		 length >> 20);
	is_met = pairs_print(&pairs, what,
			     is_dax ? "compare and copy"
				    : "compare, copy and write to disk",
			     is_dax ? GOAL : 0);
	if (is_dax && percent)
		pairs_print(&digested, what, "compare, digest and copy", 0);
	return is_met;
}

static void point(const char *what, unsigned int percent, double *ms,
		  size_t count)
{
	struct spread spread = spread_of(ms, count);
	char series[64];

	snprintf(series, sizeof(series), "%s, %u %% changed", what, percent);
	budget_point("recall-size", series, (double)(length >> 20),
		     spread.median, spread.min, spread.max);
}

/* ms is sorted: how many of them, in percent, took no longer than X. */
static void tell_distribution(unsigned int percent, const double *ms,
			      size_t count)
{
	char series[64];

	snprintf(series, sizeof(series), "%u %% of %zu MiB changed", percent,
		 length >> 20);
	for (size_t i = 0; i < count; i++) {
		double share = 100 * (double)(i + 1) / (double)count;

		budget_point("recall-dirty", series, ms[i], share, share,
			     share);
	}
}

/* ms is sorted. */
static void tell_open(unsigned int percent, const double *ms, size_t count,
		      double by_hand_ms)
{
	char what[64];

	snprintf(what, sizeof(what), "opens, %u %% of %zu MiB changed", percent,
		 length >> 20);
	budget_print(&(struct budget){
		.what = what,
		.unit = "ms",
		.base_name = "compare and copy",
		.ours = ms[count / 2],
		.base = by_hand_ms,
		.ratio = ms[count / 2] / by_hand_ms,
		.min = ms[0] / by_hand_ms,
		.max = ms[count - 1] / by_hand_ms,
		.count = (unsigned int)count,
	});
}

static void tell_opens(const struct lease *lease, uint8_t *shadow,
		       uint8_t *file, uint8_t *memory, unsigned int percent,
		       size_t opens)
{
	double *ms = calloc(opens, sizeof(*ms)), hand[PAIRS];

	if (!ms)
		bench_die("no memory");
	for (size_t i = 0; i < opens; i++) {
		if (i < PAIRS) {
			change(memory, percent);
			wait_for_lease(lease);
			hand[i] = by_hand(file, memory);
		}
		change(shadow, percent);
		ms[i] = break_lease(lease);
	}
	if (percent == 1 || percent == 100) {
		point("an open", percent, ms, opens);
		point("compare and copy", percent, hand, PAIRS);
	}
	spread_of(ms, opens);
	tell_open(percent, ms, opens, spread_of(hand, PAIRS).median);
	if (length >> 20 == DRAWN_MIB)
		tell_distribution(percent, ms, opens);
	printf("# %zu opens, %u %% of %zu MiB changed: p50 %.2f, p99 %.2f, "
	       "longest %.2f ms\n",
	       opens, percent, length >> 20, ms[opens / 2],
	       ms[opens - 1 - opens / 100], ms[opens - 1]);
	free(ms);
}

int main(int argc, char **argv)
{
	static const unsigned int percents[] = {0, 1, 10, 100};
	const size_t opens = argc > 4 ? strtoul(argv[4], NULL, 0) : 0;
	const char *folder = argc > 2 ? argv[2] : ".";
	uint8_t *shadow, *file, *memory;
	struct lease_engine *engine;
	struct lease *lease;
	int fd, other, failures = 0;
	pid_t pid;

	if (argc < 2) {
		fprintf(stderr, "usage: break KEEPER [FOLDER [MIB [OPENS]]]\n");
		return 2;
	}
	if (argc > 3)
		length = strtoul(argv[3], NULL, 0) << 20;
	outsider = mmap(NULL, sizeof(*outsider), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outsider == MAP_FAILED)
		bench_die("mmap");
	pid = fork();
	if (!pid)
		be_outsider();
	fd = bench_named_file(folder, length, outsider->path);
	other = bench_file(folder, length);
	is_dax = find_dax(fd);
	shadow = bench_map(fd, length);
	file = bench_map(other, length);
	if (is_dax)
		find_pmem(other, file);
	memory = malloc(length);
	if (pid < 0 || !memory)
		bench_die("no memory");
	memcpy(memory, file, length);
	engine = bench_start(argv[1], folder);
	lease = bench_stage(engine, fd, 0, length);
	/* Page tables on both sides. */
	break_lease(lease);
	change(memory, 100);
	by_hand(file, memory);
	for (size_t i = 0; i < sizeof(percents) / sizeof(*percents); i++)
		if (opens >= PAIRS)
			tell_opens(lease, shadow, file, memory, percents[i],
				   opens);
		else
			failures += !measure(lease, shadow, file, memory,
					     percents[i]);
	wait_for_lease(lease);
	bench_unstage(lease, 0, length);
	bench_stop(engine);
	unlink(outsider->path);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return failures != 0;
}
