/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_overlaps FILE ROUNDS
 *
 * The first half of FILE is registered; a peer and a thread of the program
 * count in it without pause (counters.h). Meanwhile ranges that overlap it are
 * registered and deregistered, ROUNDS times: the same, a part, all of the file,
 * one that goes beyond it, of another mapping; and every few rounds the first
 * region itself is replaced by one of the others, so that the peer goes on with
 * a key of that. Not one completion may have an error, and every byte of the
 * mapping, and of the file in the end, must be what was written last.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "counters.h"

#define SIZE	     (2 * COUNTERS_SIZE)
#define PATTERN	     7U /* of the second half */
#define WAIT_SECONDS 30
#define SOME	     50U /* writes that are waited for */

static const struct overlap {
	size_t offset;
	size_t length;
	bool is_alias;
} overlaps[] = {
	{0, COUNTERS_SIZE, false},
	{4096 + 777, 100000, false},
	{0, SIZE, false},
	{COUNTERS_SIZE - 70001, 140002, false},
	{COUNTERS_SIZE / 2, COUNTERS_SIZE, true},
};

#define OVERLAPS (sizeof(overlaps) / sizeof(overlaps[0]))

static struct counters counters;
static struct end server, peer;
static unsigned char *file, *alias;
static struct ibv_mr *mr;
static pthread_t writer, storer;
static atomic_int stop_writer, stop_storer;

static void *count_by_writes(void *arg)
{
	counters_write(&counters, &peer, (uintptr_t)file, mr->rkey,
		       &stop_writer);
	return arg;
}

static void *count_by_stores(void *arg)
{
	counters_store(&counters, file, &stop_storer);
	return arg;
}

static void start_writer(void)
{
	ends_connect(&server, &peer);
	atomic_store(&stop_writer, 0);
	if (pthread_create(&writer, NULL, count_by_writes, NULL))
		die("no thread");
}

/* What was posted and not acknowledged: begun, done or not. */
static void stop(atomic_int *flag, pthread_t thread)
{
	atomic_store(flag, 1);
	pthread_join(thread, NULL);
}

static void wait_for_writes(const char *what)
{
	uint64_t till = atomic_load(&counters.writes) + SOME;
	double deadline = now() + WAIT_SECONDS;

	while (atomic_load(&counters.writes) < till) {
		if (now() > deadline)
			die("%s: no write is acknowledged any more", what);
		sched_yield();
	}
}

static struct ibv_mr *register_overlap(const struct overlap *overlap)
{
	unsigned char *from = overlap->is_alias ? alias : file;

	return end_register(&server, from + overlap->offset, overlap->length,
			    REMOTE_ALL);
}

static void deregister(struct ibv_mr *gone)
{
	int r = ibv_dereg_mr(gone);

	if (r)
		die("ibv_dereg_mr: %s", strerror(r));
}

/* The mapping's words never go back; and they are what the peer was told. */
static void check_mapping(const char *what)
{
	unsigned char *seen = malloc(COUNTERS_SIZE);
	struct counters_marks marks;

	if (!seen)
		die("no memory");
	counters_mark_done(&counters, &marks);
	memcpy(seen, file, COUNTERS_SIZE);
	counters_mark_begun(&counters, &marks);
	if (!counters_check(seen, &marks)) {
		fflush(stdout);
		die("%s: the mapping is wrong", what);
	}
	free(seen);
}

static void go_round(unsigned int round)
{
	const struct overlap *overlap = &overlaps[round % OVERLAPS];
	struct ibv_mr *other = register_overlap(overlap);
	char what[32];

	snprintf(what, sizeof(what), "round %u", round);
	wait_for_writes(what);
	check_mapping(what);
	/* The first region goes, and the peer goes on in the other. */
	if (!overlap->is_alias && overlap->offset == 0) {
		struct ibv_mr *first = mr;

		stop(&stop_writer, writer);
		mr = other;
		start_writer();
		wait_for_writes(what);
		deregister(first);
	} else {
		deregister(other);
	}
	wait_for_writes(what);
	check_mapping(what);
}

static void make_file(const char *path)
{
	counters_make(path);
	if (truncate(path, SIZE))
		die("%s: %s", path, strerror(errno));
	file = map_file(path, SIZE);
	alias = map_file(path, SIZE);
	fill_pattern(file + COUNTERS_SIZE, COUNTERS_SIZE, COUNTERS_SIZE,
		     PATTERN);
}

static void check_file(const char *path)
{
	unsigned char *bytes = malloc(SIZE), *want = malloc(COUNTERS_SIZE);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct counters_marks marks;

	if (!bytes || !want || fd < 0 || read(fd, bytes, SIZE) != (ssize_t)SIZE)
		die("%s cannot be read", path);
	close(fd);
	counters_mark_done(&counters, &marks);
	counters_mark_begun(&counters, &marks);
	if (!counters_check(bytes, &marks)) {
		fflush(stdout);
		die("the file is wrong");
	}
	fill_pattern(want, COUNTERS_SIZE, COUNTERS_SIZE, PATTERN);
	if (memcmp(bytes + COUNTERS_SIZE, want, COUNTERS_SIZE))
		die("the second half of the file has been changed");
	free(bytes);
	free(want);
}

int main(int argc, char **argv)
{
	unsigned int rounds;

	if (argc != 3)
		die("usage: rdma_overlaps FILE ROUNDS");
	rounds = (unsigned int)atoi(argv[2]);
	make_file(argv[1]);
	end_open(&server);
	end_open(&peer);
	mr = end_register(&server, file, COUNTERS_SIZE, REMOTE_ALL);
	start_writer();
	if (pthread_create(&storer, NULL, count_by_stores, NULL))
		die("no thread");
	for (unsigned int round = 0; round < rounds; round++)
		go_round(round);
	stop(&stop_writer, writer);
	stop(&stop_storer, storer);
	check_mapping("in the end");
	deregister(mr);
	munmap(file, SIZE);
	munmap(alias, SIZE);
	check_file(argv[1]);
	printf("%u rounds, %lu writes, %lu stores: all as it must be\n", rounds,
	       (unsigned long)atomic_load(&counters.writes),
	       (unsigned long)atomic_load(&counters.stores));
	return 0;
}
