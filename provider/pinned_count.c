/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others see of a pinned region's recalls (stats.h). It may be recalled
 * before it is listed: what it came to is kept, and said then.
 */
#include "pinned_parts.h"
#include "stats.h"

void pinned_count(struct pinned *pinned, uint64_t severed, uint64_t new_keys)
{
	struct pinned_locked locked;

	if (!severed && !new_keys)
		return;
	/* With the lock: of two that count the later has the last word. */
	pinned_lock_take(&locked);
	pinned->severed += severed;
	pinned->new_keys += new_keys;
	stats_region_pinned(pinned->listed, pinned->severed, pinned->new_keys);
	pinned_lock_give(&locked);
}

void pinned_list(struct pinned *pinned, uint64_t listed)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	pinned->listed = listed;
	if (pinned->severed || pinned->new_keys)
		stats_region_pinned(listed, pinned->severed, pinned->new_keys);
	pinned_lock_give(&locked);
}
