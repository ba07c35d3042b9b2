/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which files this process has leased, for hooks that ask at any time.
 *
 * One writer, the engine's thread. Readers take no lock and never wait, in
 * signal handlers too: chains of slots by index, a sequence that is odd while
 * they are changed. Who reads while that happens reads again; who is unlucky
 * for long (the writer was preempted) gets "yes", and the engine, which is
 * asked then, knows better.
 */
#ifndef DAXMR_LEASE_OWN_SET_H
#define DAXMR_LEASE_OWN_SET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "board.h"

#define OWN_SET_HEADS 65536U

/* All zero: empty. What was never used takes no memory. */
struct own_set {
	_Atomic uint32_t sequence;
	_Atomic uint32_t heads[OWN_SET_HEADS]; /* slot + 1, 0 none */
	struct own_set_file {
		_Atomic uint64_t dev;
		_Atomic uint64_t ino;
		_Atomic uint32_t next; /* slot + 1, 0 none */
	} files[BOARD_SLOTS];
};

/* A slot is in the set at most once. */
void own_set_add(struct own_set *set, uint32_t slot, dev_t dev, ino_t ino);
void own_set_remove(struct own_set *set, uint32_t slot);

/* For the writer: its slot, or BOARD_SLOTS. */
uint32_t own_set_slot(const struct own_set *set, dev_t dev, ino_t ino);

bool own_set_has(const struct own_set *set, dev_t dev, ino_t ino);

#endif
