/* SPDX-License-Identifier: BSD-2-Clause */
/* What own_map.c and own_move.c share, and nobody else uses. */
#ifndef DAXMR_LEASE_OWN_MAP_PARTS_H
#define DAXMR_LEASE_OWN_MAP_PARTS_H

#include "lease_table.h"
#include "mapping.h"
#include "own_map.h"

static inline size_t own_map_pages(size_t length)
{
	return (length + 4095) / 4096 * 4096;
}

/*
 * state: of the file, as it would be without shadows. All of it is mapped, with
 * shadows where there are; what lies there before is replaced. lease->fd is
 * there. 0, -errno: some may have been mapped.
 */
int own_map_put(const struct lease *lease, const struct mapping_state *state);

#endif
