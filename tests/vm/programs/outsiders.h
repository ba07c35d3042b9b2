/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_outsiders: what lies where in its file, who writes it, and what must be
 * there. Shared by the program whose peers write (rdma_outsiders.c) and the
 * process that does to the file what others do (outsider.c).
 *
 * A block is 4 KiB; every word (8 bytes) starts as a number of its own, base().
 * Two peers have half of each slot, a block, to themselves: a message that they
 * write and read, a word that they add to, a word that they swap. A peer's
 * operation n has kind n % KINDS and slot n / KINDS % SLOTS, and leaves
 * base() + round in its words, so that two counters of a peer, operations
 * begun and operations done, tell what each of its words may be. Outsiders
 * write base() + (stamp << STAMP) and nothing that peers could.
 *
 *   PEERS    nobody else
 *   SHARED   outsiders write between the peers' words
 *   BOTH     outsiders write all of the block, while peers do
 *   TAIL     beyond where outsiders cut the file off
 *   THEIRS   outsiders alone, not a slot
 *   IDLE     nobody
 */
#ifndef DAXMR_TESTS_OUTSIDERS_H
#define DAXMR_TESTS_OUTSIDERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK	    4096UL
#define BLOCK_WORDS 512U
#define BLOCKS	    1024U
#define SIZE	    (BLOCKS * BLOCK)
/* What is left where it is cut off; in a block of nobody's. */
#define CUT_BLOCK 960U
#define CUT	  (CUT_BLOCK * BLOCK + 1000)

#define PEERS_SLOTS  24U
#define SHARED_SLOTS 24U
#define BOTH_SLOTS   4U
#define TAIL_SLOTS   4U
#define SLOTS	     (PEERS_SLOTS + SHARED_SLOTS + BOTH_SLOTS + TAIL_SLOTS)
#define THEIRS	     16U

/* Words of a peer's half of a slot. */
#define HALF_WORDS    256U
#define MESSAGE_WORDS 192U
#define ADD_WORD      192U
#define SWAP_WORD     193U
#define GAP_WORD      194U

#define STAMP 40

enum role {
	PEERS,
	SHARED,
	BOTH,
	TAIL,
	THEIRS_ALONE,
	IDLE
};

enum kind {
	WRITE,
	ADD,
	SWAP,
	READ,
	KINDS
};

/* Whose bytes stay where peers and outsiders have both written. */
enum policy {
	OURS,
	THEIRS_WIN,
	ERROR
};

/* Between the processes. */
struct board {
	_Atomic uint64_t begun[2]; /* operations of each peer */
	_Atomic uint64_t done[2];
	atomic_uint sync_asked; /* msync is asked for, and how often it was */
	atomic_uint sync_done;
	atomic_bool is_over; /* the outsider has no wish left */
	/* The outsider's, who reads them himself but when it is over. */
	uint64_t size;	    /* of the file */
	uint64_t stamp;	    /* the last one given */
	uint64_t both;	    /* the stamp in the blocks of both; 0 none yet */
	uint64_t merged;    /* blocks that it has changed */
	uint64_t conflicts; /* at least, of these: peers have, too */
	uint64_t theirs[THEIRS];
	bool is_punched[THEIRS];
	bool was_cut;
	bool is_deleted;
};

/* A look at the file or the shadow: which operations can be in it. */
struct look {
	const struct board *board;
	enum policy policy;
	uint64_t done[2]; /* before it */
	uint64_t begun[2];
	bool is_shadow;
	bool is_settled; /* all operations up to `done` came after the merge */
};

static inline uint64_t base(uint64_t word)
{
	return (word + 1) * 0x9e3779b97f4a7c15ULL;
}

static inline uint64_t stamped(uint64_t word, uint64_t stamp)
{
	return base(word) + (stamp << STAMP);
}

/* on_conflict in each story of outsider.c. */
enum policy policy_of(const char *story);

uint32_t slot_block(uint32_t slot);
enum role slot_role(uint32_t slot);
uint32_t theirs_block(uint32_t number);

/* How often a peer's first `operations` did `kind` in the slot. */
uint64_t rounds(uint64_t operations, enum kind kind, uint32_t slot);

/* Every word of it, with a sentence where one is not what it must be. */
bool look_is_right(const struct look *look, const char *what,
		   const uint64_t *words, size_t size);

#endif
