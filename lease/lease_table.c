/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The leases of an engine: lease_table.h.
 */

#include "lease_table.h"
#include "heap.h"
#include "range.h"
#include "raw.h"

static struct lease **bucket_of(struct lease_table *table, dev_t dev, ino_t ino)
{
	uint64_t hash = (ino ^ (dev << 32)) * 0x9e3779b97f4a7c15ULL;

	return &table->by_file[hash >> (64 - TABLE_BUCKET_BITS)];
}

struct lease *table_find(struct lease_table *table, dev_t dev, ino_t ino)
{
	struct lease *lease = *bucket_of(table, dev, ino);

	while (lease && (lease->dev != dev || lease->ino != ino))
		lease = lease->next;
	return lease;
}

/* Slots in turn: a late message about one that is free again finds nothing. */
struct lease *table_add(struct lease_table *table, dev_t dev, ino_t ino)
{
	struct lease *lease = heap_get(1, sizeof(*lease)), **bucket;
	uint32_t tried = 0;

	while (table->by_id[table->next_id] && tried++ < BOARD_SLOTS)
		table->next_id = (table->next_id + 1) % BOARD_SLOTS;
	if (!lease || table->by_id[table->next_id]) {
		heap_put(lease);
		return NULL;
	}
	lease->table = table;
	lease->id = table->next_id;
	lease->fd = -1;
	lease->dev = dev;
	lease->ino = ino;
	lease->generation =
		atomic_load(&table->keeper.board[lease->id].generation);
	bucket = bucket_of(table, dev, ino);
	lease->next = *bucket;
	*bucket = lease;
	table->by_id[lease->id] = lease;
	if (lease->id >= table->ids_end)
		table->ids_end = lease->id + 1;
	table->next_id = (table->next_id + 1) % BOARD_SLOTS;
	table->count++;
	own_desk_add(table, lease);
	return lease;
}

void table_remove(struct lease_table *table, struct lease *lease)
{
	struct lease **at = bucket_of(table, lease->dev, lease->ino);
	const struct lease_observer *observer = &table->config->observer;

	if (observer->gone)
		observer->gone(observer->arg, lease);
	while (*at != lease)
		at = &(*at)->next;
	*at = lease->next;
	own_desk_remove(table, lease);
	table->by_id[lease->id] = NULL;
	table->count--;
	if (lease->fd >= 0)
		raw_close(lease->fd);
	table->adrift -= lease->is_adrift;
	range_free_all(lease);
	table->left -= lease->is_left;
	heap_put(lease->path);
	heap_put(lease);
}
