/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls of libpmem2: pmem_hooks.h.
 *
 * Functions are handed out for a map, according to its granularity: programs
 * keep them and call them with no map. What we hand out is one of a few
 * functions of our own, each of which stands for one of libpmem2's and goes on
 * to it. So a function that was handed out before there were shadows is right
 * afterwards.
 *
 * libpmem2 has three functions of each sort; where there should be more than
 * we have room for, those are handed out as they are.
 */
#include "pmem_hooks.h"

#define ROOM 8

/* Each is set once. */
struct originals {
	void *_Atomic real[ROOM];
};

static struct originals persists, moves, sets;

static void *load(struct originals *originals, unsigned int i)
{
	return atomic_load_explicit(&originals->real[i], memory_order_relaxed);
}

/* The one of ours that stands for it. */
static void *stand_in(struct originals *originals, void *const own[ROOM],
		      void *real)
{
	if (!real)
		return NULL;
	for (unsigned int i = 0; i < ROOM; i++) {
		void *none = NULL;

		if (atomic_compare_exchange_strong(&originals->real[i], &none,
						   real) ||
		    none == real)
			return own[i];
	}
	return real;
}

#define STAND_INS(i)                                                           \
	static void persist_##i(const void *addr, size_t length)               \
	{                                                                      \
		pmem_persist_through((pmem_persist_fn *)load(&persists, i),    \
				     addr, length);                            \
	}                                                                      \
	static void *move_##i(void *to, const void *from, size_t length,       \
			      unsigned int flags)                              \
	{                                                                      \
		((pmem_move_flags_fn *)load(&moves, i))(to, from, length,      \
							flags);                \
		return flags & PMEM_NOFLUSH ? to : pmem_copied(to, length);    \
	}                                                                      \
	static void *set_##i(void *to, int byte, size_t length,                \
			     unsigned int flags)                               \
	{                                                                      \
		((pmem_set_flags_fn *)load(&sets, i))(to, byte, length,        \
						      flags);                  \
		return flags & PMEM_NOFLUSH ? to : pmem_copied(to, length);    \
	}

STAND_INS(0)
STAND_INS(1)
STAND_INS(2)
STAND_INS(3)
STAND_INS(4)
STAND_INS(5)
STAND_INS(6)
STAND_INS(7)

#define ALL(name)                                                              \
	{                                                                      \
		(void *)name##_0, (void *)name##_1, (void *)name##_2,          \
			(void *)name##_3, (void *)name##_4, (void *)name##_5,  \
			(void *)name##_6, (void *)name##_7                     \
	}

static void *const own_persists[ROOM] = ALL(persist);
static void *const own_moves[ROOM] = ALL(move);
static void *const own_sets[ROOM] = ALL(set);

static void *real_get(enum pmem_call call, struct pmem2_map *map)
{
	return ((pmem2_get_fn *)pmem_real(call))(map);
}

void *hook_pmem2_get_persist_fn(struct pmem2_map *map)
{
	return stand_in(&persists, own_persists,
			real_get(PMEM_pmem2_get_persist_fn, map));
}

void *hook_pmem2_get_flush_fn(struct pmem2_map *map)
{
	return stand_in(&persists, own_persists,
			real_get(PMEM_pmem2_get_flush_fn, map));
}

void *hook_pmem2_get_memcpy_fn(struct pmem2_map *map)
{
	return stand_in(&moves, own_moves,
			real_get(PMEM_pmem2_get_memcpy_fn, map));
}

void *hook_pmem2_get_memmove_fn(struct pmem2_map *map)
{
	return stand_in(&moves, own_moves,
			real_get(PMEM_pmem2_get_memmove_fn, map));
}

void *hook_pmem2_get_memset_fn(struct pmem2_map *map)
{
	return stand_in(&sets, own_sets,
			real_get(PMEM_pmem2_get_memset_fn, map));
}

int hook_pmem2_deep_flush(struct pmem2_map *map, void *addr, size_t length)
{
	int r = ((pmem2_deep_flush_fn *)pmem_real(PMEM_pmem2_deep_flush))(
		map, addr, length);

	if (r || !has_shadows())
		return r;
	return file_engine->sync_memory(addr, length, NULL);
}
