/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mremap() of mappings that show shadows: own_map.h. All but the last functions
 * run in the engine's thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heap.h"
#include "lease_talk.h"
#include "mapping.h"
#include "own_map_parts.h"
#include "raw.h"
#include "recover.h"
#include "shadow_places.h"
#include "staged_parts.h"
#include "undumped.h"

#define PAGE EXTENT_BLOCK

/* What was one mapping to the program. */
struct pieces {
	struct mapping_state *states; /* of the file, in order */
	size_t count;
	struct lease *lease; /* NULL: nothing of it has to do with shadows */
};

/* As the program would see it without shadows. */
static struct lease *look_behind(const struct lease_table *table,
				 struct mapping_state *state)
{
	struct mapping *mapping = &state->mapping;
	struct staged *staged = shadows_find(table, mapping->dev, mapping->ino);

	if (!staged)
		return table_find((struct lease_table *)table, mapping->dev,
				  mapping->ino);
	staged_describe_as_file(staged, state);
	return staged->lease;
}

static bool goes_on(const struct mapping *before, const struct mapping *mapping)
{
	return before->end == mapping->start && before->dev == mapping->dev &&
	       before->ino == mapping->ino &&
	       before->offset + (before->end - before->start) ==
		       mapping->offset &&
	       before->is_shared == mapping->is_shared &&
	       before->protection == mapping->protection;
}

/* -EFAULT, as the kernel says where it is not one mapping. */
static int look_at_piece(const struct lease_table *table, struct pieces *pieces,
			 uintptr_t addr, uintptr_t end)
{
	struct mapping_state *states =
		heap_more(pieces->states, pieces->count + 1, sizeof(*states));
	struct mapping_state *state;
	struct mapping *mapping;

	if (!states)
		return -ENOMEM;
	pieces->states = states;
	state = &states[pieces->count];
	mapping = &state->mapping;
	memset(state, 0, sizeof(*state));
	if (mapping_state_at(addr, state) && mapping_at(addr, mapping, NULL))
		return -EFAULT;
	mapping->offset += addr - mapping->start;
	mapping->start = addr;
	if (mapping->end > end)
		mapping->end = end;
	if (!pieces->count++)
		pieces->lease = look_behind(table, state);
	else if (look_behind(table, state) != pieces->lease ||
		 !goes_on(&states[pieces->count - 2].mapping, mapping))
		return -EFAULT;
	return 0;
}

static int look_at_all(const struct lease_table *table, struct pieces *pieces,
		       uintptr_t start, uintptr_t end)
{
	int r = 0;

	while (!r && start < end) {
		r = look_at_piece(table, pieces, start, end);
		if (!r)
			start = pieces->states[pieces->count - 1].mapping.end;
	}
	return r;
}

static int remap(uintptr_t from, size_t old_size, size_t new_size, int flags,
		 uintptr_t to, uintptr_t *ret)
{
	long r = syscall(SYS_mremap, from, old_size, new_size, flags, to);

	if (r == -1)
		return -errno;
	*ret = (uintptr_t)r;
	return 0;
}

/* Nothing of it is there yet: a place that nobody else takes. */
static int reserve(uintptr_t addr, size_t length, int flags, uintptr_t *ret)
{
	long r = syscall(SYS_mmap, addr, length, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags,
			 -1, 0);

	if (r == -1)
		return -errno;
	*ret = (uintptr_t)r;
	return 0;
}

/* Of the mapping that begins with the first piece, from `at` bytes on. */
static int put_tail(const struct pieces *pieces, uintptr_t to, size_t at,
		    size_t length)
{
	struct mapping_state state = pieces->states[0];

	if (!length)
		return 0;
	state.mapping.offset += at;
	state.mapping.start = to + at;
	state.mapping.end = to + at + length;
	return own_map_put(pieces->lease, &state);
}

/* Back again where one cannot be moved (too many mappings). */
static int move_pieces(const struct pieces *pieces, uintptr_t to, size_t length)
{
	uintptr_t from = pieces->states[0].mapping.start, at;
	size_t i, done = 0;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED, r = 0;

	for (i = 0; i < pieces->count && done < length; i++) {
		const struct mapping *mapping = &pieces->states[i].mapping;
		size_t size = mapping->end - mapping->start;

		if (size > length - done)
			size = length - done;
		r = remap(from + done, size, size, flags, to + done, &at);
		if (r)
			break;
		done += size;
	}
	if (!r)
		undumped_move(&pieces->lease->table->undumped, from, to,
			      length);
	while (r && i-- > 0) {
		const struct mapping *mapping = &pieces->states[i].mapping;
		size_t size = mapping->end - mapping->start;

		remap(to + (mapping->start - from), size, size, flags,
		      mapping->start, &at);
	}
	return r;
}

static int move_all(const struct pieces *pieces, const struct own_move *move,
		    uintptr_t *ret)
{
	uintptr_t old = (uintptr_t)move->old, to = (uintptr_t)move->new_addr;
	bool is_fixed = move->flags & MREMAP_FIXED;
	size_t kept = move->old_size < move->new_size ? move->old_size
						      : move->new_size;
	int r;

	if (is_fixed && (to % PAGE || (to < old + move->old_size &&
				       old < to + move->new_size)))
		return -EINVAL;
	r = reserve(is_fixed ? to : 0, move->new_size, is_fixed ? MAP_FIXED : 0,
		    &to);
	if (r)
		return r;
	r = put_tail(pieces, to, kept, move->new_size - kept);
	if (!r)
		r = move_pieces(pieces, to, kept);
	if (r) {
		raw_unmap((void *)to, move->new_size);
		return r;
	}
	if (kept < move->old_size)
		raw_unmap((void *)(old + kept), move->old_size - kept);
	*ret = to;
	return 0;
}

