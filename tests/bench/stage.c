/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stage KEEPER [FOLDER [MIB...]]
 *
 * How long it takes until a range of a mapped file has a shadow,
 * lease_acquire() and lease_stage(), over a memcpy() of its length; 64 and 256
 * MiB; in a program with one thread, and in one with two, whose page faults
 * have to be held up.
 *
 * What is copied is the file's mapping, every page of which has been read
 * before; where to is a mapping of a new memfd, as a shadow is one: its pages
 * have to be allocated by either, and who copies by hand pays for them as well.
 * The same copy into memory that is there already is told, not judged.
 *
 * The file has its blocks. The keeper runs: it is started with a program's
 * first lease, here that of another file. Fails where it takes more than 1.3
 * times as long, in the median of pairs. What does not depend on the length
 * (the lease, the mappings) weighs in a small one: less than 8 MiB is told.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench_stage.h"
#include "budget.h"
#include "pairs.h"

#define PAIRS	   9
#define GOAL	   1.3
#define JUDGED_MIB 8

static const char *folder = ".";
static struct lease_engine *engine;
static uint64_t read_bytes; /* so that they are read */

static void touch(const volatile uint8_t *bytes, size_t length)
{
	for (size_t at = 0; at < length; at += PAGE)
		read_bytes += bytes[at];
}

static double copy_fresh(const uint8_t *file, size_t length)
{
	int fd = memfd_create("baseline", MFD_CLOEXEC);
	double start = pairs_now_ms(), end;
	uint8_t *to;

	if (fd < 0 || ftruncate(fd, (off_t)length))
		bench_die("memfd");
	to = bench_map(fd, length);
	memcpy(to, file, length);
	end = pairs_now_ms();
	munmap(to, length);
	close(fd);
	return end - start;
}

static double copy_warm(const uint8_t *file, uint8_t *to, size_t length)
{
	double start = pairs_now_ms();

	memcpy(to, file, length);
	return pairs_now_ms() - start;
}

static double stage(int fd, size_t length)
{
	double start = pairs_now_ms(), end;
	struct lease *lease = bench_stage(engine, fd, 0, length);

	end = pairs_now_ms();
	bench_unstage(lease, 0, length);
	return end - start;
}

/* For each MiB, in us. Sorts. */
static void point(const char *series, size_t mib, double *ms)
{
	struct spread spread = spread_of(ms, PAIRS);
	double unit = 1e3 / (double)mib;

	budget_point("stage", series, (double)mib, spread.median * unit,
		     spread.min * unit, spread.max * unit);
}

static bool measure(size_t length, const char *threads)
{
	size_t mib = length >> 20;
	struct pairs fresh = {0}, warm = {0};
	int fd = bench_file(folder, length);
	uint8_t *file = bench_map(fd, length), *memory = malloc(length);
	char what[128];
	bool is_met;

	if (!memory)
		bench_die("malloc");
	memset(memory, 1, length);
	for (unsigned int i = 0; i < PAIRS; i++) {
		touch(file, length);
		if (i % 2)
			fresh.base[i] = copy_fresh(file, length);
		fresh.ours[i] = warm.ours[i] = stage(fd, length);
		touch(file, length);
		if (!(i % 2))
			fresh.base[i] = copy_fresh(file, length);
		warm.base[i] = copy_warm(file, memory, length);
		fresh.count = warm.count = i + 1;
	}
	snprintf(what, sizeof(what), "staging %zu MiB, %s", mib, threads);
	is_met = pairs_print(&fresh, what, "memcpy to a new memfd",
			     mib < JUDGED_MIB ? 0 : GOAL);
	pairs_print(&warm, what, "memcpy to warm memory", 0);
	snprintf(what, sizeof(what), "staging, %s", threads);
	point(what, mib, fresh.ours);
	point("memcpy to a new memfd", mib, fresh.base);
	free(memory);
	munmap(file, length);
	close(fd);
	return is_met;
}

static void *be_there(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	static const char *lengths[] = {"64", "256"};
	const char *const *at = lengths;
	unsigned int count = 2, failures = 0;
	pthread_t thread;

	if (argc < 2) {
		fprintf(stderr, "usage: stage KEEPER [FOLDER [MIB...]]\n");
		return 2;
	}
	if (argc > 2)
		folder = argv[2];
	if (argc > 3) {
		at = (const char *const *)argv + 3;
		count = (unsigned int)argc - 3;
	}
	engine = bench_start(argv[1], folder);
	for (unsigned int i = 0; i < count; i++)
		failures +=
			!measure(strtoul(at[i], NULL, 0) << 20, "one thread");
	if (pthread_create(&thread, NULL, be_there, NULL))
		bench_die("thread");
	for (unsigned int i = 0; i < count; i++)
		failures +=
			!measure(strtoul(at[i], NULL, 0) << 20, "two threads");
	bench_stop(engine);
	return failures != 0;
}
