/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of flush.h share: flush.c (a pass, its pieces), flush_open.c,
 * flush_part.c (a pass over a part, beside one over all), flush_lent.c (what is
 * stored while others have the file), flush_beyond.c (what is stored beyond the
 * end of the file).
 */
#ifndef DAXMR_LEASE_FLUSH_PARTS_H
#define DAXMR_LEASE_FLUSH_PARTS_H

#include <string.h>

#include "block.h"
#include "extent_page.h"
#include "flush.h"
#include "flush_file.h"

#define BLOCK	     EXTENT_BLOCK
#define PIECE_BLOCKS (FLUSH_PIECE / BLOCK)

enum phase {
	AT_REST,
	COPYING,
	SYNCING
};

/* A pass over a part of the extent. */
struct flush_part {
	bool is_begun;
	bool is_lent;	       /* others have the file */
	bool has_been_touched; /* lent: what is to be stored they have changed
				*/
	uint64_t first;
	uint64_t end; /* blocks */
	uint64_t synced;
	/* Of the pass over all, which waits meanwhile. */
	enum phase phase;
	int error;
	bool has_met_others;
	bool is_full;
	uint64_t next;
	struct flush_beyond beyond;
	/* Of the part that ended last. */
	struct flush_beyond ended_beyond;
	bool ended_has_met_others;
};

struct flush {
	struct flush_part part;
	struct flush_file file;
	const struct shadow_policy *policy;
	uint64_t had;		    /* of the extent: extent_page.h */
	struct flush_beyond beyond; /* of this pass */
	struct extent extent;
	const uint8_t *shadow;
	enum phase phase;
	int error; /* the first of this pass */
	bool must_store_again;
	bool has_met_others; /* in this pass */
	bool is_full;	     /* this pass found no room */

	/* For who comes out of a fault: set_place(). */
	uint64_t next; /* the block that is looked at */
	uint64_t look_end;
	uint64_t compared;
	uint32_t found[PIECE_BLOCKS]; /* DRAM has no more blocks */
	unsigned int founds;
	unsigned int prepared;
	unsigned int stored;
	bool is_taken; /* `copy` is whole */
	uint64_t base; /* the digest that its block had */

	uint8_t *copy; /* a block each, of all flushes: nothing is kept there */
	uint8_t *theirs;
};

static inline void flush_count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static inline void flush_failed(struct flush *flush, int error)
{
	if (!flush->error)
		flush->error = error;
}

static inline bool flush_set_digest(struct flush *flush, uint64_t block,
				    uint64_t digest)
{
	return extent_set_digest(&flush->extent, block, digest);
}

static inline uint64_t flush_digest_of(const struct flush *flush,
				       uint64_t block)
{
	return atomic_load_explicit(&flush->extent.digests[block],
				    memory_order_relaxed);
}

/* So many bytes of the block were in the file once. */
static inline size_t flush_had(const struct flush *flush, uint64_t block)
{
	uint64_t at = block * BLOCK;

	if (flush->had <= at)
		return 0;
	return flush->had - at < BLOCK ? (size_t)(flush->had - at) : BLOCK;
}

static inline size_t flush_in_file(const struct flush *flush, uint64_t block)
{
	return flush_file_has(&flush->file, block * BLOCK, BLOCK);
}

/* So much of `from` into the copy, the rest of which is zeroes. */
static inline void flush_take(struct flush *flush, const uint8_t *from,
			      size_t length)
{
	if (length == BLOCK) {
		block_code()->take(flush->copy, from);
		return;
	}
	memcpy(flush->copy, from, length);
	memset(flush->copy + length, 0, BLOCK - length);
}

/* Where there is anything that could be written, of this pass. */
uint64_t flush_blocks_to_look_at(const struct flush *flush);

/* Before each piece: have others taken away what is to be stored? */
void flush_lent_look(struct flush *flush);

/* A SIGBUS while a block was looked at, or stored, in a file that is lent. */
void flush_lent_failed(struct flush *flush);

/* What was found goes into a file that others have. For fault_try(). */
void flush_lent_store(void *flush);

/* Of a pass: stores and looks. 1, or -errno: it cannot go on. */
int flush_copy_piece(struct flush *flush);

/* What was stored may not be durable, though the kernel takes it for that. */
void flush_sync_failed(struct flush *flush, int error);

/* Where the file ends now. 0, or -errno. */
int flush_look(struct flush *flush);

/*
 * The shadow's block goes into `copy`. Is there something in it that was stored
 * where the file was cut off? Not what it had before, which the merge has still
 * to take away, nor what has been dropped.
 */
bool flush_take_beyond(struct flush *flush, uint64_t block);

/*
 * What is in `copy` beyond the end of the file goes nowhere now; *digest is its
 * digest. True: nothing is left to be stored.
 */
bool flush_leave_beyond(struct flush *flush, uint64_t block, uint64_t *digest);

/* The same while others have the file. True: it has to come to the file later.
 */
bool flush_hold_beyond(struct flush *flush, uint64_t block);
/* What has grown, and what has to for what was found beyond its end. */
void flush_own_growth(struct flush *flush);

#endif
