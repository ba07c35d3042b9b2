/* SPDX-License-Identifier: BSD-2-Clause */
/* What the program wants left out of core dumps: undumped.h. */

#include "undumped.h"
#include "heap.h"

struct undumped {
	struct undumped *next;
	uintptr_t start;
	uintptr_t end;
};

static void insert(struct undumped **at, uintptr_t start, uintptr_t end)
{
	struct undumped *range = heap_get(1, sizeof(*range));

	if (!range)
		return;
	*range = (struct undumped){*at, start, end};
	*at = range;
}

static void cut_out(struct undumped **at, uintptr_t start, uintptr_t end)
{
	while (*at && (*at)->start < end) {
		struct undumped *range = *at;

		if (range->end <= start) {
			at = &range->next;
		} else if (range->start < start) {
			if (range->end > end)
				insert(&range->next, end, range->end);
			range->end = start;
			at = &range->next;
		} else if (range->end > end) {
			range->start = end;
		} else {
			*at = range->next;
			heap_put(range);
		}
	}
}

void undumped_set(struct undumped **ranges, uintptr_t start, uintptr_t end,
		  bool is_undumped)
{
	cut_out(ranges, start, end);
	if (!is_undumped)
		return;
	while (*ranges && (*ranges)->start < start)
		ranges = &(*ranges)->next;
	insert(ranges, start, end);
}

bool undumped_at(const struct undumped *ranges, uintptr_t at, uintptr_t end,
		 uintptr_t *ret_end)
{
	while (ranges && ranges->end <= at)
		ranges = ranges->next;
	*ret_end = end;
	if (!ranges || ranges->start >= end)
		return false;
	if (ranges->start > at) {
		*ret_end = ranges->start;
		return false;
	}
	if (ranges->end < end)
		*ret_end = ranges->end;
	return true;
}

void undumped_move(struct undumped **ranges, uintptr_t from, uintptr_t to,
		   uintptr_t length)
{
	uintptr_t done = 0, next;

	undumped_set(ranges, to, to + length, false);
	for (; done < length; done = next - from)
		if (undumped_at(*ranges, from + done, from + length, &next))
			undumped_set(ranges, to + done, to + (next - from),
				     true);
	undumped_set(ranges, from, from + length, false);
}

unsigned int undumped_count(const struct undumped *ranges)
{
	unsigned int count = 0;

	for (; ranges; ranges = ranges->next)
		count++;
	return count;
}
