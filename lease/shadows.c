/* SPDX-License-Identifier: BSD-2-Clause */
/* The shadows of this process: shadows.h. */
#include <errno.h>

#include "reason.h"
#include "shadow_places.h"
#include "shadows.h"
#include "staged_parts.h"

_Atomic unsigned int shadows_count;
_Atomic uint64_t shadows_bytes;
atomic_uint shadows_swaps;

bool shadows_has_file(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	const struct own_desk *desk = lease_engine_desk(engine);

	return own_set_has(&desk->shadows.files, dev, ino) &&
	       own_desk_serves(desk);
}

bool shadows_has_memfd(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	const struct own_desk *desk = lease_engine_desk(engine);

	return own_set_has(&desk->shadows.memfds, dev, ino) &&
	       own_desk_serves(desk);
}

/* What was removed stays in its place until that is used again. */
bool shadows_next_file(struct lease_engine *engine, uint32_t *slot,
		       dev_t *ret_dev, ino_t *ret_ino)
{
	const struct own_desk *desk = lease_engine_desk(engine);

	if (!own_desk_serves(desk))
		return false;
	while (*slot < BOARD_SLOTS) {
		const struct own_set_file *file =
			&desk->shadows.files.files[(*slot)++];
		dev_t dev = atomic_load(&file->dev);
		ino_t ino = atomic_load(&file->ino);

		if (!ino || !own_set_has(&desk->shadows.files, dev, ino))
			continue;
		*ret_dev = dev;
		*ret_ino = ino;
		return true;
	}
	return false;
}

int shadows_add(struct lease_table *table, struct staged *staged)
{
	struct shadows *shadows = &table->own.shadows;
	struct lease *lease = staged->lease;
	uint32_t slot = shadows->last_slot, n = 0;

	do
		slot = (slot + 1) % BOARD_SLOTS;
	while (shadows->by_slot[slot] && ++n < BOARD_SLOTS);
	if (n == BOARD_SLOTS)
		return reason_set(-EMFILE,
				  "%u shadows are the most there can "
				  "be",
				  BOARD_SLOTS);
	staged->slot = shadows->last_slot = slot;
	shadows->by_slot[slot] = staged;
	own_set_add(&shadows->memfds, slot, staged->shadow_dev,
		    staged->shadow_ino);
	if (!lease->shadows++) {
		own_gate_add(table, lease);
		own_set_add(&shadows->files, lease->id, lease->dev, lease->ino);
	}
	atomic_fetch_add(&shadows_count, 1);
	atomic_fetch_add(&shadows_bytes, staged->end - staged->offset);
	return 0;
}

struct staged *shadows_find(const struct lease_table *table, dev_t dev,
			    ino_t ino)
{
	const struct shadows *shadows = &table->own.shadows;
	uint32_t slot = own_set_slot(&shadows->memfds, dev, ino);

	return slot < BOARD_SLOTS ? shadows->by_slot[slot] : NULL;
}

void shadows_drop(struct lease_table *table, struct staged *staged)
{
	struct shadows *shadows = &table->own.shadows;
	struct lease *lease = staged->lease;

	atomic_fetch_sub(&shadows_count, 1);
	atomic_fetch_sub(&shadows_bytes, staged->end - staged->offset);
	if (!--lease->shadows) {
		own_set_remove(&shadows->files, lease->id);
		own_gate_remove(table, lease);
	}
	own_set_remove(&shadows->memfds, staged->slot);
	shadows->by_slot[staged->slot] = NULL;
	if (!atomic_load(&shadows_count))
		shadow_places_clear();
}
