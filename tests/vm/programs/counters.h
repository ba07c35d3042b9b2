/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file of counters, and who counts in it: what was acknowledged of it, and
 * whether a picture of the file has that.
 *
 * Slots of nine equal 8-byte words lie across blocks and pages. A peer counts
 * up in every other one by RDMA writes, a thread of the program by stores in
 * those between. Each slot's number is first begun, then written, then done: a
 * picture of the file must have in each word what was done or what was begun.
 */
#ifndef DAXMR_TESTS_COUNTERS_H
#define DAXMR_TESTS_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ends.h"

#define COUNTERS_SIZE	(1UL << 20)
#define COUNTERS_STRIDE 4136UL
#define COUNTERS_WORDS	9
#define COUNTERS_LENGTH (COUNTERS_WORDS * 8)
#define COUNTERS_SLOTS	252U
#define COUNTERS_EACH	(COUNTERS_SLOTS / 2) /* the peer's, the program's */

/* In memory that outlives the program: all that is known of the slots. */
struct counters {
	_Atomic uint64_t begun[COUNTERS_SLOTS];
	_Atomic uint64_t done[COUNTERS_SLOTS];
	_Atomic uint64_t writes; /* of the peer, that are done */
	_Atomic uint64_t stores; /* of the program */
};

struct counters_marks {
	uint64_t least[COUNTERS_SLOTS];
	uint64_t most[COUNTERS_SLOTS];
};

/*
 * What lies between the slots tells where it belongs; the second half is a hole
 * and has zeroes there.
 */
void counters_make(const char *path);

/* What is done now and must be there from now on; what was begun till now. */
void counters_mark_done(struct counters *counters,
			struct counters_marks *marks);
void counters_mark_begun(struct counters *counters,
			 struct counters_marks *marks);

/* The file has all that is to be there. */
bool counters_has_least(const unsigned char *bytes,
			const struct counters_marks *marks);
/* And nothing else. False with a sentence on stdout. */
bool counters_check(const unsigned char *bytes,
		    const struct counters_marks *marks);
/* To count on from what is in the file. */
void counters_take(struct counters *counters, const unsigned char *bytes);

/* Opens, reads, closes. */
void counters_read(const char *path, unsigned char *bytes);

/*
 * Counts by RDMA writes, many on their way at a time, until *stop or until one
 * fails. When it returns none is on its way any more; the QP is in error, and
 * `done` is all that was acknowledged.
 */
void counters_write(struct counters *counters, struct end *peer,
		    uint64_t address, uint32_t rkey, atomic_int *stop);
/* Counts by stores, until *stop. */
void counters_store(struct counters *counters, void *file, atomic_int *stop);
/*
 * Counts once in each of the program's slots by `copy`, while nobody stores.
 * The marks then say that this is done, and nothing new of the others' slots.
 */
typedef void counters_copy_fn(void *to, const void *from, size_t length);
void counters_copy(struct counters *counters, void *file,
		   counters_copy_fn *copy, struct counters_marks *marks);

#endif
