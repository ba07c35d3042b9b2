/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that sleep at a process-shared futex in a view while shadow and file
 * change places: who wakes at the address later would not find them.
 *
 *   sleeper                        swap
 *   looks where the address leads
 *                                  the other takes the view's place, trapped
 *   looks at the word: waits,      wakes who sleeps where the view led before
 *     and begins anew              fills (or maps back), lets go
 *   or sleeps                      wakes once more
 *
 * So whoever sleeps where the view led before is woken, once the view leads
 * elsewhere, and begins anew. One that was just going to sleep is found the
 * second time, or when the engine looks later (staged_wake_late()). Of those
 * who inherit a priority nobody but the owner can wake any: where one sleeps
 * the swap is refused.
 */
#ifndef DAXMR_LEASE_SWAP_SLEEPERS_H
#define DAXMR_LEASE_SWAP_SLEEPERS_H

#include "swap.h"

enum swap_side {
	SWAP_FILE,
	SWAP_SHADOW
};

/* Can all who sleep there be woken? 0, -EOPNOTSUPP with a sentence. */
int swap_sleepers_check(const struct swap *swap);

/* Wakes those who sleep there since it showed that. */
void swap_sleepers_wake(const struct swap *swap, enum swap_side side);

#endif
