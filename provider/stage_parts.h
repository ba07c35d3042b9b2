/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a region lies: a part for each shared mapping of a file in its range,
 * and the pieces of files that the parts show. A piece is taken at once,
 * whatever the order its parts have in memory:
 *
 *   region   |-----------------------------------|
 *   parts    | A 8-12 | A 0-4 | A 4-8 | heap | B |
 *   pieces     A 0-12                          B
 */
#ifndef DAXMR_STAGE_PARTS_H
#define DAXMR_STAGE_PARTS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct lease;
struct lease_engine;

/* The program maps and unmaps there meanwhile: it is to be looked at again. */
#define STAGE_CHANGED ESTALE

/* The file of one mapping, as far as the region lies in it. */
struct part {
	uintptr_t addr;
	uint64_t offset; /* in what is mapped */
	uint64_t length;
	dev_t dev; /* of what is mapped */
	ino_t ino;
	bool is_shadow; /* dev and ino are a memfd's */
	size_t piece;	/* index of the one that it shows */
};

struct piece {
	struct part *part; /* one that shows it */
	uint64_t offset;   /* in what is mapped */
	uint64_t length;
	uint64_t begin;	     /* of what is mapped, in the file */
	struct lease *lease; /* NULL: not yet */
	bool is_staged;
};

struct parts {
	size_t count;
	size_t room;
	struct part *part; /* by address */
	size_t pieces;
	struct piece *piece;
	bool has_private_dax; /* a private mapping of such a file */
	bool has_private;     /* of one in the page cache */
	bool has_other;	      /* what is no part, or cannot be read */
	bool has_read_only;   /* a part that cannot be written */
};

/*
 * Those of [start, end): 0; -STAGE_CHANGED where nothing seems to be, a shadow
 * may just have come or gone; or -errno with a sentence: -ENOMEM, those of
 * vma_each(). In every case it is freed with parts_free(), which takes what has
 * only been zeroed as well.
 */
int parts_find(struct parts *parts, struct lease_engine *engine,
	       uintptr_t start, uintptr_t end);
void parts_free(struct parts *parts);

#endif
