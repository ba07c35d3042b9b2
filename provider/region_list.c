/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others see of a region: stats_page.h.
 */
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "clock.h"
#include "lease.h"
#include "region_parts.h"
#include "stats.h"

uint32_t region_more_files(const struct stage *stage)
{
	struct lease *first = stage_lease(stage, 0), *lease;
	uint32_t more = 0;

	for (size_t i = 1; (lease = stage_lease(stage, i)); i++)
		more += lease != first;
	return more;
}

uint64_t region_list(const struct region_listed *what)
{
	struct stats_region region = {
		.is_there = 1,
		.addr = (uintptr_t)what->addr,
		.length = what->length,
		.since_ns = clock_now_ns(),
		.dev = makedev(what->file->dev_major, what->file->dev_minor),
		.ino = what->file->ino,
		.more_files = what->more_files,
		.strategy = what->strategy,
		.access = what->access,
	};
	dev_t dev;
	ino_t ino;

	/* Of what is staged already the shadow was seen. */
	if (what->lease) {
		lease_file(what->lease, &dev, &ino);
		region.dev = dev;
		region.ino = ino;
	}
	snprintf(region.device, sizeof(region.device), "%s", what->device);
	if (what->file->kind != MEMORY_SHADOW)
		snprintf(region.name, sizeof(region.name), "%s",
			 what->file->name);
	return stats_region_add(&region);
}
