/* SPDX-License-Identifier: BSD-2-Clause */
/* Where shadows are mapped: shadow_places.h. */
#include <stdatomic.h>
#include <stddef.h>

#include "shadow_places.h"

/* Nothing where end is 0. The end is set last, and taken away first. */
static struct place {
	_Atomic uintptr_t start;
	_Atomic uintptr_t end;
} places[SHADOW_PLACES];

bool shadow_places_have(uintptr_t start, uintptr_t end)
{
	for (unsigned int i = 0; i < SHADOW_PLACES; i++) {
		/* they are filled from the first on */
		uintptr_t stop = atomic_load(&places[i].end);

		if (!stop)
			return false;
		if (start < stop && end > atomic_load(&places[i].start))
			return true;
	}
	return false;
}

/* How much it would have to grow by that is not asked for. */
static uintptr_t gap(const struct place *place, uintptr_t start, uintptr_t end)
{
	uintptr_t from = atomic_load(&place->start);
	uintptr_t stop = atomic_load(&place->end);

	return start > stop ? start - stop : from > end ? from - end : 0;
}

void shadow_places_add(uintptr_t start, uintptr_t end)
{
	struct place *best = NULL, *place = places;

	for (; place < places + SHADOW_PLACES && atomic_load(&place->end);
	     place++)
		if (!best || gap(place, start, end) < gap(best, start, end))
			best = place;
	if (place < places + SHADOW_PLACES &&
	    (!best || gap(best, start, end))) {
		atomic_store(&place->start, start);
		atomic_store(&place->end, end);
		return;
	}
	if (start < atomic_load(&best->start))
		atomic_store(&best->start, start);
	if (end > atomic_load(&best->end))
		atomic_store(&best->end, end);
}

void shadow_places_clear(void)
{
	for (unsigned int i = SHADOW_PLACES; i-- > 0;)
		atomic_store(&places[i].end, 0);
}
