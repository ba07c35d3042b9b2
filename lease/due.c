/* SPDX-License-Identifier: BSD-2-Clause */
/* A heap of times: due.h. */
#include <errno.h>
#include <stdlib.h>

#include "due.h"

int due_reserve(struct due *due, size_t entries)
{
	size_t room = due->room ? due->room : 64;
	struct due_entry **bigger;

	while (room < entries + 1)
		room *= 2;
	if (room == due->room)
		return 0;
	bigger = reallocarray(due->heap, room, sizeof(struct due_entry *));
	if (!bigger)
		return -ENOMEM;
	due->heap = bigger;
	due->room = room;
	return 0;
}

static void put(struct due *due, size_t place, struct due_entry *entry)
{
	due->heap[place] = entry;
	entry->place = place;
}

static void rise(struct due *due, struct due_entry *entry)
{
	size_t place = entry->place;

	for (; place > 1 && due->heap[place / 2]->at_ns > entry->at_ns;
	     place /= 2)
		put(due, place, due->heap[place / 2]);
	put(due, place, entry);
}

static void sink(struct due *due, struct due_entry *entry)
{
	size_t place = entry->place, child;

	for (; (child = 2 * place) <= due->count; place = child) {
		if (child < due->count &&
		    due->heap[child + 1]->at_ns < due->heap[child]->at_ns)
			child++;
		if (due->heap[child]->at_ns >= entry->at_ns)
			break;
		put(due, place, due->heap[child]);
	}
	put(due, place, entry);
}

void due_set(struct due *due, struct due_entry *entry, int64_t at_ns)
{
	struct due_entry *last;

	entry->at_ns = at_ns;
	if (at_ns != DUE_NEVER) {
		if (!entry->place)
			put(due, ++due->count, entry);
		rise(due, entry);
		sink(due, entry);
	} else if (entry->place) {
		last = due->heap[due->count--];
		if (last != entry) {
			put(due, entry->place, last);
			rise(due, last);
			sink(due, last);
		}
		entry->place = 0;
	}
}

struct due_entry *due_first(const struct due *due)
{
	return due->count ? due->heap[1] : NULL;
}
