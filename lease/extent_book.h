/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the pages of extents (extent_page.h) stand: many of them in one memfd,
 * a book, as a region of 64 KiB needs no more than 224 bytes.
 *
 *   offset  what                              who writes   when
 *   0       version, block size, a secret     program      first of all
 *   256     a page, of whole EXTENT_GRAINs;   program      before the keeper
 *           another, ...                                   has it
 *
 * Each side maps a book once, however many of its pages are in use. The program
 * makes books as it needs them, on a shelf, and takes those away that are
 * empty. The keeper gets a book's descriptor with each page that is laid before
 * it, and knows it again by device and inode.
 *
 * A shelf, and all that is mapped by extent_map(), belong to one thread.
 */
#ifndef DAXMR_LEASE_EXTENT_BOOK_H
#define DAXMR_LEASE_EXTENT_BOOK_H

#include "extent_page.h"

#define EXTENT_BOOK_HEAD 256U
#define EXTENT_GRAIN	 32U

struct extent_book;

/* All zero: empty. */
struct extent_shelf {
	struct extent_book *first; /* that which has room, if one has */
};

/* A page as it is handed over. */
struct extent_place {
	int fd; /* the book's; -1: no page */
	uint64_t at;
};

/*
 * A new page for [offset, offset + length) of a file, both multiples of a
 * block: nothing filled, no digests. By raw system calls. 0, or -errno with a
 * sentence (reason.h).
 */
int extent_new(struct extent_shelf *shelf, uint64_t offset, uint64_t length,
	       struct extent *ret);
/* Nobody else writes there any more. */
void extent_free(struct extent_shelf *shelf, struct extent *extent);

/* The descriptor stays the shelf's. */
struct extent_place extent_place(const struct extent *extent);

/*
 * The page that somebody else made. Its book is sealed against shrinking, so
 * that it can be read without fear. place->fd stays the caller's, and can be
 * closed. 0, or with a sentence:
 *   -EPROTO  another version, or the page makes no sense
 *   others   fstat(2), fcntl(2), mmap(2)
 */
int extent_map(const struct extent_place *place, struct extent *ret);
void extent_unmap(struct extent *extent);

/* Seals a memfd against shrinking, if it is not yet. 0, or -errno. */
int extent_seal(int fd);

#endif
