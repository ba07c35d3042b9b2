/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that sleep at futexes of a shadow, before and after a swap.
 *
 * Who inherits a priority there is found before anything is flushed; again
 * while all is held still (swap_sleepers.h), for who comes meanwhile.
 *
 * Threads that were just going to sleep at a futex of the file when a shadow
 * took its place, and lost the processor until it was full: they sleep where
 * nobody looks for them. Looked for a few times after a swap (swap_sleepers.h
 * has the others). On the way back there is no such look: the shadow's memory
 * would have to be kept for it.
 */
#include <errno.h>

#include "clock.h"
#include "shadow_places.h"
#include "shadows.h"
#include "sleepers.h"
#include "staged_parts.h"
#include "swap_sleepers.h"

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

/* False: it sleeps in no shadow. */
static bool shadow_of(const struct sleeper *sleeper, struct mapping *ret)
{
	return shadow_places_have(sleeper->addr, sleeper->addr + 1) &&
	       !mapping_at(sleeper->addr, ret, NULL) && ret->is_shared;
}

static int refuse_pi_in(const struct sleeper *sleeper, void *arg)
{
	const struct staged *staged = arg;
	struct mapping mapping;

	return sleeper->is_pi && shadow_of(sleeper, &mapping) &&
			       mapping.dev == staged->shadow_dev &&
			       mapping.ino == staged->shadow_ino
		       ? swap_sleepers_refuse(sleeper)
		       : 0;
}

int staged_check_sleepers(const struct staged *staged)
{
	int r = sleepers_each(SLEEPERS_FREE, refuse_pi_in, (void *)staged);

	return r == -EOPNOTSUPP ? r : 0;
}

static int wake_in_file(const struct sleeper *sleeper, void *arg)
{
	const struct lease_table *table = arg;
	const struct staged *staged;
	struct mapping mapping;

	if (!shadow_of(sleeper, &mapping))
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
		sleepers_each(SLEEPERS_FREE, wake_in_file, table);
		if (!--table->sleepers_looks)
			return -1;
		table->sleepers_pause_ns *= GROWTH;
		table->sleepers_ns = at_ns + table->sleepers_pause_ns;
	}
	return (int)((table->sleepers_ns - at_ns + 999999) / 1000000);
}
