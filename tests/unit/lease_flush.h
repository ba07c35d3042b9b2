/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the flush share: one file, one extent in it, its shadow and
 * its page.
 */
#ifndef DAXMR_TESTS_LEASE_FLUSH_H
#define DAXMR_TESTS_LEASE_FLUSH_H

#include "extent_book.h"
#include "flush.h"
#include "lease_file.h"

#define BLOCKS 600UL
#define SIZE   (BLOCKS * PAGE)
/* The extent does not begin where the file does. */
#define OFFSET (3 * PAGE)

extern struct file file;
extern uint8_t *bytes; /* of the file, the extent's */
extern uint8_t *shadow;
extern int shadow_fd;
extern struct extent extent; /* the program's view */
extern struct extent_shelf shelf;
extern struct flush *flush;

/* For cmocka: the file is all zeroes, no block is filled. */
int flush_set_up(void **state);
int flush_tear_down(void **state);

/* Blocks of the shadow that are filled, with bytes that are never 0. */
void fill(uint64_t from, uint64_t end);

/* One pass to its end; each piece is seen to keep within its bounds. */
int pass(void);

uint64_t copied(void);

/* File, shadow and digests are the same in these blocks. */
void check_same(uint64_t from, uint64_t end);

#endif
