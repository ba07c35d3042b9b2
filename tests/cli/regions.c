/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that says of itself that it has so many regions, the first pinned,
 * all others staged, each on a file of its own: for those who look. It needs no
 * device.
 *
 * usage: cli-regions COUNT
 *
 * Says "ready", then "done" to each line it is told, with N from 0 on:
 * "recall N", "flush N", "refuse N", "remove N",
 * "gate N": a gate of the region's device was closed. Ends with its standard
 * input.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "clock.h"
#include "lease_table.h"
#include "stats.h"

#define MOST 100
#define DEV  makedev(259, 0)

static struct lease *leases[MOST];
static uint64_t listed[MOST];

static void tell(struct lease *lease, enum recall_state from,
		 enum recall_state to, enum recall_cause cause)
{
	struct recall_report report = {
		.from = from,
		.to = to,
		.cause = cause,
		.at_ns = clock_now_ns(),
		.spent_ns = 1000000,
	};

	stats_lease_changed(lease, &report, 0);
}

/* The first is the smallest, of 1 MiB, and the last in memory. */
static int add(unsigned int i)
{
	struct stats_region region = {
		.is_there = 1,
		.addr = (uint64_t)(MOST - i) << 32,
		.length = (uint64_t)(i + 1) << 20,
		.since_ns = clock_now_ns(),
		.dev = DEV,
		.ino = i,
		.strategy = i ? STRATEGY_STAGED : STRATEGY_PINNED,
		.access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ,
		.device = "none0",
	};

	snprintf(region.name, sizeof(region.name), "/pmem/file-%u", i);
	leases[i] = calloc(1, sizeof(*leases[i]));
	if (!leases[i])
		return -1;
	leases[i]->dev = DEV;
	leases[i]->ino = i;
	tell(leases[i], RECALL_FREE, RECALL_HELD, RECALL_GRANTED);
	listed[i] = stats_region_add(&region);
	return 0;
}

static void recall(struct lease *lease)
{
	tell(lease, RECALL_HELD, RECALL_BREAKING, RECALL_BREAK_HEARD);
	tell(lease, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED);
	tell(lease, RECALL_YIELDED, RECALL_MERGING, RECALL_RETAKEN);
	tell(lease, RECALL_MERGING, RECALL_HELD, RECALL_MERGED);
}

static void flush(struct lease *lease)
{
	lease->flushed_gone.compared += 512;
	lease->flushed_gone.copied += 256;
	stats_lease_looked(lease);
}

static void refuse(unsigned int i)
{
	char why[64];

	snprintf(why, sizeof(why), "/pmem/file-%u is open", i);
	stats_refused(EBUSY, REASON_BUSY, why);
}

static void close_gate(unsigned int i)
{
	stats_device_count("none0", STATS_GATE_CLOSINGS, 1);
	stats_device_count("none0", STATS_GATE_NS, 2000000000);
	stats_device_count("none0", STATS_WAITS, 5);
	stats_device_count("none0", STATS_WAITED_NS, 3000000000);
	stats_device_count("none0", STATS_DRAINED, 7);
	stats_device_count("none0", STATS_DRAINED + GATE_LEFT_KIND, 2);
	stats_device_count("none0", STATS_SEVERED, 2);
	stats_device_count("none0", STATS_KEYS_CHANGED, 1);
	stats_region_pinned(listed[i], 2, 1);
}

static int obey(const char *line, unsigned int count)
{
	char word[16];
	unsigned int i;

	if (sscanf(line, "%15s %u", word, &i) != 2 || i >= count)
		return -1;
	if (strcmp(word, "recall") == 0)
		recall(leases[i]);
	else if (strcmp(word, "flush") == 0)
		flush(leases[i]);
	else if (strcmp(word, "refuse") == 0)
		refuse(i);
	else if (strcmp(word, "gate") == 0)
		close_gate(i);
	else if (strcmp(word, "remove") == 0)
		stats_region_remove(listed[i]);
	else
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	char line[64];

	if (count < 1 || count > MOST) {
		fputs("usage: cli-regions COUNT\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int i = 0; i < (unsigned int)count; i++)
		if (add(i))
			return 2;
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (obey(line, (unsigned int)count))
			return 2;
		puts("done");
	}
	return 0;
}
