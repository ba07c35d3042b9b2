/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A region that is asked for as pinned: what is written into it is in the file
 * after another process has cut that off and let it grow again, whose pages
 * then are others.
 *
 *     pinned_asked FILE [MIB]
 *
 * Of MIB (1), and a multiple of the file's pages. A second region is of some
 * pages of 4 KiB around its middle, where it is cut off.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxmr.h"
#include "ends.h"

#define PAGE   4096UL
#define MIDDLE (2 * PAGE + 100)

static size_t size = 1UL << 20, half; /* of the file */

static struct end here, there;
static unsigned char *file, *memory;
static struct ibv_mr *memory_mr;

/* By a read of the region's side, which nobody's key is needed for. */
static enum ibv_wc_status fetch(const struct daxmr_region *region,
				size_t offset, size_t length)
{
	struct daxmr_info info = {.size = sizeof(info)};

	if (daxmr_region_info(region, &info))
		die("daxmr_region_info failed");
	return end_rdma(&here, IBV_WR_RDMA_READ, info.mr, file + offset,
			(uint32_t)length, (uintptr_t)memory + offset,
			memory_mr->rkey);
}

/* A mapping shows the file's pages, whatever they are by now. */
static void check(size_t offset, size_t length, uint32_t round)
{
	if (memcmp(file + offset, memory + offset, length))
		die("round %u: what came into the region at %zu is not in the "
		    "file",
		    round, offset);
}

/* Its post waits until the file is back and as long as it was, or comes before
 * it has grown again and fails. */
static void fetch_back(const struct daxmr_region *region, size_t offset,
		       size_t length, uint32_t round)
{
	double deadline = now() + 60;
	enum ibv_wc_status status;

	while ((status = fetch(region, offset, length)) != IBV_WC_SUCCESS) {
		if (now() > deadline)
			die("round %u, at %zu: %s", round, offset,
			    ibv_wc_status_str(status));
		ends_connect(&here, &there);
		usleep(10000);
	}
}

static struct daxmr_region *ask_for(size_t offset, size_t length)
{
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
	};
	struct daxmr_region *region;

	if (daxmr_reg_mr(here.pd, file + offset, length, IBV_ACCESS_LOCAL_WRITE,
			 &options, &region))
		die("daxmr_reg_mr: %s", daxmr_errormsg());
	return region;
}

/* By another process. */
static void resize(const char *path, size_t to)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(truncate(path, (off_t)to) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("truncate by another process failed");
}

/* What is left of the region in the middle is reached, and what is not is not.
 */
static void cut(const char *path, const struct daxmr_region *middle,
		uint32_t round)
{
	resize(path, half);
	fetch_back(middle, half - PAGE, PAGE, round);
	if (fetch(middle, half - PAGE, MIDDLE) == IBV_WC_SUCCESS)
		die("round %u: what was cut off is reached", round);
	ends_connect(&here, &there);
	resize(path, size);
}

int main(int argc, char **argv)
{
	struct daxmr_region *region, *middle;
	int fd;

	if (argc < 2 || argc > 3)
		die("usage: pinned_asked FILE [MIB]");
	if (argc == 3)
		size = strtoul(argv[2], NULL, 10) << 20;
	half = size / 2;
	end_open(&here);
	end_open(&there);
	ends_connect(&here, &there);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("no memory");
	memory_mr = end_register(&there, memory, size, REMOTE_ALL);
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		die("%s: %m", argv[1]);
	file = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		die("mmap: %m");
	close(fd); /* the mapping has to be made anew, then */
	region = ask_for(0, size);
	middle = ask_for(half - PAGE, MIDDLE);
	for (uint32_t round = 0; round < 3; round++) {
		fill_pattern(memory, size, 0, round);
		if (round)
			cut(argv[1], middle, round);
		fetch_back(region, half, half, round);
		if (fetch(region, 0, half) != IBV_WC_SUCCESS)
			die("round %u: the first half failed", round);
		check(half, half, round);
		check(0, half, round);
		memset(memory + half - PAGE, (int)round + 1, MIDDLE);
		fetch_back(middle, half - PAGE, MIDDLE, round);
		check(half - PAGE, MIDDLE, round);
	}
	if (daxmr_dereg_mr(middle) || daxmr_dereg_mr(region))
		die("daxmr_dereg_mr: %s", daxmr_errormsg());
	puts("what came into the region is in the file");
	return 0;
}