/* -EEXIST: something else lies there. */
static int grow_in_place(const struct pieces *pieces,
			 const struct own_move *move)
{
	uintptr_t end = (uintptr_t)move->old + move->old_size, at;
	size_t length = move->new_size - move->old_size;
	int r = reserve(end, length, MAP_FIXED_NOREPLACE, &at);

	if (r)
		return r == -EEXIST ? r : -ENOMEM;
	r = put_tail(pieces, (uintptr_t)move->old, move->old_size, length);
	if (r)
		raw_unmap((void *)end, length);
	return r;
}

static int move_pieced(const struct pieces *pieces, const struct own_move *move,
		       uintptr_t *ret)
{
	uintptr_t old = (uintptr_t)move->old;
	int r = -EEXIST;

	if (!(move->flags & MREMAP_FIXED) && move->old_size) {
		*ret = old;
		if (move->new_size > move->old_size)
			r = grow_in_place(pieces, move);
		else if (move->new_size == move->old_size)
			return 0;
		else
			return raw_unmap((void *)(old + move->new_size),
					 move->old_size - move->new_size)
				       ? -errno
				       : 0;
	}
	if (r != -EEXIST)
		return r;
	return move->flags & MREMAP_MAYMOVE ? move_all(pieces, move, ret)
					    : -ENOMEM;
}

struct moving {
	struct own_move move;
	uintptr_t result;
};

/* What the kernel does as it would without us, or refuses as it would. */
static bool is_kernels(const struct pieces *pieces, const struct own_move *move)
{
	int known = MREMAP_MAYMOVE | MREMAP_FIXED;
	bool is_plain = pieces->count == 1 && move->old_size &&
			move->new_size <= move->old_size;

	return !pieces->lease || !pieces->lease->staged || is_plain ||
	       move->flags & ~known || !move->new_size ||
	       (move->flags & known) == MREMAP_FIXED ||
	       (uintptr_t)move->old % PAGE ||
	       (!move->old_size && !pieces->states[0].mapping.is_shared);
}

static int map_move(struct lease_table *table, void *arg)
{
	struct moving *moving = arg;
	struct own_move *move = &moving->move;
	uintptr_t start = (uintptr_t)move->old / PAGE * PAGE;
	struct pieces pieces = {0};
	int r;

	move->old_size = own_map_pages(move->old_size);
	move->new_size = own_map_pages(move->new_size);
	r = look_at_all(table, &pieces, start,
			start + (move->old_size ? move->old_size : PAGE));
	if (!r && is_kernels(&pieces, move)) {
		r = remap((uintptr_t)move->old, move->old_size, move->new_size,
			  move->flags, (uintptr_t)move->new_addr,
			  &moving->result);
		if (!r && moving->result != (uintptr_t)move->old)
			undumped_move(&table->undumped, (uintptr_t)move->old,
				      moving->result,
				      move->old_size < move->new_size
					      ? move->old_size
					      : move->new_size);
	} else if (!r) {
		r = talk_fetch(table, pieces.lease);
		if (!r)
			r = move_pieced(&pieces, move, &moving->result);
		recover_prepare(pieces.lease);
	}
	if (!r && pieces.lease)
		shadow_places_add(moving->result,
				  moving->result + move->new_size);
	heap_put(pieces.states);
	return r;
}

/* Shows each byte what it should, a shadow or the file? */
static bool is_right(const struct lease *lease, const struct mapping *before,
		     const struct mapping *behind)
{
	uint64_t end = behind->offset + (behind->end - behind->start);
	bool is_shadow =
		before->ino != behind->ino || before->dev != behind->dev;

	for (const struct staged *at = lease->staged; at; at = at->next)
		if (at->offset < end && at->end > behind->offset)
			return is_shadow && at->shadow_ino == before->ino &&
			       at->offset <= behind->offset && at->end >= end;
	return !is_shadow;
}

static int map_moved(struct lease_table *table, void *arg)
{
	const struct own_move *move = arg;
	uintptr_t at = (uintptr_t)move->old;
	uintptr_t end = at + own_map_pages(move->old_size);
	struct pieces pieces = {0};
	int r = 0;

	while (!r && at < end) {
		struct mapping_state *state;
		struct mapping before;

		pieces.count = 0;
		/* what is gone again needs nothing */
		if (mapping_at(at, &before, NULL) ||
		    look_at_piece(table, &pieces, at, end))
			break;
		state = &pieces.states[0];
		at = state->mapping.end;
		if (pieces.lease)
			shadow_places_add(before.start, before.end);
		if (!pieces.lease ||
		    is_right(pieces.lease, &before, &state->mapping))
			continue;
		r = talk_fetch(table, pieces.lease);
		if (!r)
			r = own_map_put(pieces.lease, state);
		recover_prepare(pieces.lease);
	}
	heap_put(pieces.states);
	return r;
}

int own_map_moved(struct lease_engine *engine, void *addr, size_t length)
{
	struct own_move move = {.old = addr, .old_size = length};

	return lease_engine_call(engine, map_moved, &move);
}

int own_map_move(struct lease_engine *engine, const struct own_move *move,
		 void **ret)
{
	struct moving moving = {.move = *move};
	int r = lease_engine_call(engine, map_move, &moving);

	if (!r)
		*ret = (void *)moving.result;
	return r;
}
