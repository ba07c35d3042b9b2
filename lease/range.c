/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ranges of a leased file: range.h.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "lease_talk.h"
#include "range.h"
#include "reason.h"

static void attach(struct lease_table *table, struct lease *lease,
		   struct lease_range *range)
{
	struct keeper_extent extent = {
		.offset = range->offset,
		.length = range->end - range->offset,
		.shadow_fd = -1,
		.page.fd = -1,
	};

	attach_send(table, lease, &range->attached, &extent);
}

void range_attach(struct lease_table *table, struct lease *lease,
		  bool failed_only)
{
	for (struct lease_range *range = lease->ranges; range;
	     range = range->next)
		if (!failed_only || range->attached.error)
			attach(table, lease, range);
}

struct attached *range_attached(struct lease *lease, uint32_t extent)
{
	struct lease_range *range = lease->ranges;

	while (range && range->attached.extent != extent)
		range = range->next;
	return range ? &range->attached : NULL;
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
		keeper_detach(&table->keeper, lease->id, range->attached.extent,
			      0);
		*at = range->next;
		heap_put(range);
	}
}

int range_refuse(int error)
{
	if (error == -ECONNRESET)
		return reason_set_kind(
			REASON_KEEPER, -EBUSY,
			"the daxmr-keeper that was to write the "
			"range to the file died, and no other has "
			"the file yet: try again");
	return reason_set_kind(
		REASON_KEEPER, error,
		"daxmr-keeper, which is to write the range to the "
		"file, cannot have it (%s): it has the program's "
		"limits on memory and descriptors, raise those",
		strerrordesc_np(-error));
}

/* The keeper's answer is waited for. */
static int look_after(struct lease_table *table, struct lease *lease,
		      struct lease_range wanted)
{
	struct lease_range *range;
	int r;

	if (is_covered(lease, &wanted))
		return 0;
	range = heap_get(1, sizeof(*range));
	if (!range)
		return reason_set(-ENOMEM, "no memory for one range more");
	*range = wanted;
	range->attached.extent = ++lease->last_extent;
	range->next = lease->ranges;
	lease->ranges = range;
	talk_expect(table, lease, KEEPER_ATTACH);
	lease->awaited_extent = range->attached.extent;
	attach(table, lease, range);
	r = talk_wait_for_answer(table, lease);
	if (!r && lease->answer)
		r = range_refuse(lease->answer);
	if (!r) {
		drop_covered(table, lease);
		return 0;
	}
	keeper_detach(&table->keeper, lease->id, range->attached.extent, 0);
	lease->ranges = range->next;
	heap_put(range);
	return r;
}

static struct lease_region whole_pages(uint64_t offset, uint64_t length)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return (struct lease_region){
		.offset = offset & ~(page - 1),
		.end = (offset + length + page - 1) & ~(page - 1),
	};
}

static struct lease_region **find_region(struct lease *lease,
					 const struct lease_region *wanted)
{
	struct lease_region **at = &lease->regions;

	while (*at &&
	       ((*at)->offset != wanted->offset || (*at)->end != wanted->end))
		at = &(*at)->next;
	return at;
}

int range_add(struct lease_table *table, struct lease *lease, uint64_t offset,
	      uint64_t length)
{
	struct lease_region wanted = whole_pages(offset, length), *region, **at;
	struct lease_range range = {
		.offset = wanted.offset,
		.end = wanted.end,
	};
	int r;

	if (!length)
		return 0;
	region = *find_region(lease, &wanted);
	if (region) {
		region->refs++;
		return 0;
	}
	region = heap_get(1, sizeof(*region));
	if (!region)
		return reason_set(-ENOMEM, "no memory for one range more");
	r = look_after(table, lease, range);
	if (r) {
		heap_put(region);
		return r;
	}
	*region = wanted;
	region->refs = 1;
	at = &lease->regions;
	while (*at && (*at)->offset < region->offset)
		at = &(*at)->next;
	region->next = *at;
	*at = region;
	return 0;
}

/* From there on, before `end`: the first bytes that no region has. */
static bool find_gap(const struct lease *lease, uint64_t at, uint64_t end,
		     struct lease_range *ret)
{
	const struct lease_region *region = lease->regions;

	while (region && region->offset <= at) {
		if (region->end > at)
			at = region->end;
		region = region->next;
	}
	if (at >= end)
		return false;
	ret->offset = at;
	ret->end = region && region->offset < end ? region->offset : end;
	return true;
}

static void attach_as_new(struct lease_table *table, struct lease *lease,
			  struct lease_range *range)
{
	range->attached = (struct attached){.extent = ++lease->last_extent};
	attach(table, lease, range);
}

/*
 * Both sides of the gap are looked after before the whole is not: no answer is
 * waited for. Without memory it stays as it is.
 */
static void cut(struct lease_table *table, struct lease *lease,
		const struct lease_range *gap)
{
	struct lease_range **at = &lease->ranges, *range, *right = NULL;
	bool has_left, has_right;
	uint32_t whole;

	while ((*at)->offset > gap->offset || (*at)->end < gap->end)
		at = &(*at)->next;
	range = *at;
	whole = range->attached.extent;
	has_left = range->offset < gap->offset;
	has_right = range->end > gap->end;
	if (has_left && has_right) {
		right = heap_get(1, sizeof(*right));
		if (!right)
			return;
		*right = (struct lease_range){
			.next = range->next,
			.offset = gap->end,
			.end = range->end,
		};
		range->next = right;
		attach_as_new(table, lease, right);
	}
	if (has_left)
		range->end = gap->offset;
	else
		range->offset = gap->end;
	if (has_left || has_right)
		attach_as_new(table, lease, range);
	keeper_detach(&table->keeper, lease->id, whole, 0);
	if (has_left || has_right)
		return;
	*at = range->next;
	heap_put(range);
}

int range_remove(struct lease_table *table, struct lease *lease,
		 uint64_t offset, uint64_t length)
{
	struct lease_region wanted = whole_pages(offset, length), *region, **at;
	struct lease_range gap;

	if (!length)
		return 0;
	at = find_region(lease, &wanted);
	region = *at;
	if (!region)
		return reason_set(
			-EINVAL, "no lease was acquired for bytes %ju to %ju",
			(uintmax_t)offset, (uintmax_t)(offset + length));
	if (--region->refs)
		return 0;
	*at = region->next;
	heap_put(region);
	for (; find_gap(lease, wanted.offset, wanted.end, &gap);
	     wanted.offset = gap.end)
		cut(table, lease, &gap);
	return 0;
}

void range_free_all(struct lease *lease)
{
	while (lease->ranges) {
		struct lease_range *range = lease->ranges;

		lease->ranges = range->next;
		heap_put(range);
	}
	while (lease->regions) {
		struct lease_region *region = lease->regions;

		lease->regions = region->next;
		heap_put(region);
	}
}
