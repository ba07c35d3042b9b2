/* SPDX-License-Identifier: BSD-2-Clause */
/* The files that this process has leased: own_set.h. */
#include "own_set.h"

#define TRIES 64

/*
 * Files that were made one after the other have heads side by side, so that a
 * thousand of them touch few pages of memory.
 */
static uint32_t head_of(uint64_t dev, uint64_t ino)
{
	uint64_t hash = dev * 0x9e3779b97f4a7c15ULL >> 48;

	return (uint32_t)((ino ^ ino >> 16 ^ ino >> 32 ^ hash) % OWN_SET_HEADS);
}

/* All accesses are sequentially consistent: this happens once per lease. */
void own_set_add(struct own_set *set, uint32_t slot, dev_t dev, ino_t ino)
{
	_Atomic uint32_t *head = &set->heads[head_of(dev, ino)];
	struct own_set_file *file = &set->files[slot];

	atomic_fetch_add(&set->sequence, 1);
	atomic_store(&file->dev, dev);
	atomic_store(&file->ino, ino);
	atomic_store(&file->next, atomic_load(head));
	atomic_store(head, slot + 1);
	atomic_fetch_add(&set->sequence, 1);
}

void own_set_remove(struct own_set *set, uint32_t slot)
{
	struct own_set_file *file = &set->files[slot];
	_Atomic uint32_t *at = &set->heads[head_of(atomic_load(&file->dev),
						   atomic_load(&file->ino))];

	atomic_fetch_add(&set->sequence, 1);
	while (atomic_load(at) && atomic_load(at) != slot + 1)
		at = &set->files[atomic_load(at) - 1].next;
	if (atomic_load(at))
		atomic_store(at, atomic_load(&file->next));
	atomic_fetch_add(&set->sequence, 1);
}

/* slot + 1, or 0. Its answer counts only if the sequence has stayed as it was.
 */
static uint32_t look(const struct own_set *set, dev_t dev, ino_t ino)
{
	uint32_t at = atomic_load(&set->heads[head_of(dev, ino)]);

	/* a chain that is changed under us may lead round in a circle */
	for (uint32_t n = 0; at && n < BOARD_SLOTS; n++) {
		const struct own_set_file *file = &set->files[at - 1];

		if (atomic_load(&file->ino) == ino &&
		    atomic_load(&file->dev) == dev)
			return at;
		at = atomic_load(&file->next);
	}
	return 0;
}

uint32_t own_set_slot(const struct own_set *set, dev_t dev, ino_t ino)
{
	uint32_t at = look(set, dev, ino);

	return at ? at - 1 : BOARD_SLOTS;
}

bool own_set_has(const struct own_set *set, dev_t dev, ino_t ino)
{
	for (int n = 0; n < TRIES; n++) {
		uint32_t before = atomic_load(&set->sequence);
		bool found = look(set, dev, ino) != 0;

		if (!(before & 1) && atomic_load(&set->sequence) == before)
			return found;
	}
	return true;
}
