/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store's file.
 *
 *   superblock | index of window 0, 1, ... | data of window 0 | of window 1 ...
 *
 * A window is what one client may touch. Its data are pairs of slots, a pair
 * for each block; its index has a word of 8 bytes for each block:
 *
 *   upper half  sequence: how often the block was committed; 0: never
 *   lower half  checksum of the block's bytes (STORE_BLOCK of them)
 *
 * The committed bytes are in slot `sequence & 1`, the next ones are written to
 * the other. So nobody ever writes over what is committed, and a commit is one
 * store of an aligned word: a moment ends before it or after it, never in it.
 * There is nothing to recover, after whatever end.
 *
 * A file may be shorter than its windows together: then the last ones have
 * fewer blocks or none, until it has grown.
 */
#ifndef STORE_H
#define STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_BLOCK 65536U
#define STORE_PAGE  4096U

typedef _Atomic uint64_t index_word;

static inline uint64_t index_make(uint32_t sequence, uint32_t checksum)
{
	return (uint64_t)sequence << 32 | checksum;
}

static inline uint32_t index_sequence(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

/* Where a version of a block lies in its window's data. */
static inline uint64_t slot_offset(uint32_t block, uint32_t sequence)
{
	return (2 * (uint64_t)block + (sequence & 1)) * STORE_BLOCK;
}

uint32_t block_checksum(const void *block);

struct store {
	const char *path; /* NULL: in memory */
	int fd;
	char *map; /* as far as the file may ever reach */
	uint64_t map_size;
	uint64_t size;	  /* of the file, when it was last looked at */
	int watch;	  /* inotify; -1: nobody changes it */
	bool has_changed; /* since then, or so it may be */
	uint32_t windows;
	uint32_t blocks_max; /* of a window */
	uint64_t index_size; /* of a window, whole pages */
	uint64_t data_at;    /* in the file */
};

/* All: 0, or -errno and a sentence on standard error. */
int store_format(const char *path, uint32_t windows, uint64_t window_size);
int store_open(struct store *store, const char *path);
int store_open_memory(struct store *store, uint32_t windows,
		      uint64_t window_size);
void store_close(struct store *store);

/*
 * Somebody has set the file's size since store_look(), or written to it: what
 * is known of it may be wrong. So it is at first: nobody saw what was done to
 * the file while it was not served.
 */
bool store_has_changed(struct store *store);
/* What size the file has now. */
void store_look(struct store *store);

/* How many blocks of a window lie in the file. */
uint32_t store_blocks(const struct store *store, uint32_t window);
index_word *store_index(const struct store *store, uint32_t window);
char *store_data(const struct store *store, uint32_t window);

/*
 * Of a block's version, by its word: its bytes are in the file, and are those
 * that the word was made for.
 */
bool store_is_whole(const struct store *store, uint32_t window, uint32_t block,
		    uint64_t word);
/*
 * It has been cut off, and the file has perhaps grown back since: then it is
 * zeroes from there on, and so is the last byte of this block and of each
 * behind. That spares us to read all of them.
 */
bool store_was_cut_off(const struct store *store, uint32_t window,
		       uint32_t block, uint64_t word);

/*
 * Of a file that nobody serves, or a copy: are the bytes of all blocks those
 * that were committed? Prints what it finds; -EILSEQ: some are not,
 * or are cut off; -EIO: an index cannot be read.
 */
int store_check(const char *path);

#endif
