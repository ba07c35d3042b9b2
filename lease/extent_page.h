/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page of an extent: what the program's engine and the keeper know in
 * common of a range of a file that has a shadow. It outlives either side.
 * Where pages stand: extent_book.h.
 *
 *   offset  what                          who writes       when
 *   0       file offset, length           program          before the keeper
 *                                                          has it, never again
 *   16      state, counters               keeper           each pass
 *   20      the DETACH that holds         both             see below
 *   72      a digest for each block       whoever copied   after the copy
 *                                         that block
 *
 * A digest is XXH3 (64 bits) with the book's own secret, of the block's bytes
 * as they were copied from one side to the other: taken of a private copy,
 * never of the shadow, in which a peer may write while we read. So it is the
 * digest of what stands in the file, as long as the file is ours. Who compares
 * shadow and file while the file is ours needs none: the bytes are there. They
 * are for the time after: when others have had the file, a block of it that
 * differs from its digest was changed by them, a block of the shadow that does
 * was changed by us, and a copy of the shadow's block that does not is the base
 * of which both were made.
 *
 * Three values are none. EXTENT_NOT_FILLED: the shadow has not got the file's
 * bytes. That is so until the program says otherwise, and nothing else tells: a
 * page of the shadow that is there all the same is zeroes that somebody
 * touched. The keeper never looks at such a block, not even to read: that would
 * make such a page. EXTENT_NO_DIGEST: filled, and nobody knows of what.
 * EXTENT_IN_CONFLICT: both sides have changed it, and nobody is to write over
 * that (policy.h).
 *
 * A DETACH that the keeper has not answered in time (it has been stopped) is to
 * be void, whatever becomes of the program: a message that says so may find no
 * room in the socket, and dies with the program. So the number of the DETACH
 * stands here from before it is sent, and is taken away once: by the keeper,
 * which lets go of the extent then, or by the program, whose extent it stays.
 *
 * The last block may go beyond the end of the file; what is beyond counts as
 * zeroes.
 *
 * The keeper trusts nothing here with more than the program's own file: it
 * checks the first two once, keeps a copy of them (struct extent), and reads
 * only digests, any value of which is harmless to itself.
 */
#ifndef DAXMR_LEASE_EXTENT_PAGE_H
#define DAXMR_LEASE_EXTENT_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define EXTENT_VERSION	   5
#define EXTENT_BLOCK	   4096U
#define EXTENT_SECRET_SIZE 192

/* In a digest's place; no block has one of these. */
#define EXTENT_NOT_FILLED  0
#define EXTENT_NO_DIGEST   1
#define EXTENT_IN_CONFLICT 2

enum extent_state {
	EXTENT_IDLE,	 /* no pass yet, or the last one was complete */
	EXTENT_FLUSHING, /* a pass is under way */
	EXTENT_FAILED,	 /* the last one was not complete; it will be tried */
};

struct extent_page {
	uint64_t offset; /* in the file; both in whole pages */
	uint64_t length;

	_Atomic uint32_t state;	   /* enum extent_state */
	_Atomic uint32_t leaving;  /* the ticket of a DETACH; 0: none holds */
	_Atomic uint64_t compared; /* blocks, all passes together */
	_Atomic uint64_t copied;
	_Atomic uint64_t failed;
	_Atomic uint64_t passes; /* complete ones */
	/*
	 * Bytes of the extent before the end of the file: as the last merge has
	 * seen it, and what others have not been allowed to take from it: where
	 * the file was cut off by them, something may be stored still.
	 */
	_Atomic uint64_t in_file;
	_Atomic uint64_t had;
};

_Static_assert(sizeof(struct extent_page) == 72, "as drawn");

struct extent_book;

/* One side's view of a page. */
struct extent {
	struct extent_page *page;
	_Atomic uint64_t *digests;
	uint64_t offset;
	uint64_t length;
	uint64_t blocks;
	const uint8_t *secret;
	struct extent_book *book;
};

/* Is the shadow's block the file's? After true its bytes can be read. */
static inline bool extent_is_filled(const struct extent *extent, uint64_t block)
{
	return atomic_load_explicit(&extent->digests[block],
				    memory_order_acquire) != EXTENT_NOT_FILLED;
}

/* The program's: the block's bytes are in the shadow. A digest stays. */
static inline void extent_set_filled(const struct extent *extent,
				     uint64_t block)
{
	uint64_t was = EXTENT_NOT_FILLED;

	atomic_compare_exchange_strong_explicit(
		&extent->digests[block], &was, EXTENT_NO_DIGEST,
		memory_order_release, memory_order_relaxed);
}

/*
 * The keeper's: what it knows of a block now. False: the program has taken the
 * block back meanwhile, and it stays so.
 */
static inline bool extent_set_digest(const struct extent *extent,
				     uint64_t block, uint64_t digest)
{
	_Atomic uint64_t *at = &extent->digests[block];
	uint64_t was = atomic_load_explicit(at, memory_order_relaxed);

	while (was != EXTENT_NOT_FILLED)
		if (atomic_compare_exchange_weak_explicit(at, &was, digest,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return true;
	return false;
}

/*
 * Nothing in it is to be flushed: by the keeper, when the program is gone, or
 * by the program where the file is mapped back and nobody knows what the keeper
 * is at.
 */
static inline void extent_clear_filled(const struct extent *extent,
				       uint64_t block)
{
	atomic_store_explicit(&extent->digests[block], EXTENT_NOT_FILLED,
			      memory_order_relaxed);
}

/* By the program, before it says so. */
static inline void extent_begin_leave(const struct extent *extent,
				      uint32_t ticket)
{
	atomic_store(&extent->page->leaving, ticket);
}

/* By either side. True: the other one has not, and will not. */
static inline bool extent_end_leave(const struct extent *extent,
				    uint32_t ticket)
{
	return atomic_compare_exchange_strong(&extent->page->leaving, &ticket,
					      0);
}

/*
 * A shadow for reading, in a way that keeps no F_SEAL_WRITE from it.
 * MAP_FAILED and errno: as open(2), mmap(2).
 */
void *extent_map_shadow(int fd, uint64_t length);

/* Of one block that nobody else writes to; always a digest. */
uint64_t extent_digest(const struct extent *extent, const void *block);

/*
 * The keeper's: so many bytes of the extent are before the end of the file.
 * is_own: it is the program that wanted it so. Returns how many blocks less
 * there are than were seen before, where others have cut them off.
 */
uint64_t extent_sees_file(const struct extent *extent, uint64_t in_file,
			  bool is_own);

/* Whether any block of [offset, end) of the file is in conflict. */
bool extent_has_conflict(const struct extent *extent, uint64_t offset,
			 uint64_t end);

#endif
