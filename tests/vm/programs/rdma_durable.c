/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_durable FILE DEVICE WAY...
 * rdma_durable check FILE NUMBER...
 *
 * Until the power is cut a peer and a thread of the program count in FILE
 * without pause (counters.h), half of which is a hole before. Again and again
 * what was acknowledged is made durable, in each WAY in turn: by msync(),
 * fsync(), fdatasync(), pmem_persist(), the function that libpmem2 hands out
 * for that, by deregistering, and by waiting until it is in the file unasked.
 * Or, in the way of "copy", the program counts by libpmem2's memcpy instead of
 * by its thread: what that copies is durable, and nothing else. It has to be on
 * DEVICE at once. A line on stdout then says how, and all numbers that are
 * durable from now on, and one before how long the call took:
 *
 *   took WAY MILLISECONDS
 *   durable WAY NUMBER... .
 *
 * and another, a few times a second, how far the counting is:
 *
 *   counted MILLISECONDS SUM
 *
 * After the cut the second form has the NUMBERs of the last line of the first
 * kind. It says the sum of what is in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <libpmem2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "counters.h"
#include "raw_file.h"

#define WAIT_SECONDS 30
#define SOME	     100
#define MOST	     1000000 /* nobody comes that far */

static struct counters counters;
static struct counters_marks marks; /* of the last line */
static struct end server, peer;
static struct ibv_mr *mr;
static struct raw_file raw;
static unsigned char *file, *bytes;
static const char *path;
static pthread_t writer, storer;
static atomic_int stop_writer, stop_storer;
static struct pmem2_map *map; /* another mapping of it */
static int fd;

static void pause_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

static void *count_by_stores(void *arg)
{
	counters_store(&counters, file, &stop_storer);
	return arg;
}

static void *count_by_writes(void *arg)
{
	counters_write(&counters, &peer, (uintptr_t)file, mr->rkey,
		       &stop_writer);
	return arg;
}

static uint64_t sum_of(const uint64_t *numbers)
{
	uint64_t sum = 0;

	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		sum += numbers[slot];
	return sum;
}

static void *say_how_far(void *arg)
{
	struct counters_marks till_now;

	for (;;) {
		counters_mark_done(&counters, &till_now);
		printf("counted %.0f %lu\n", now() * 1e3,
		       (unsigned long)sum_of(till_now.least));
		pause_ms(50);
	}
	return arg;
}

static void start_thread(pthread_t *thread, void *(*fn)(void *))
{
	if (pthread_create(thread, NULL, fn, NULL))
		die("no thread");
}

static void start_writer(void)
{
	mr = end_register(&server, file, COUNTERS_SIZE, REMOTE_ALL);
	ends_connect(&server, &peer);
	atomic_store(&stop_writer, 0);
	start_thread(&writer, count_by_writes);
}

static void start_storer(void)
{
	atomic_store(&stop_storer, 0);
	start_thread(&storer, count_by_stores);
}

static void map_by_libpmem2(void)
{
	struct pmem2_config *config;
	struct pmem2_source *source;

	if (pmem2_config_new(&config) || pmem2_source_from_fd(&source, fd) ||
	    pmem2_config_set_required_store_granularity(
		    config, PMEM2_GRANULARITY_PAGE) ||
	    pmem2_map_new(&map, config, source))
		die("libpmem2: %s", pmem2_errormsg());
	pmem2_source_delete(&source);
	pmem2_config_delete(&config);
}

static void wait_for_more(void)
{
	uint64_t writes = atomic_load(&counters.writes) + SOME;
	uint64_t stores = atomic_load(&counters.stores) + SOME;
	double deadline = now() + WAIT_SECONDS;

	while (atomic_load(&counters.writes) < writes ||
	       atomic_load(&counters.stores) < stores) {
		if (now() > deadline)
			die("nothing is counted any more");
		pause_ms(1);
	}
}

static int by_msync(void)
{
	return msync(file, COUNTERS_SIZE, MS_SYNC);
}

static int by_fsync(void)
{
	return fsync(fd);
}

