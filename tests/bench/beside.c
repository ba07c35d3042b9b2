/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A peer's messages that have to be durable in a file in persistent memory: how
 * long it takes in each way there is. The loop is the same for all: so many
 * messages come, together they are made durable, the next ones come. What
 * differs is the memory they come into, and what makes them durable.
 *
 *     beside WAY FILE MIB BYTES
 *
 * plain         the file is registered, as a program does that knows nothing of
 *               all this: for daxmr
 * bounce        messages come into ordinary memory, and are copied to the file
 * odp           the file is registered for paging on demand, by the program
 * odp-prefetch  and all of it is asked for at once
 * rpma          by librpma, which asks for paging on demand itself
 * rpma-prefetch and all of it is asked for at once
 *
 * FILE has MIB, and no holes. Messages of BYTES go over all of it in order,
 * PASSES times, never the same bytes in one place. On stdout, in one line:
 *
 *     REGISTERED  ms for the registration, and for the prefetch
 *     FIRST       ms for the first pass, over a mapping nobody has touched
 *     RATE        MB/s of the other passes
 *
 * Then what is in the file is held against what was sent, past all that may
 * stand before the file. Both ends are in this process: what is measured has no
 * waiting for another one to be scheduled in it.
 */
#include <libpmem.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "beside.h"
#include "ends.h"
#include "pairs.h"

#define PASSES 3
/* From pass to pass the same place gets what stands so much further. */
#define SHIFT	64
#define WAIT_MS 20000

static const struct way {
	const char *name;
	const struct transport *transport;
	bool is_copied, on_demand, prefetch;
} ways[] = {
	{"plain", &by_verbs, false, false, false},
	{"bounce", &by_verbs, true, false, false},
	{"odp", &by_verbs, false, true, false},
	{"odp-prefetch", &by_verbs, false, true, true},
	{"rpma", &by_rpma, false, true, false},
	{"rpma-prefetch", &by_rpma, false, true, true},
};

static const struct way *way;
static char *file, *source, *bounce;
static size_t length, message;

static const struct way *find_way(const char *name)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	die("beside does not know '%s'", name);
}

static char *memory(size_t bytes)
{
	char *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (addr == MAP_FAILED)
		die("%zu bytes: %s", bytes, strerror(errno));
	return addr;
}

static void map(const char *path)
{
	size_t mapped = 0;
	int is_pmem = 0;

	file = pmem_map_file(path, 0, 0, 0, &mapped, &is_pmem);
	if (!file)
		die("%s: %s", path, pmem_errormsg());
	if (mapped != length || !is_pmem)
		die("%s: %zu bytes, %s", path, mapped,
		    is_pmem ? "another size" : "no persistent memory");
}

/* There is nobody to be waited for but the device. */
static void wait_for_batch(void)
{
	double deadline = pairs_now_ms() + WAIT_MS;
	struct ibv_wc wc;

	while (!way->transport->poll(&wc)) {
		if (pairs_now_ms() > deadline)
			die("no completion in %d ms", WAIT_MS);
		sched_yield();
	}
	if (wc.status != IBV_WC_SUCCESS)
		die("a batch: %s", ibv_wc_status_str(wc.status));
}

static void pass(size_t number)
{
	size_t batch = BATCH * message;

	for (size_t at = 0; at < length; at += batch) {
		way->transport->post(number * SHIFT + at,
				     way->is_copied ? 0 : at, message);
		wait_for_batch();
		if (way->is_copied)
			pmem_memcpy_persist(file + at, bounce, batch);
		else
			pmem_persist(file + at, batch);
	}
}

static void check(const char *path, const char *expected)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	static char bytes[65536];

	for (size_t at = 0; at < length; at += sizeof(bytes)) {
		if (syscall(SYS_pread64, fd, bytes, sizeof(bytes), at) !=
		    (long)sizeof(bytes))
			die("%s at %zu: %s", path, at, strerror(errno));
		if (memcmp(bytes, expected + at, sizeof(bytes)) != 0)
			die("%s: what is at %zu was not sent", path, at);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	double start, registered, first, rest;

	if (argc != 5)
		die("usage: beside WAY FILE MIB BYTES");
	way = find_way(argv[1]);
	length = strtoul(argv[3], NULL, 10) << 20;
	message = strtoul(argv[4], NULL, 10);
	if (!length || !message || length % (BATCH * message))
		die("%s MiB are not so many times %d messages of %s bytes",
		    argv[3], BATCH, argv[4]);
	source = memory(length + PASSES * SHIFT);
	fill_pattern(source, length + PASSES * SHIFT, 0, 0);
	if (way->is_copied)
		bounce = memory(BATCH * message);
	map(argv[2]);
	way->transport->open(source, length + PASSES * SHIFT);

	start = pairs_now_ms();
	way->transport->reg(way->is_copied ? bounce : file,
			    way->is_copied ? BATCH * message : length,
			    way->on_demand, way->prefetch);
	registered = pairs_now_ms();
	pass(0);
	first = pairs_now_ms();
	for (size_t number = 1; number < PASSES; number++)
		pass(number);
	rest = pairs_now_ms() - first;
	check(argv[2], source + (PASSES - 1) * SHIFT);
	printf("%.3f %.3f %.3f\n", registered - start, first - registered,
	       (double)((PASSES - 1) * length) / 1e3 / rest);
	return 0;
}
