/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A region that is asked for as pinned: what is written into it is in the file
 * after another process has cut that off and let it grow again, whose pages
 * then are others.
 *
 *     pinned_asked FILE
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxmr.h"
#include "ends.h"

#define SIZE (1UL << 20)
#define HALF (SIZE / 2)

static struct end here, there;
static unsigned char *file, *memory;
static struct ibv_mr *memory_mr;

/* By a read of the region's side, which nobody's key is needed for. */
static enum ibv_wc_status fetch(const struct daxmr_region *region,
				size_t offset)
{
	struct daxmr_info info = {.size = sizeof(info)};

	if (daxmr_region_info(region, &info))
		die("daxmr_region_info failed");
	return end_rdma(&here, IBV_WR_RDMA_READ, info.mr, file + offset, HALF,
			(uintptr_t)memory + offset, memory_mr->rkey);
}

static void check(int fd, size_t offset, uint32_t round)
{
	static unsigned char seen[HALF];

	if (pread(fd, seen, HALF, (off_t)offset) != (ssize_t)HALF)
		die("the file cannot be read at %zu: %m", offset);
	if (memcmp(seen, memory + offset, HALF))
		die("round %u: what came into the region at %zu is not in the "
		    "file",
		    round, offset);
}

static void change(const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(truncate(path, HALF) || truncate(path, SIZE) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("truncate by another process failed");
}

int main(int argc, char **argv)
{
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
	};
	struct daxmr_region *region;
	enum ibv_wc_status status;
	double deadline;
	int fd;

	if (argc != 2)
		die("usage: pinned_asked FILE");
	end_open(&here);
	end_open(&there);
	ends_connect(&here, &there);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("no memory");
	memory_mr = end_register(&there, memory, SIZE, REMOTE_ALL);
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, SIZE))
		die("%s: %m", argv[1]);
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		die("mmap: %m");
	if (daxmr_reg_mr(here.pd, file, SIZE, IBV_ACCESS_LOCAL_WRITE, &options,
			 &region))
		die("daxmr_reg_mr: %s", daxmr_errormsg());
	for (uint32_t round = 0; round < 3; round++) {
		fill_pattern(memory, SIZE, 0, round);
		if (round)
			change(argv[1]);
		/* its post waits until the file is back and as long as it was,
		 * or comes before it has grown again and fails */
		deadline = now() + 60;
		while ((status = fetch(region, HALF)) != IBV_WC_SUCCESS) {
			if (now() > deadline)
				die("round %u: %s", round,
				    ibv_wc_status_str(status));
			ends_connect(&here, &there);
			usleep(10000);
		}
		if (fetch(region, 0) != IBV_WC_SUCCESS)
			die("round %u: the first half failed", round);
		check(fd, HALF, round);
		check(fd, 0, round);
	}
	if (daxmr_dereg_mr(region))
		die("daxmr_dereg_mr: %s", daxmr_errormsg());
	puts("what came into the region is in the file");
	return 0;
}