static int by_fdatasync(void)
{
	return fdatasync(fd);
}

static int by_persist(void)
{
	pmem_persist(file, COUNTERS_SIZE);
	return 0;
}

static int by_libpmem2(void)
{
	pmem2_get_persist_fn(map)(pmem2_map_get_address(map), COUNTERS_SIZE);
	return 0;
}

static void copy(void *to, const void *from, size_t length)
{
	pmem2_get_memcpy_fn(map)(to, from, length, 0);
}

static int by_copying(void)
{
	atomic_store(&stop_storer, 1);
	pthread_join(storer, NULL);
	counters_copy(&counters, pmem2_map_get_address(map), copy, &marks);
	start_storer();
	return 0;
}

static int unasked(void)
{
	double deadline = now() + WAIT_SECONDS;

	do {
		if (now() > deadline)
			die("nothing is written back unasked");
		pause_ms(5);
		raw_file_read(&raw, bytes);
	} while (!counters_has_least(bytes, &marks));
	return 0;
}

static int by_deregistering(void)
{
	return ibv_dereg_mr(mr);
}

static const struct way {
	const char *name;
	int (*make_durable)(void);
} ways[] = {
	{"msync", by_msync},	     {"fsync", by_fsync},
	{"persist", by_persist},     {"unasked", unasked},
	{"dereg", by_deregistering}, {"fdatasync", by_fdatasync},
	{"persist2", by_libpmem2},   {"copy", by_copying},
};

static void make_durable(const struct way *way)
{
	bool goes = way->make_durable == by_deregistering;
	double begun;

	wait_for_more();
	if (goes) {
		atomic_store(&stop_writer, 1);
		pthread_join(writer, NULL);
	}
	if (way->make_durable != by_copying)
		counters_mark_done(&counters, &marks);
	begun = now();
	if (way->make_durable())
		die("%s: %s", way->name, strerror(errno));
	printf("took %s %.0f\n", way->name, (now() - begun) * 1e3);
	raw_file_read(&raw, bytes);
	if (!counters_has_least(bytes, &marks))
		die("%s returned before all was in the file", way->name);
	flockfile(stdout);
	printf("durable %s", way->name);
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		printf(" %lu", (unsigned long)marks.least[slot]);
	printf(" .\n");
	funlockfile(stdout);
	if (goes)
		start_writer();
}

static const struct way *find_way(const char *name)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	die("rdma_durable does not know '%s'", name);
}

static void count(const char *device, char **names)
{
	pthread_t thread;

	counters_make(path);
	sync();
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	file = map_file(path, COUNTERS_SIZE);
	map_by_libpmem2();
	start_storer();
	end_open(&server);
	end_open(&peer);
	start_writer();
	raw_file_open(&raw, path, device, COUNTERS_SIZE);
	start_thread(&thread, say_how_far);
	for (;;)
		for (char **name = names; *name; name++)
			make_durable(find_way(*name));
}

static void check(char **numbers)
{
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++) {
		marks.least[slot] = strtoul(numbers[slot], NULL, 10);
		marks.most[slot] = MOST;
	}
	counters_read(path, bytes);
	if (!counters_check(bytes, &marks)) {
		fflush(stdout);
		die("the file has not what was durable");
	}
	counters_take(&counters, bytes);
	counters_mark_done(&counters, &marks);
	printf("in the file %lu\n", (unsigned long)sum_of(marks.least));
}

int main(int argc, char **argv)
{
	bytes = aligned_alloc(4096, COUNTERS_SIZE);
	if (!bytes)
		die("no memory");
	setlinebuf(stdout);
	if (argc == 3 + (int)COUNTERS_SLOTS && strcmp(argv[1], "check") == 0) {
		path = argv[2];
		check(argv + 3);
	} else if (argc > 3) {
		path = argv[1];
		count(argv[2], argv + 3);
	} else {
		die("usage: rdma_durable FILE DEVICE WAY..., "
		    "or check FILE NUMBER...");
	}
	return 0;
}
