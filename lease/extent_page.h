/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page of an extent: what the program's engine and the keeper know in
 * common of a range of a file that has a shadow. One memfd per extent, so that
 * it goes over the socket with the shadow and outlives either side.
 *
 *   offset  what                          who writes       when
 *   0       header: version, block size,  program          before the keeper
 *           file offset, length, secret                    has it, never again
 *   256     state, generation, counters   keeper           each pass
 *   512     a digest for each block       whoever copied   after the copy
 *                                         that block
 *   then    a bit for each block: is it   program          when the shadow has
 *           filled?                                        the file's bytes
 *
 * Filled is what this bitmap says and nothing else: a page of the shadow that
 * is there without its bit is zeroes that somebody touched. The keeper never
 * looks at the shadow of a block whose bit is not set, not even to read: that
 * would make such a page.
 *
 * A digest is XXH3 (64 bits) with the extent's own secret, of the block's bytes
 * as they were copied from one side to the other: taken of a private copy,
 * never of the shadow, in which a peer may write while we read. So it is the
 * digest of what stands in the file, as long as the file is ours. 0 stands for
 * none, EXTENT_IN_CONFLICT for a block that both sides have changed and nobody
 * is to write over (policy.h). Who compares shadow and file while the file is
 * ours needs none: the bytes are there. They are for the time after: when
 * others have had the file, a block of it that differs from its digest was
 * changed by them, a block of the shadow that does was changed by us, and a
 * copy of the shadow's block that does not is the base of which both were made.
 *
 * The last block may go beyond the end of the file; what is beyond counts as
 * zeroes.
 *
 * The keeper trusts nothing here with more than the program's own file: it
 * checks the header once, keeps a copy of it (struct extent), and reads only
 * bits and digests, any value of which is harmless to itself.
 */
#ifndef DAXMR_LEASE_EXTENT_PAGE_H
#define DAXMR_LEASE_EXTENT_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define EXTENT_VERSION	   2
#define EXTENT_BLOCK	   4096U
#define EXTENT_SECRET_SIZE 192

/* In a digest's place; no block has it. */
#define EXTENT_IN_CONFLICT 1

enum extent_state {
	EXTENT_IDLE,	 /* no pass yet, or the last one was complete */
	EXTENT_FLUSHING, /* a pass is under way */
	EXTENT_FAILED,	 /* the last one was not complete; it will be tried */
};

struct extent_page {
	uint32_t version;
	uint32_t block_size;
	uint64_t offset; /* in the file; both in whole pages */
	uint64_t length;
	uint8_t secret[EXTENT_SECRET_SIZE]; /* random */
	char room[40];

	_Atomic uint32_t state; /* enum extent_state */
	uint32_t reserved;
	/*
	 * Passes begun, and which of them was the last that was complete and
	 * durable. What was stored before `generation` was read as g is in the
	 * file when `complete` is above g, but what is in conflict.
	 */
	_Atomic uint64_t generation;
	_Atomic uint64_t complete;
	_Atomic int64_t complete_ns; /* CLOCK_MONOTONIC; 0: none yet */
	_Atomic uint64_t compared;   /* blocks, all passes together */
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
	char more_room[176];
};

_Static_assert(sizeof(struct extent_page) == 512, "as drawn");

/* One side's view of a page. */
struct extent {
	struct extent_page *page;
	_Atomic uint64_t *digests;
	_Atomic uint64_t *filled;
	uint64_t offset;
	uint64_t length;
	uint64_t blocks;
	uint64_t size; /* of the mapping */
	uint8_t secret[EXTENT_SECRET_SIZE];
};

/*
 * A new page for [offset, offset + length) of a file, both multiples of a
 * block: nothing filled, no digests. ret_fd is close-on-exec, and the caller's.
 * By raw system calls. 0, or -errno with a sentence (reason.h).
 */
int extent_new(uint64_t offset, uint64_t length, struct extent *ret,
	       int *ret_fd);

/*
 * The page that somebody else made. It is sealed against shrinking, so that it
 * can be read without fear. 0, or with a sentence:
 *   -EPROTO  another version, or the header makes no sense
 *   others   fstat(2), fcntl(2), mmap(2)
 */
int extent_map(int fd, struct extent *ret);

void extent_unmap(struct extent *extent);

/* Is the shadow's block the file's? After true its bytes can be read. */
static inline bool extent_is_filled(const struct extent *extent, uint64_t block)
{
	return atomic_load_explicit(&extent->filled[block / 64],
				    memory_order_acquire) >>
		       block % 64 &
	       1;
}

/* The program's: the block's bytes are in the shadow. */
static inline void extent_set_filled(const struct extent *extent,
				     uint64_t block)
{
	atomic_fetch_or_explicit(&extent->filled[block / 64],
				 (uint64_t)1 << block % 64,
				 memory_order_release);
}

/* The keeper's, when the program is gone: nothing in it is to be flushed. */
static inline void extent_clear_filled(const struct extent *extent,
				       uint64_t block)
{
	atomic_fetch_and_explicit(&extent->filled[block / 64],
				  ~((uint64_t)1 << block % 64),
				  memory_order_relaxed);
}

/*
 * A shadow for reading, in a way that keeps no F_SEAL_WRITE from it.
 * MAP_FAILED and errno: as open(2), mmap(2).
 */
void *extent_map_shadow(int fd, uint64_t length);

/*
 * Of one block that nobody else writes to; never 0 or EXTENT_IN_CONFLICT.
 */
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

/* Seals a memfd against shrinking, if it is not yet. 0, or -errno. */
int extent_seal(int fd);

#endif
