/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings that the program makes or moves itself while a file has shadows.
 *
 *   the program maps       |-------------- file ---------------|
 *   extents (staged.h)         |---1---|      |------2------|
 *   what it gets           |file| shadow |file|   shadow    |fi|
 *
 * A new mapping of a file is made by the program's own call, and the engine
 * then puts the shadows over the parts that have one, before the call returns:
 * nobody knows the address yet, so nobody has stored there. The engine does one
 * thing at a time: a mapping that a stage or unstage has not seen is looked at
 * after that. One that goes over something else (MAP_FIXED) is made by the
 * engine, elsewhere, and moved there piece by piece, as others may be storing
 * there.
 *
 * A private mapping of a file shows the shadow's bytes, too, as far as it has
 * no page of its own; and goes on to show that memory when the file is mapped
 * back. (Whether later changes of the file are seen through a private mapping
 * is left open by mmap(2).) One that was made before there were shadows shows
 * the file.
 *
 * mremap() of what was one mapping to the program: its pieces are moved one
 * after the other; what it grows by is made as above.
 *
 * munmap(), and whatever else is mapped over such a mapping, waits while a
 * shadow and a file change places: what is mapped at an address then must not
 * become something else (remap.h has that race).
 *
 * Any thread of the program; signals are blocked while it waits.
 */
#ifndef DAXMR_LEASE_OWN_MAP_H
#define DAXMR_LEASE_OWN_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lease.h"

struct own_mapping {
	dev_t dev; /* of the file */
	ino_t ino;
	void *addr;
	size_t length;
	uint64_t offset; /* in whole pages */
	int protection;	 /* both as mmap() was told */
	int flags;
};

/*
 * The program has mapped this: shadows go over it. 0, also where there is none,
 * or -errno, and the mapping shows what it must not be used for: -ENOMEM,
 * -EAGAIN (too much memory is locked).
 */
int own_map_new(struct lease_engine *engine, const struct own_mapping *mapping);

/*
 * mmap() with MAP_FIXED, by the engine, of a file that has a shadow there. 0,
 * -errno; -ENOENT: there is none (any more), and nothing was done.
 */
int own_map_over(struct lease_engine *engine,
		 const struct own_mapping *mapping);

struct own_move {
	void *old;
	size_t old_size;
	size_t new_size;
	int flags;
	void *new_addr; /* MREMAP_FIXED */
};

/* mremap(), by the engine: 0, or -errno as the call would say. */
int own_map_move(struct lease_engine *engine, const struct own_move *move,
		 void **ret);

/*
 * The program has moved something there while there were no shadows, as far as
 * it knew: as own_map_new().
 */
int own_map_moved(struct lease_engine *engine, void *addr, size_t length);

/*
 * madvise() with MADV_DONTDUMP or MADV_DODUMP, by the engine: 0, or -errno as
 * the call would say (undumped.h).
 */
int own_map_advise(struct lease_engine *engine, void *addr, size_t length,
		   bool is_undumped);

/* Until nothing is being swapped that was when it was called. */
void own_map_wait(struct lease_engine *engine);

/*
 * Around a look at mappings: while a shadow and a file change places there may
 * seem to be nothing at an address (Linux 6.18 answers PROCMAP_QUERY beside
 * mremap()). One that has moved since has to be taken again.
 */
unsigned int own_map_look(struct lease_engine *engine);
bool own_map_has_moved(struct lease_engine *engine, unsigned int look);

#endif
