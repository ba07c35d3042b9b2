/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that were just going to sleep at a futex of the file when a shadow
 * took its place, and lost the processor until it was full: they sleep where
 * nobody looks for them. Looked for a few times after a swap (swap_sleepers.h
 * has the others). On the way back there is no such look: the shadow's memory
 * would have to be kept for it.
 */
#include "clock.h"
#include "shadows.h"
#include "sleepers.h"
#include "staged_parts.h"

/* After 10 ms, 100 ms and a second. */
#define LOOKS	 3
#define FIRST_NS 10000000LL
#define GROWTH	 10

void staged_expect_sleepers(struct lease_table *table)
{
	table->sleepers_pause_ns = FIRST_NS;
	table->sleepers_ns = clock_now_ns() + FIRST_NS;
	table->sleepers_looks = LOOKS;
}

static int wake_in_file(const struct sleeper *sleeper, void *arg)
{
	const struct lease_table *table = arg;
	const struct staged *staged;
	struct mapping mapping;

	if (mapping_at(sleeper->addr, &mapping, NULL) || !mapping.is_shared)
		return 0;
	staged = shadows_find(table, mapping.dev, mapping.ino);
	if (staged && staged->lease->fd >= 0)
		sleepers_wake(staged->lease->fd,
			      staged->offset + mapping.offset +
				      (sleeper->addr - mapping.start));
	return 0;
}

int staged_wake_late(struct lease_table *table)
{
	int64_t at_ns;

	if (!table->sleepers_looks)
		return -1;
	at_ns = clock_now_ns();
	if (at_ns >= table->sleepers_ns) {
		sleepers_each(wake_in_file, table);
		if (!--table->sleepers_looks)
			return -1;
		table->sleepers_pause_ns *= GROWTH;
		table->sleepers_ns = at_ns + table->sleepers_pause_ns;
	}
	return (int)((table->sleepers_ns - at_ns + 999999) / 1000000);
}
