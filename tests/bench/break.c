/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * break KEEPER [FOLDER [MIB]]
 *
 * How long an outsider's open() of a file with a shadow of 256 MiB takes, of
 * which nothing, 1 %, 10 % or all has changed since it was last the file's: the
 * break of the lease, all that the keeper does, the answer. Over what it takes
 * to compare as much by memcmp() and to copy what changed by memcpy(), blocks
 * of 4 KiB of another file and memory; on a file system that is not DAX that
 * has to reach the disk, as what the keeper writes has to, and is told only.
 *
 * Medians of five pairs on the clock. Fails where it is more than 1.3.
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

#include "bench_stage.h"
#include "pairs.h"

#define PAIRS	  5
#define GOAL	  1.3
#define WAIT_MS	  60000
#define REST_USEC 20000

static size_t length = 256UL << 20;
static bool is_dax;
static uint64_t differing; /* so that they are compared */

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

static double by_hand(uint8_t *file, const uint8_t *memory)
{
	double start = pairs_now_ms();

	for (size_t at = 0; at < length; at += PAGE) {
		bool differs = memcmp(file + at, memory + at, PAGE) != 0;

		differing += differs;
		if (differs)
			memcpy(file + at, memory + at, PAGE);
	}
	if (!is_dax && msync(file, length, MS_SYNC))
		bench_die("msync");
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
	struct pairs pairs = {0};
	char what[128];

	for (unsigned int i = 0; i < PAIRS; i++) {
		change(memory, percent);
		pairs.base[i] = by_hand(file, memory);
		change(shadow, percent);
		pairs.ours[i] = break_lease(lease);
		pairs.count = i + 1;
	}
	snprintf(what, sizeof(what),
		 "an outsider's open, %u %% of %zu MiB changed", percent,
		 length >> 20);
	return pairs_print(&pairs, what,
			   is_dax ? "compare and copy"
				  : "compare, copy and write to disk",
			   is_dax ? GOAL : 0);
}

int main(int argc, char **argv)
{
	static const unsigned int percents[] = {0, 1, 10, 100};
	const char *folder = argc > 2 ? argv[2] : ".";
	uint8_t *shadow, *file, *memory;
	struct lease_engine *engine;
	struct lease *lease;
	int fd, other, failures = 0;
	pid_t pid;

	if (argc < 2) {
		fprintf(stderr, "usage: break KEEPER [FOLDER [MIB]]\n");
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
		failures += !measure(lease, shadow, file, memory, percents[i]);
	wait_for_lease(lease);
	bench_unstage(lease, 0, length);
	bench_stop(engine);
	unlink(outsider->path);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return failures != 0;
}
