/* SPDX-License-Identifier: BSD-2-Clause */
/* What shows a part of a file: views.h. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "reason.h"
#include "self_maps.h"
#include "views.h"

struct views {
	struct views_of of;
	struct swap_view *list;
	unsigned int count;
	unsigned int room;
};

static bool shows_part(const struct views *views, const struct mapping *mapping)
{
	return mapping->dev == views->of.dev && mapping->ino == views->of.ino &&
	       mapping->is_shared && mapping->offset < views->of.end &&
	       mapping->offset + (mapping->end - mapping->start) >
		       views->of.offset &&
	       mapping->start != (uintptr_t)views->of.own;
}

static int add_view(struct views *views, const struct mapping_state *state)
{
	struct swap_view *bigger = views->list;

	if (views->count == views->room) {
		views->room = 2 * views->room + 4;
		bigger = heap_more(views->list, views->room, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		views->list = bigger;
	}
	memset(&bigger[views->count], 0, sizeof(*bigger));
	bigger[views->count++].state = *state;
	return 0;
}

/* Of a walk over all that is mapped, which -errno does not end. */
static int look_at_map(const struct self_map *map, void *arg)
{
	struct mapping_state state = {
		.mapping =
			{
				.start = map->start,
				.end = map->end,
				.offset = map->offset,
				.dev = map->dev,
				.ino = map->ino,
				.protection = map->protection,
				.is_shared = map->is_shared,
			},
	};

	if (!shows_part(arg, &state.mapping))
		return 0;
	return add_view(arg, &state) ? ENOMEM : 0;
}

static bool is_as_seen(const struct mapping *a, const struct mapping *b)
{
	return a->start == b->start && a->end == b->end &&
	       a->offset == b->offset && a->dev == b->dev && a->ino == b->ino &&
	       a->is_shared == b->is_shared;
}

/* What mapping_state_at() does not show. No store is held up by the look. */
static bool is_free_of_traps(const struct views *views,
			     const struct mapping *mapping)
{
	return !views->of.may_be_trapped ||
	       (views->of.is_alone &&
		trap_is_free(mapping->start, mapping->end - mapping->start));
}

/*
 * What smaps says of those few. False: it is to be read whole, which takes
 * thousands of times as long where thousands of regions are mapped.
 */
static bool find_views_alone(struct views *views)
{
	struct mapping_state state;
	int r = self_maps_each_shared(views->of.skipped, look_at_map, views);

	for (unsigned int i = 0; !r && i < views->count; i++) {
		r = mapping_state_at(views->list[i].state.mapping.start,
				     &state);
		if (!r &&
		    !is_as_seen(&state.mapping, &views->list[i].state.mapping))
			r = -EAGAIN;
		if (!r && !is_free_of_traps(views, &state.mapping))
			r = -EAGAIN;
		if (!r)
			views->list[i].state = state;
	}
	return !r;
}

static int find_views_among_all(struct views *views)
{
	struct mapping_state *states;
	size_t count;
	int r = mapping_all(views->of.dev, views->of.ino, &states, &count);

	if (r)
		return mapping_refuse(r);
	views->count = 0;
	for (size_t i = 0; !r && i < count; i++)
		if (shows_part(views, &states[i].mapping))
			r = add_view(views, &states[i]);
	heap_put(states);
	return r ? reason_set(r, "no memory for the mappings' list") : 0;
}

/* As far as they lie in the part. */
static void cut_views(struct views *views)
{
	for (unsigned int i = 0; i < views->count; i++) {
		struct mapping *mapping = &views->list[i].state.mapping;
		uint64_t stop = mapping->offset + mapping->end - mapping->start;

		if (mapping->offset < views->of.offset) {
			mapping->start += views->of.offset - mapping->offset;
			mapping->offset = views->of.offset;
		}
		if (stop > views->of.end)
			mapping->end -= stop - views->of.end;
	}
}

int views_find(const struct views_of *of, struct swap_view **ret,
	       unsigned int *ret_count)
{
	struct views views = {.of = *of};
	int r = 0;

	/* mapping_state_at() moves a page: we would wait for ourselves. */
	if (of->is_frozen || !find_views_alone(&views))
		r = find_views_among_all(&views);

	if (r) {
		heap_put(views.list);
		return r;
	}
	cut_views(&views);
	*ret = views.list;
	*ret_count = views.count;
	return 0;
}
