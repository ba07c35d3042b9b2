/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the client does with its window.
 *
 * The ledger has, for each block, the word (store.h) that is known to be
 * committed: read from the server's index, or answered. After a connection was
 * lost the index has to have the ledger's words, but for commits that were
 * never answered: there it may have either.
 */
#ifndef WORK_H
#define WORK_H

#include "link.h"
#include "store.h"

#define WORK_NO_LIMIT UINT32_MAX

struct batch {
	uint32_t id;
	uint32_t round;
	uint32_t first;
	uint32_t count;
	uint64_t words[WIRE_RUN];
};

struct work {
	struct link link;
	struct link_target target;
	uint32_t limit; /* blocks, or WORK_NO_LIMIT: the window's size */
	uint32_t commit_every;
	uint64_t rounds;
	uint64_t seed;
	uint32_t at_least; /* verify: the sequence that each block has */
	uint32_t reconnect_s;
	bool is_checked; /* write: verify afterwards */
	bool is_verbose;
	bool is_bar; /* standard error is a terminal */

	char *buffers;	 /* depth blocks */
	uint64_t *index; /* as read */
	uint64_t *ledger;
	uint32_t blocks_max;
	bool knows; /* the ledger has been read once */

	/* Commits that are not answered, oldest first. */
	struct batch batches[WIRE_COMMITS];
	uint32_t batch_first, batch_count;
	uint32_t next_id, next_block;
	uint64_t round;

	struct work_result {
		uint64_t bytes;
		uint64_t commits;
		uint64_t refused; /* blocks beyond the end */
		uint64_t reconnects;
		uint64_t lost;	/* committed, and not in the index */
		uint64_t torn;	/* other bytes than were committed */
		uint64_t empty; /* never committed */
		double seconds;
	} result;
};

/* Set by a signal: what is under way is finished, and no more. */
extern volatile int work_is_over;

/* All: 0, or -errno and a sentence. */
int work_open(struct work *work);
void work_close(struct work *work);

/* rounds times all blocks; is_filled: with bytes that can be verified. */
int work_write(struct work *work, bool is_filled);
/* Likewise; is_compared: with what was written with this seed. */
int work_read(struct work *work, bool is_compared, uint64_t rounds);

/* For the pieces of this module. */
uint32_t work_blocks(const struct work *work);
int work_read_index(struct work *work);
int work_reconnect(struct work *work, int error);
void work_fill(const struct work *work, uint32_t block, uint32_t sequence,
	       void *buffer);
void work_progress(const struct work *work, const char *what, uint64_t round,
		   uint32_t block);
double work_now(void);

#endif
