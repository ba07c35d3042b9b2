/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory KEEPER [FOLDER [REGIONS [KIB]]]
 *
 * What a region takes of memory beside its shadow, in the program and in the
 * keeper together: 1,000 of them of 64 KiB in one file, 100 of 1 MiB, and 4 of
 * 64 MiB. As /proc has it: the proportional share of all mappings but those of
 * the shadows and of the file (of libraries all that is there: others map them
 * too, and come and go), after the keeper has flushed them all, less what that
 * was when there was one. What the kernel has for itself (tables of pages,
 * which the program's mapping had before as well; descriptors) is not in it;
 * the tables of pages are told.
 *
 * Fails where it is more than 1 KiB and 8 bytes for each block of 4 KiB. /proc
 * counts whole pages, of the program's memory and of the keeper's: SLACK of
 * them, for all regions together, is what that leaves open.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_stage.h"
#include "budget.h"
#include "openers.h"

#define BLOCK_GOAL  8
#define REGION_GOAL 1024
#define SLACK	    (4 * PAGE)

static const char *folder = ".";

struct taken {
	long kib;
	long tables_kib;
};

/* Of the file, or of a shadow of it: that is what is not counted. */
static bool is_counted(const char *name)
{
	return !strstr(name, "daxmr-shadow") && !strstr(name, "/bench-");
}

/* Of a program or library: what part of it is ours others decide, any time. */
static bool is_library(const char *name)
{
	return strchr(name, '/') && !strstr(name, "/memfd:");
}

static void add_process(pid_t pid, struct taken *taken)
{
	char path[64], line[4096];
	const char *what = "";
	bool counts = false;
	FILE *file;
	long kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	if (!file)
		bench_die(path);
	while (fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			counts = is_counted(line);
			what = is_library(line) ? "Rss: %ld" : "Pss: %ld";
		} else if (counts && sscanf(line, what, &kib) == 1) {
			taken->kib += kib;
		}
	}
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		bench_die(path);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmPTE: %ld", &kib) == 1)
			taken->tables_kib += kib;
	fclose(file);
}

static struct taken look(pid_t keeper)
{
	struct taken taken = {0};

	add_process(getpid(), &taken);
	add_process(keeper, &taken);
	return taken;
}

/* Who else has a file that is leased. */
static pid_t find_keeper(int fd)
{
	struct openers openers;

	if (openers_find(fd, 0, OPENERS_OTHERS, &openers) || openers.found != 1)
		bench_die("no keeper");
	return openers.list[0].pid;
}

static double seconds(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - since->tv_sec) +
	       (double)(now.tv_nsec - since->tv_nsec) / 1e9;
}

struct world {
	struct lease_engine *engine;
	uint8_t *bytes;
	int fd;
	size_t length;
	size_t stride; /* a page more: that is in no region */
};

static struct lease *add(const struct world *world, unsigned int i)
{
	struct lease *lease = bench_stage(world->engine, world->fd,
					  i * world->stride, world->length);

	memset(world->bytes + i * world->stride, 2, world->length);
	return lease;
}

static void flush(struct lease *lease)
{
	if (lease_flush(lease, 0, UINT64_MAX))
		bench_die("flush");
}

static bool told(const struct world *world, unsigned int regions,
		 const struct taken *before, const struct taken *after)
{
	size_t goal = REGION_GOAL + world->length / PAGE * BLOCK_GOAL;
	double each = (double)(after->kib - before->kib) * 1024 / regions;
	struct budget budget = {
		.unit = "bytes",
		.base_name = "1 KiB and 8 bytes per 4 KiB",
		.ours = each,
		.base = (double)goal + (double)SLACK / regions,
		.count = 1,
		.goal = 1,
	};
	char what[128];

	snprintf(what, sizeof(what), "memory of a region, %u of %zu KiB",
		 regions, world->length >> 10);
	budget.what = what;
	budget.ratio = budget.min = budget.max = each / budget.base;
	printf("# and %.0f bytes of page tables\n",
	       (double)(after->tables_kib - before->tables_kib) * 1024 /
		       regions);
	return budget_print(&budget);
}

/* One is there before, flushed, for what it takes once. */
static bool measure(const char *keeper_path, unsigned int regions, size_t kib)
{
	struct world world = {
		.engine = bench_start(keeper_path, folder),
		.length = kib << 10,
		.stride = (kib << 10) + PAGE,
	};
	size_t all = (regions + 1) * world.stride;
	struct taken before, after;
	struct timespec since;
	struct lease *lease;
	double staging;
	pid_t keeper;
	bool is_met;

	world.fd = bench_file(folder, all);
	world.bytes = bench_map(world.fd, all);
	lease = add(&world, 0);
	flush(lease);
	keeper = find_keeper(world.fd);
	before = look(keeper);
	clock_gettime(CLOCK_MONOTONIC, &since);
	for (unsigned int i = 1; i <= regions; i++)
		add(&world, i);
	staging = seconds(&since);
	flush(lease);
	after = look(keeper);
	is_met = told(&world, regions, &before, &after);
	clock_gettime(CLOCK_MONOTONIC, &since);
	for (unsigned int i = 1; i <= regions; i++)
		bench_unstage(lease, i * world.stride, world.length);
	printf("# %.2f s to stage them, %.2f s to flush each and map the "
	       "file back\n",
	       staging, seconds(&since));
	fflush(stdout);
	return is_met;
}

static int measure_in_child(const char *keeper_path, unsigned int regions,
			    size_t kib)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(!measure(keeper_path, regions, kib));
	return waitpid(pid, &status, 0) == pid ? status : 1;
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc < 2) {
		fprintf(stderr, "usage: memory KEEPER [FOLDER [REGIONS "
				"[KIB]]]\n");
		return 2;
	}
	if (argc > 2)
		folder = argv[2];
	/* A descriptor each, here and in the keeper. */
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (argc > 3)
		return !!measure_in_child(argv[1], (unsigned int)atoi(argv[3]),
					  argc > 4 ? strtoul(argv[4], NULL, 0)
						   : 64);
	return measure_in_child(argv[1], 1000, 64) |
			       measure_in_child(argv[1], 100, 1024) |
			       measure_in_child(argv[1], 4, 65536)
		       ? 1
		       : 0;
}
