/* SPDX-License-Identifier: BSD-2-Clause */
/* What must be in the file: outsiders.h. */
#include <stdio.h>
#include <string.h>

#include "outsiders.h"

struct place {
	enum role role;
	uint32_t slot; /* or the number of THEIRS_ALONE */
};

enum policy policy_of(const char *story)
{
	return !strcmp(story, "theirs")	 ? THEIRS_WIN
	       : !strcmp(story, "error") ? ERROR
					 : OURS;
}

uint32_t slot_block(uint32_t slot)
{
	if (slot < PEERS_SLOTS)
		return 32 * slot + 1;
	slot -= PEERS_SLOTS;
	if (slot < SHARED_SLOTS)
		return 32 * slot + 3;
	slot -= SHARED_SLOTS;
	if (slot < BOTH_SLOTS)
		return 8 * slot + 5;
	slot -= BOTH_SLOTS;
	/* The last one is the last block of the file. */
	return BLOCKS - 1 - 7 * slot;
}

enum role slot_role(uint32_t slot)
{
	if (slot < PEERS_SLOTS)
		return PEERS;
	if (slot < PEERS_SLOTS + SHARED_SLOTS)
		return SHARED;
	return slot < SLOTS - TAIL_SLOTS ? BOTH : TAIL;
}

uint32_t theirs_block(uint32_t number)
{
	return 8 * (BOTH_SLOTS + number) + 5;
}

static struct place place_of(uint32_t block)
{
	static struct place places[BLOCKS];
	static bool is_known;

	if (!is_known) {
		for (uint32_t i = 0; i < BLOCKS; i++)
			places[i].role = IDLE;
		for (uint32_t i = 0; i < SLOTS; i++)
			places[slot_block(i)] = (struct place){slot_role(i), i};
		for (uint32_t i = 0; i < THEIRS; i++)
			places[theirs_block(i)] =
				(struct place){THEIRS_ALONE, i};
		is_known = true;
	}
	return places[block];
}

uint64_t rounds(uint64_t operations, enum kind kind, uint32_t slot)
{
	uint64_t of_kind = (operations + KINDS - 1 - kind) / KINDS;

	return (of_kind + SLOTS - 1 - slot) / SLOTS;
}

/* A word that a peer writes, by an operation of this kind. */
static bool is_peers(const struct look *look, uint32_t slot, uint32_t word,
		     uint64_t by)
{
	uint32_t peer = word / HALF_WORDS, at = word % HALF_WORDS;
	enum kind kind = at == ADD_WORD ? ADD : at == SWAP_WORD ? SWAP : WRITE;

	return by >= rounds(look->done[peer], kind, slot) &&
	       by <= rounds(look->begun[peer], kind, slot);
}

/* A stamp that has been given. */
static bool is_stamp(const struct look *look, uint64_t by)
{
	return by >> STAMP <= look->board->stamp &&
	       !(by & ((1ULL << STAMP) - 1));
}

static bool is_in_both(const struct look *look, uint32_t slot, uint32_t word,
		       uint64_t by)
{
	const struct board *board = look->board;
	bool is_gap = word % HALF_WORDS >= GAP_WORD;
	bool is_theirs = by == board->both << STAMP;

	if (!board->both || look->policy == OURS ||
	    (look->policy == ERROR && look->is_shadow))
		return is_gap ? !by : is_peers(look, slot, word, by);
	if (is_gap || look->policy == ERROR)
		return is_theirs;
	/* What peers wrote before the merge is lost, and they write again. */
	return is_peers(look, slot, word, by) ||
	       (!look->is_settled && by < 1ULL << STAMP) ||
	       (!look->is_settled && is_theirs);
}

static bool is_right(const struct look *look, struct place place, uint32_t word,
		     uint64_t value, uint64_t by)
{
	const struct board *board = look->board;
	bool is_gap = word % HALF_WORDS >= GAP_WORD;

	switch (place.role) {
	case PEERS:
		return is_gap ? !by : is_peers(look, place.slot, word, by);
	case SHARED:
		return is_gap ? is_stamp(look, by)
			      : is_peers(look, place.slot, word, by);
	case BOTH:
		return is_in_both(look, place.slot, word, by);
	case TAIL:
		return is_gap ? !by || (board->was_cut && !value)
			      : is_peers(look, place.slot, word, by);
	case THEIRS_ALONE:
		return board->is_punched[place.slot]
			       ? !value
			       : by == board->theirs[place.slot] << STAMP;
	default:
		return !by;
	}
}

bool look_is_right(const struct look *look, const char *what,
		   const uint64_t *words, size_t size)
{
	for (uint64_t i = 0; i < size / sizeof(*words); i++) {
		struct place place = {.role = IDLE};
		uint64_t block = i / BLOCK_WORDS, by = words[i] - base(i);
		bool is_cut = look->board->was_cut && i >= CUT / sizeof(*words);

		if (block < BLOCKS)
			place = place_of((uint32_t)block);
		if (place.role == IDLE &&
		    (is_cut || block >= BLOCKS ? !words[i] : !by))
			continue;
		if (place.role != IDLE &&
		    is_right(look, place, i % BLOCK_WORDS, words[i], by))
			continue;
		printf("not ok: %s: block %lu (role %u, number %u), word %lu "
		       "is %#lx, its base %+ld\n"
		       "    peers' operations done before %lu %lu, begun "
		       "after %lu %lu; stamps %lu\n",
		       what, (unsigned long)block, (unsigned int)place.role,
		       place.slot, (unsigned long)(i % BLOCK_WORDS),
		       (unsigned long)words[i], (long)by,
		       (unsigned long)look->done[0],
		       (unsigned long)look->done[1],
		       (unsigned long)look->begun[0],
		       (unsigned long)look->begun[1],
		       (unsigned long)look->board->stamp);
		return false;
	}
	return true;
}
