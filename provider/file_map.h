/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What hooks on mmap() and mremap() do once there are shadows in this process:
 * find out whether a leased file with shadows is concerned, and have the engine
 * see to it (own_map.h). Raw system calls, no memory, errno as it was.
 */
#ifndef DAXMR_FILE_MAP_H
#define DAXMR_FILE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_map {
	void *addr;
	size_t length;
	int protection;
	int flags;
	int fd;
	int64_t offset;
};

/*
 * After mmap(), of what it returned: 0, also where there are no shadows. Or a
 * positive errno, and the mapping is gone: rather none than one that shows
 * other bytes than the others do.
 */
int map_made(const struct file_map *map);

/*
 * Before mmap() with MAP_FIXED: -1, it is to be called; else done: 0 or a
 * positive errno.
 */
int map_over(const struct file_map *map);

/* Before munmap(), and mmap() of anything else with MAP_FIXED. */
void map_leaving(void);

/*
 * madvise() with MADV_DONTDUMP or MADV_DODUMP: false, it is to be called; else
 * done: *ret_error is 0 or a positive errno.
 */
bool map_advise(void *addr, size_t length, int advice, int *ret_error);

/* mremap() of what shows a shadow, or may come to: false, it is to be called.
 */
struct own_move;
int map_moved(void *addr, size_t length); /* after it, as map_made() */
bool map_move(const struct own_move *move, void **ret, int *ret_error);

#endif
