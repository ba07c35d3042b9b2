/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadows in mappings that the program makes or moves: own_map.h, own_move.c.
 * All but the last functions run in the engine's thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lease_talk.h"
#include "mapping.h"
#include "own_map_parts.h"
#include "raw.h"
#include "recover.h"
#include "self_maps.h"
#include "shadow_places.h"
#include "staged_parts.h"
#include "undumped.h"

static bool is_private(const struct own_mapping *mapping)
{
	return (mapping->flags & MAP_TYPE) == MAP_PRIVATE;
}

/* The extent that has this byte; or the end of the gap that it lies in. */
static struct staged *find_extent(const struct lease *lease, uint64_t offset,
				  uint64_t *ret_end)
{
	struct staged *at = lease->staged;

	while (at && at->end <= offset)
		at = at->next;
	if (at && at->offset <= offset) {
		*ret_end = at->end;
		return at;
	}
	*ret_end = at ? at->offset : UINT64_MAX;
	return NULL;
}

/* Whatever lies there is replaced in one step. */
static int put_shared(struct lease_table *table, int fd, uint64_t offset,
		      bool is_shadow, const struct mapping_state *state)
{
	struct twin twin;
	int r;

	if (is_shadow)
		shadow_places_add(state->mapping.start, state->mapping.end);
	r = twin_make(is_shadow ? TWIN_OF_MEMFD : TWIN_OF_FILE, fd, offset,
		      state, &twin);

	if (r)
		return r;
	if (is_shadow &&
	    raw_madvise(twin.addr, state->mapping.end - state->mapping.start,
			MADV_DONTDUMP))
		r = -errno;
	if (!r)
		r = twin_move(&twin);
	if (r) {
		twin_drop(&twin);
		return r;
	}
	twin_lock(&twin);
	if (is_shadow)
		undumped_set(&table->undumped, state->mapping.start,
			     state->mapping.end, mapping_has(state, "dd"));
	return 0;
}

static int put_private(int fd, uint64_t offset,
		       const struct mapping_state *state)
{
	const struct mapping *mapping = &state->mapping;
	int flags = MAP_PRIVATE | MAP_FIXED |
		    (mapping_has(state, "nr") ? MAP_NORESERVE : 0) |
		    (mapping_has(state, "lo") ? MAP_LOCKED : 0);

	return syscall(SYS_mmap, mapping->start, mapping->end - mapping->start,
		       mapping->protection, flags, fd, offset) == -1
		       ? -errno
		       : 0;
}

int own_map_put(const struct lease *lease, const struct mapping_state *state)
{
	struct mapping_state part = *state;
	struct mapping *mapping = &part.mapping;
	uint64_t offset = state->mapping.offset, end;
	int r = 0;

	while (!r && mapping->start < state->mapping.end) {
		struct staged *staged = find_extent(lease, offset, &end);
		int fd = staged ? staged_open_view(staged) : lease->fd;

		if (fd < 0)
			return -EMFILE;
		mapping->end = state->mapping.end;
		if (mapping->end - mapping->start > end - offset)
			mapping->end = mapping->start + (end - offset);
		mapping->offset = staged ? offset - staged->offset : offset;
		if (staged)
			staged->is_sync |= mapping_has(state, "sf");
		r = mapping->is_shared
			    ? put_shared(lease->table, fd, mapping->offset,
					 staged, &part)
			    : put_private(fd, mapping->offset, &part);
		if (staged)
			staged_close_view(staged, fd);
		offset += mapping->end - mapping->start;
		mapping->start = mapping->end;
	}
	return r;
}

static struct mapping_state state_of(const struct own_mapping *mapping)
{
	uintptr_t start = (uintptr_t)mapping->addr;
	struct mapping_state state = {
		.mapping = {
			.start = start,
			.end = start + own_map_pages(mapping->length),
			.offset = mapping->offset,
			.dev = mapping->dev,
			.ino = mapping->ino,
			.protection = mapping->protection &
				      (PROT_READ | PROT_WRITE | PROT_EXEC),
			.is_shared = !is_private(mapping),
		}};

	if (mapping->flags & MAP_NORESERVE)
		strcat(state.flags, "nr ");
	if (mapping->flags & MAP_LOCKED)
		strcat(state.flags, "lo ");
	if ((mapping->flags & MAP_TYPE) == MAP_SHARED_VALIDATE &&
	    mapping->flags & MAP_SYNC)
		strcat(state.flags, "sf ");
	return state;
}

/* Mapped by the program: only what has a shadow. */
static int put_shadow(struct staged *staged, const struct own_mapping *mapping)
{
	uint64_t start = mapping->offset;
	uint64_t end = start + own_map_pages(mapping->length);
	int kept = MAP_NORESERVE | MAP_LOCKED | MAP_POPULATE | MAP_NONBLOCK;
	int flags = is_private(mapping) ? MAP_PRIVATE : MAP_SHARED;
	char *addr = mapping->addr;
	int view_fd, r = 0;

	if (start < staged->offset)
		start = staged->offset;
	if (end > staged->end)
		end = staged->end;
	if (start >= end)
		return 0;
	addr += start - mapping->offset;
	view_fd = staged_open_view(staged);
	if (view_fd < 0)
		return -EMFILE;
	shadow_places_add((uintptr_t)addr, (uintptr_t)addr + (end - start));
	if (syscall(SYS_mmap, addr, end - start, mapping->protection,
		    flags | MAP_FIXED | (mapping->flags & kept), view_fd,
		    start - staged->offset) == -1)
		r = -errno;
	staged_close_view(staged, view_fd);
	if (r || is_private(mapping))
		return r;
	undumped_set(&staged->lease->table->undumped, (uintptr_t)addr,
		     (uintptr_t)addr + (end - start), false);
	if ((mapping->flags & MAP_TYPE) == MAP_SHARED_VALIDATE)
		staged->is_sync |= (mapping->flags & MAP_SYNC) != 0;
	return raw_madvise(addr, end - start, MADV_DONTDUMP) ? -errno : 0;
}

