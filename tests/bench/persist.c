/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a commit is to be held against: so many MiB in blocks of 64 KiB, made
 * durable on this machine by libpmem2, 16 blocks at a time.
 *
 *     bench_persist FILE MIB
 */
#include <errno.h>
#include <fcntl.h>
#include <libpmem2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK  65536U
#define WINDOW (2U << 20)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct pmem2_map *map_file(int fd)
{
	struct pmem2_config *config = NULL;
	struct pmem2_source *source = NULL;
	struct pmem2_map *map = NULL;

	if (pmem2_config_new(&config) || pmem2_source_from_fd(&source, fd) ||
	    pmem2_config_set_required_store_granularity(
		    config, PMEM2_GRANULARITY_PAGE) ||
	    pmem2_map_new(&map, config, source))
		fprintf(stderr, "bench_persist: %s\n", pmem2_errormsg());
	pmem2_source_delete(&source);
	pmem2_config_delete(&config);
	return map;
}

int main(int argc, char **argv)
{
	static char block[BLOCK];
	unsigned long mib = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	int fd = mib ? open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	struct pmem2_map *map;
	double start;

	if (fd < 0 || posix_fallocate(fd, 0, WINDOW)) {
		fprintf(stderr, "usage: bench_persist FILE MIB\n");
		return 2;
	}
	map = map_file(fd);
	if (!map)
		return 1;
	memset(block, 'p', sizeof(block));
	start = now();
	for (size_t at = 0; at < mib << 20; at += BLOCK) {
		pmem2_get_memcpy_fn(map)((char *)pmem2_map_get_address(map) +
						 at % WINDOW,
					 block, BLOCK, PMEM2_F_MEM_NODRAIN);
		if (at / BLOCK % 16 == 15)
			pmem2_get_drain_fn(map)();
	}
	pmem2_get_drain_fn(map)();
	printf("libpmem2, on this machine: %.2f MB/s\n",
	       (double)(mib << 20) / 1e6 / (now() - start));
	pmem2_map_delete(&map);
	close(fd);
	return 0;
}
