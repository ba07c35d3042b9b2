/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory KEEPER [FOLDER [REGIONS [KIB]]]
 *
 * What a region takes of memory beside its shadow, in the program and in the
 * keeper together: 1,000 of them of 64 KiB in one file, or 8 of 32 MiB. As
 * /proc has it: the proportional share of all mappings but those of the shadows
 * and of the file, after the keeper has flushed them all, less what that was
 * when there was one. What the kernel has for itself (tables of pages, which
 * the program's mapping had before as well; descriptors) is not in it; the
 * tables of pages are told.
 *
 * Fails where it is more than 1 KiB and 8 bytes for each block of 4 KiB.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_stage.h"
#include "openers.h"

#define BLOCK_GOAL  8
#define REGION_GOAL 1024

static const char *folder = ".";

struct taken {
	long pss_kib;
	long tables_kib;
};

/* Of the file, or of a shadow of it: that is what is not counted. */
static bool is_counted(const char *name)
{
	return !strstr(name, "daxmr-shadow") && !strstr(name, "/bench-");
}

static void add_process(pid_t pid, struct taken *taken)
{
	char path[64], line[4096];
	bool counts = false;
	FILE *file;
	long kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	if (!file)
		bench_die(path);
	while (fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			counts = is_counted(line);
		else if (counts && sscanf(line, "Pss: %ld", &kib) == 1)
			taken->pss_kib += kib;
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

/*
 * Between two regions there is a page that is in none; one is there before, and
 * what it takes once. They end with the process.
 */
static bool measure(const char *keeper_path, unsigned int regions, size_t kib)
{
	size_t length = kib << 10, stride = length + PAGE;
	size_t goal = REGION_GOAL + length / PAGE * BLOCK_GOAL;
	double each;
	struct lease_engine *engine = bench_start(keeper_path, folder);
	int fd = bench_file(folder, (regions + 1) * stride);
	uint8_t *bytes = bench_map(fd, (regions + 1) * stride);
	struct lease *lease = bench_stage(engine, fd, 0, length);
	pid_t keeper = find_keeper(fd);
	struct taken before = look(keeper), after;

	for (unsigned int i = 1; i <= regions; i++) {
		lease = bench_stage(engine, fd, i * stride, length);
		memset(bytes + i * stride, 2, length);
	}
	if (lease_flush(lease, 0, (regions + 1) * stride))
		bench_die("flush");
	after = look(keeper);
	each = (double)(after.pss_kib - before.pss_kib) * 1024 / regions;
	printf("%-7s memory of a region beside its shadow, %u of %zu KiB: "
	       "%.0f bytes, goal %zu, ratio %.2f (and %.0f bytes of page "
	       "tables)\n",
	       each <= (double)goal ? "met" : "not met", regions, kib, each,
	       goal, each / (double)goal,
	       (double)(after.tables_kib - before.tables_kib) * 1024 / regions);
	fflush(stdout);
	return each <= (double)goal;
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
	/* Two descriptors each, here and in the keeper. */
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (argc > 3)
		return !!measure_in_child(argv[1], (unsigned int)atoi(argv[3]),
					  argc > 4 ? strtoul(argv[4], NULL, 0)
						   : 64);
	return measure_in_child(argv[1], 1000, 64) |
			       measure_in_child(argv[1], 8, 32768)
		       ? 1
		       : 0;
}
