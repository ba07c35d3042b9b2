/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mappings of this process that belong to files, as /proc/self/maps has
 * them: one question for each mapping in the range where the kernel answers
 * such (PROCMAP_QUERY, Linux 6.11), else its text up to the range's end. Raw
 * system calls and the stack alone: in hooks, in signal handlers, in the
 * engine's thread.
 */
#ifndef DAXMR_LEASE_SELF_MAPS_H
#define DAXMR_LEASE_SELF_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "skipped.h"

struct self_map {
	uintptr_t start;
	uintptr_t end;
	uint64_t offset; /* of start in the file */
	dev_t dev;
	ino_t ino;
	int protection;
	bool is_shared;
};

/* More than 0 ends the walk and is its result. */
typedef int self_map_fn(const struct self_map *map, void *arg);

/*
 * Each that has a byte in [start, end), in order: 0, what fn returned, or
 * -errno where /proc cannot be read.
 */
int self_maps_each(uintptr_t start, uintptr_t end, self_map_fn *fn, void *arg);
/* Each shared one there is, but some or all of those that are skipped. */
int self_maps_each_shared(const struct skipped *skipped, self_map_fn *fn,
			  void *arg);

#endif
