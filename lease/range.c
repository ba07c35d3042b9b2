/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ranges of a leased file: range.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lease_talk.h"
#include "range.h"
#include "reason.h"

static int attach(struct lease_table *table, const struct lease *lease,
		  const struct lease_range *range)
{
	struct keeper_extent extent = {
		.id = lease->id,
		.extent = range->extent,
		.offset = range->offset,
		.length = range->end - range->offset,
		.shadow_fd = -1,
		.page_fd = -1,
	};

	return keeper_attach(&table->keeper, &extent);
}

void range_attach_all(struct lease_table *table, const struct lease *lease)
{
	for (const struct lease_range *range = lease->ranges; range;
	     range = range->next)
		attach(table, lease, range);
}

void range_attached(struct lease *lease, uint32_t extent, int error)
{
	if (!lease->awaited_extent || lease->awaited_extent != extent)
		return;
	lease->awaited_extent = 0;
	lease->extent_error = error;
	lease->is_waiting = false;
}

/* Is one of them as large? Else it grows over all that it touches. */
static bool is_covered(const struct lease *lease, struct lease_range *wanted)
{
	for (const struct lease_range *range = lease->ranges; range;
	     range = range->next) {
		if (range->offset <= wanted->offset &&
		    range->end >= wanted->end)
			return true;
		if (range->end < wanted->offset || range->offset > wanted->end)
			continue;
		if (range->offset < wanted->offset)
			wanted->offset = range->offset;
		if (range->end > wanted->end)
			wanted->end = range->end;
	}
	return false;
}

/* Those that lie in the first one, which is the newest. */
static void drop_covered(struct lease_table *table, struct lease *lease)
{
	const struct lease_range *newest = lease->ranges;
	struct lease_range **at = &lease->ranges->next, *range;

	while ((range = *at)) {
		if (range->offset < newest->offset ||
		    range->end > newest->end) {
			at = &range->next;
			continue;
		}
		keeper_detach(&table->keeper, lease->id, range->extent);
		*at = range->next;
		free(range);
	}
}

int range_add(struct lease_table *table, struct lease *lease, uint64_t offset,
	      uint64_t length)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct lease_range wanted = {
		.offset = offset & ~(page - 1),
		.end = (offset + length + page - 1) & ~(page - 1),
	};
	struct lease_range *range;

	if (!length || is_covered(lease, &wanted))
		return 0;
	range = malloc(sizeof(*range));
	if (!range)
		return reason_set(-ENOMEM, "no memory for one range more");
	*range = wanted;
	range->extent = ++lease->last_extent;
	range->next = lease->ranges;
	lease->ranges = range;
	lease->awaited_extent = range->extent;
	lease->extent_error = 0;
	lease->is_waiting = true;
	attach(table, lease, range);
	talk_wait(table, lease);
	lease->awaited_extent = 0;
	if (!lease->extent_error) {
		drop_covered(table, lease);
		return 0;
	}
	lease->ranges = range->next;
	free(range);
	return reason_set(lease->extent_error,
			  "the keeper cannot look after the range: %s",
			  strerrordesc_np(-lease->extent_error));
}
