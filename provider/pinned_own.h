/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of the program's own that pinned regions are in the way of: those that
 * cut a file off or punch a hole into it would wait for the program's own MR.
 * So that goes before, and comes again when the last of such calls on the file
 * has ended; a registration that comes meanwhile waits for their end.
 *
 * They count for the file, not for the regions that it has when they begin.
 */
#ifndef DAXMR_PINNED_OWN_H
#define DAXMR_PINNED_OWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* On its caller's stack, from begin to end. */
struct pinned_own {
	uint64_t dev;
	uint64_t ino;
	struct pinned_own *next;
};

/* Waits until the MRs are gone, quiesce_ms at most. */
void pinned_own_begin(struct pinned_own *own, dev_t dev, ino_t ino);

/*
 * The same for who cannot do with pinned regions in the file at all: false
 * where there are any, and nothing has begun.
 */
bool pinned_own_try(struct pinned_own *own, dev_t dev, ino_t ino);

void pinned_own_end(struct pinned_own *own);

#endif
