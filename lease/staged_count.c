/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the keeper has done in shadows, for who shows it: staged.h. The keeper
 * counts in the extents' pages and tells nobody: no report is sent for a
 * write-back that went well.
 */
#include "clock.h"
#include "shadows.h"
#include "staged_parts.h"

/* Between two looks. */
#define LOOK_NS 1000000000LL

static void add(struct lease_flushed *to, const struct staged *staged)
{
	const struct extent_page *page = staged->extent.page;

	to->compared +=
		atomic_load_explicit(&page->compared, memory_order_relaxed);
	to->copied += atomic_load_explicit(&page->copied, memory_order_relaxed);
	to->failed += atomic_load_explicit(&page->failed, memory_order_relaxed);
}

void lease_flushed(const struct lease *lease, struct lease_flushed *ret)
{
	*ret = lease->flushed_gone;
	for (const struct staged *at = lease->staged; at; at = at->next)
		add(ret, at);
}

void staged_count_gone(struct lease *lease, const struct staged *staged)
{
	add(&lease->flushed_gone, staged);
}

int staged_look(struct lease_table *table)
{
	const struct lease_observer *observer = &table->config->observer;
	int64_t at_ns;

	if (!observer->looked || !atomic_load(&shadows_count))
		return -1;
	at_ns = clock_now_ns();
	if (at_ns >= table->look_ns) {
		for (uint32_t id = 0; id < table->ids_end; id++)
			if (table->by_id[id] && table->by_id[id]->staged)
				observer->looked(observer->arg,
						 table->by_id[id]);
		table->look_ns = at_ns + LOOK_NS;
	}
	/* No earlier than that. */
	return (int)((table->look_ns - at_ns + 999999) / 1000000);
}
