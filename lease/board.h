/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The board: what the keeper says of each leased file, in memory that it
 * shares with the program's engine (one memfd of BOARD_SLOTS slots, sparse; a
 * lease's id is its slot).
 *
 * The keeper alone writes. The engine looks, and lays it before the next
 * keeper if this one dies: that one goes on in the state that stands there. A
 * slot is written `since_ns` and `must_merge` first, then `state`, then
 * `generation`: a keeper that dies in between leaves an older time to a state,
 * which shortens a deadline, never a state that was not reached.
 */
#ifndef DAXMR_LEASE_BOARD_H
#define DAXMR_LEASE_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

#define BOARD_SLOTS 65536U

struct board_slot {
	_Atomic uint32_t state; /* enum recall_state */
	_Atomic uint32_t must_merge;
	_Atomic int64_t since_ns;    /* CLOCK_MONOTONIC */
	_Atomic uint64_t generation; /* reports so far */
	char room[40];
};

_Static_assert(sizeof(struct board_slot) == 64, "one cache line");

#define BOARD_SIZE (BOARD_SLOTS * sizeof(struct board_slot))

#endif