static int map_over_all(struct lease_table *table, struct lease *lease,
			const struct own_mapping *mapping)
{
	struct mapping_state state = state_of(mapping);
	int r = talk_fetch(table, lease);

	if (!r)
		r = own_map_put(lease, &state);
	recover_prepare(lease);
	return r;
}

/* The extents that the mapping has to show, against what lies there. */
struct looked_at {
	const struct lease_table *table;
	const struct own_mapping *mapping;
};

/* A shadow in the place of what has none: it was meant for another mapping. */
static int is_astray(const struct self_map *map, void *arg)
{
	const struct looked_at *at = arg;
	const struct own_mapping *mapping = at->mapping;
	uintptr_t start = (uintptr_t)mapping->addr;
	uint64_t skipped = map->start < start ? start - map->start : 0;
	uint64_t offset = mapping->offset + (map->start + skipped - start);
	const struct staged *staged =
		shadows_find(at->table, map->dev, map->ino);

	return staged && staged->offset + map->offset + skipped != offset;
}

/*
 * One that was unmapped while it was swapped, and this one came to lie there:
 * all of it anew.
 */
static int map_new(struct lease_table *table, void *arg)
{
	const struct own_mapping *mapping = arg;
	uintptr_t start = (uintptr_t)mapping->addr;
	size_t length = own_map_pages(mapping->length);
	struct lease *lease = table_find(table, mapping->dev, mapping->ino);
	struct looked_at looked_at = {table, mapping};
	int r = 0;

	if (lease &&
	    self_maps_each(start, start + length, is_astray, &looked_at) > 0)
		return map_over_all(table, lease, mapping);
	for (struct staged *at = lease ? lease->staged : NULL; !r && at;
	     at = at->next)
		r = put_shadow(at, mapping);
	return r;
}

static bool has_shadow(const struct lease *lease,
		       const struct own_mapping *mapping)
{
	uint64_t end = mapping->offset + own_map_pages(mapping->length);

	for (const struct staged *at = lease->staged; at; at = at->next)
		if (at->offset < end && at->end > mapping->offset)
			return true;
	return false;
}

static int map_over(struct lease_table *table, void *arg)
{
	const struct own_mapping *mapping = arg;
	struct lease *lease = table_find(table, mapping->dev, mapping->ino);

	if (!lease || !has_shadow(lease, mapping))
		return -ENOENT;
	return map_over_all(table, lease, mapping);
}

struct advising {
	uintptr_t addr;
	size_t length;
	bool is_undumped;
	struct lease_table *table;
};

static int advise_shadow(const struct self_map *map, void *arg)
{
	const struct advising *advising = arg;
	uintptr_t end = advising->addr + advising->length;
	uintptr_t start =
		map->start > advising->addr ? map->start : advising->addr;

	if (map->end < end)
		end = map->end;
	if (!map->is_shared ||
	    !shadows_find(advising->table, map->dev, map->ino))
		return 0;
	undumped_set(&advising->table->undumped, start, end,
		     advising->is_undumped);
	raw_madvise((void *)start, end - start, MADV_DONTDUMP);
	return 0;
}

/* What is of shadows is noted, and stays out of dumps whatever was asked. */
static int map_advise(struct lease_table *table, void *arg)
{
	struct advising *advising = arg;
	int r;

	advising->length = own_map_pages(advising->length);
	r = raw_madvise((void *)advising->addr, advising->length,
			advising->is_undumped ? MADV_DONTDUMP : MADV_DODUMP)
		    ? -errno
		    : 0;
	/* With a hole in the range the rest of it is advised all the same. */
	advising->table = table;
	if (!r || r == -ENOMEM)
		self_maps_each(advising->addr,
			       advising->addr + advising->length, advise_shadow,
			       advising);
	return r;
}

static int do_nothing(struct lease_table *table, void *arg)
{
	(void)table;
	(void)arg;
	return 0;
}

/* What follows runs in the program's threads. */

int own_map_new(struct lease_engine *engine, const struct own_mapping *mapping)
{
	return lease_engine_call(engine, map_new, (void *)mapping);
}

int own_map_over(struct lease_engine *engine, const struct own_mapping *mapping)
{
	return lease_engine_call(engine, map_over, (void *)mapping);
}

int own_map_advise(struct lease_engine *engine, void *addr, size_t length,
		   bool is_undumped)
{
	struct advising advising = {
		.addr = (uintptr_t)addr,
		.length = length,
		.is_undumped = is_undumped,
	};

	return lease_engine_call(engine, map_advise, &advising);
}

void own_map_wait(struct lease_engine *engine)
{
	if (atomic_load(&shadows_swaps) & 1 &&
	    own_desk_serves(lease_engine_desk(engine)))
		lease_engine_call(engine, do_nothing, NULL);
}

unsigned int own_map_look(struct lease_engine *engine)
{
	own_map_wait(engine);
	return atomic_load(&shadows_swaps);
}

bool own_map_has_moved(struct lease_engine *engine, unsigned int look)
{
	return (look & 1 || atomic_load(&shadows_swaps) != look) &&
	       own_desk_serves(lease_engine_desk(engine));
}
