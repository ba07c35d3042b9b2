/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mapping that is to take another's place, with all that the other has:
 * protection, MAP_SYNC, MAP_NORESERVE, protection key, what madvise() and
 * mlock() said. It is made elsewhere, where all that can fail fails, and then
 * moved over the other in one step. remap.h has the race that is left.
 */
#ifndef DAXMR_LEASE_TWIN_H
#define DAXMR_LEASE_TWIN_H

#include <stdbool.h>
#include <stdint.h>

#include "mapping.h"

struct twin {
	const struct mapping_state *state; /* what it has; the caller's */
	struct mapping place; /* what it replaces: that mapping, at first */
	void *addr;	      /* NULL: none, or it is there */
};

/*
 * Can a twin of this mapping have all that it has? 0, or -EOPNOTSUPP with a
 * sentence: it is registered with a userfaultfd, sealed, has guard pages or a
 * flag that is not known here.
 */
int twin_check(const struct mapping_state *state);

enum twin_kind {
	TWIN_OF_FILE,
	TWIN_OF_MEMFD,	/* no MAP_SYNC */
	TWIN_OF_NOTHING /* private memory, of no file */
};

/* Of fd from offset on, if it is of any. 0, or -errno: mmap(2), madvise(2),
 * pkey_mprotect(2). */
int twin_make(enum twin_kind kind, int fd, uint64_t offset,
	      const struct mapping_state *state, struct twin *ret);

/* What mapping and key it is to have, where it was made with others. */
int twin_protect(const struct twin *twin, int protection);

/*
 * Puts it in the other's place. 0; 1: the other isn't what it was, and was left
 * alone; -errno: of mremap(2), or, nothing is done, of opening a file of /proc.
 */
int twin_put(struct twin *twin);

/*
 * The two halves: is the other what it was? (1, 0; -errno: /proc cannot be
 * read), and the move, which is mremap() alone.
 */
int twin_is_due(const struct twin *twin);
int twin_move(struct twin *twin);

/* Then: locks it (mlock) as the other was, two might exceed the limit. */
int twin_lock(const struct twin *twin);

/* What has not been put is unmapped. */
void twin_drop(struct twin *twin);

#endif
