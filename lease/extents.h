/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ranges of a leased file that the program has registered, in the keeper.
 * Each has its blocks allocated again whenever others may have had the file;
 * one with a shadow is flushed. Both go in pieces, over all of them in turn.
 */
#ifndef DAXMR_LEASE_EXTENTS_H
#define DAXMR_LEASE_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

struct extent;

struct extents {
	struct extent *first;
	struct extent *allocating; /* the pass is at, or NULL */
	uint64_t allocated;	   /* of that one */
	struct extent *flushing;
	int flush_error; /* the first of this pass */
};

/*
 * A range more. shadow_fd -1: none; both descriptors stay the caller's. 0, or
 * -EEXIST: there is one of this number; -EINVAL: not of whole pages; those of
 * flush_open().
 */
int extents_add(struct extents *extents, uint32_t id, uint64_t offset,
		uint64_t length, int file_fd, int shadow_fd, int page_fd);
/* What is not flushed is not. */
void extents_remove(struct extents *extents, uint32_t id);
void extents_remove_all(struct extents *extents);

bool extents_have_shadow(const struct extents *extents);

/*
 * One piece of a pass, as recall.h's actions: > 0 there is more, 0 the pass is
 * over, -errno. The size is looked at before each piece: what is beyond the end
 * of the file is left out.
 */
int extents_allocate(struct extents *extents, int file_fd);
void extents_restart_allocate(struct extents *extents);

/* As flush_piece(), over all: an error of one keeps no other from the file. */
int extents_flush(struct extents *extents);
void extents_restart_flush(struct extents *extents);

#endif
