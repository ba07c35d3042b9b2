/* SPDX-License-Identifier: BSD-2-Clause */
/* What walks over mappings leave out: skipped.h. */
#include <stdbool.h>
#include <string.h>

#include "skipped.h"
#include "heap.h"

/* The first that ends behind `at`. */
static unsigned int find(const struct skipped *skipped, uintptr_t at)
{
	unsigned int low = 0, high = skipped->count;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (skipped->ranges[middle].end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool insert(struct skipped *skipped, unsigned int i, uintptr_t start,
		   uintptr_t end)
{
	struct skipped_range *bigger = skipped->ranges;

	if (skipped->count == skipped->room) {
		unsigned int room = 2 * skipped->room + 8;

		bigger = heap_more(bigger, room, sizeof(*bigger));
		if (!bigger)
			return false;
		skipped->ranges = bigger;
		skipped->room = room;
	}
	memmove(&bigger[i + 1], &bigger[i],
		(skipped->count++ - i) * sizeof(*bigger));
	bigger[i] = (struct skipped_range){start, end};
	return true;
}

static void take_out(struct skipped *skipped, unsigned int i)
{
	struct skipped_range *ranges = skipped->ranges;

	memmove(&ranges[i], &ranges[i + 1],
		(--skipped->count - i) * sizeof(*ranges));
}

void skipped_add(struct skipped *skipped, uintptr_t start, uintptr_t end)
{
	struct skipped_range *ranges = skipped->ranges;
	unsigned int i = find(skipped, start);
	bool is_behind = i && ranges[i - 1].end == start;
	bool is_before = i < skipped->count && ranges[i].start == end;

	if (is_behind && is_before) {
		ranges[i - 1].end = ranges[i].end;
		take_out(skipped, i);
	} else if (is_behind) {
		ranges[i - 1].end = end;
	} else if (is_before) {
		ranges[i].start = start;
	} else {
		insert(skipped, i, start, end);
	}
}

void skipped_remove(struct skipped *skipped, uintptr_t start, uintptr_t end)
{
	unsigned int i = find(skipped, start);
	struct skipped_range *range;
	uintptr_t rest;

	if (i == skipped->count || skipped->ranges[i].start >= end)
		return;
	range = &skipped->ranges[i];
	rest = range->end;
	if (range->start < start) {
		range->end = start;
		if (rest > end)
			insert(skipped, i + 1, end, rest);
	} else if (rest > end) {
		range->start = end;
	} else {
		take_out(skipped, i);
	}
}

void skipped_free(struct skipped *skipped)
{
	heap_put(skipped->ranges);
	*skipped = (struct skipped){0};
}

uintptr_t skipped_next(const struct skipped *skipped, uintptr_t at)
{
	unsigned int i = find(skipped, at);

	return i < skipped->count && skipped->ranges[i].start <= at
		       ? skipped->ranges[i].end
		       : at;
}
