/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that sleep at a process-shared futex in a view while shadow and file
 * change places: who wakes at the address later would not find them.
 *
 *   sleeper                        swap
 *   looks where the address leads
 *                                  the other takes the view's place, trapped
 *   looks at the word: waits,      in: wakes who sleeps where the view led
 *     and begins anew                before, fills, lets go, looks later
 *                                    (staged_wake_late())
 *   or sleeps                      out: maps back, wakes, lets go, wakes
 *
 * So whoever sleeps where the view led before is woken, once the view leads
 * elsewhere, and begins anew. One that was just going to sleep is found the
 * second time, or when the engine looks later; so is one that waits for a list
 * of futexes, which is not read while views are trapped: it may lie in one, and
 * the engine would wait for itself. Where a swap in fails half way, who has
 * gone to sleep in the shadow is woken when nothing is trapped any more.
 *
 * Of those who inherit a priority nobody but the owner can wake any: where one
 * sleeps the swap is refused. It may come between the look before the swap and
 * the trap, so that is asked twice.
 */
#ifndef DAXMR_LEASE_SWAP_SLEEPERS_H
#define DAXMR_LEASE_SWAP_SLEEPERS_H

#include "sleepers.h"
#include "swap.h"

enum swap_side {
	SWAP_FILE,
	SWAP_SHADOW
};

/*
 * Can all who sleep there be woken? 0, -EOPNOTSUPP with a sentence. Views may
 * be trapped.
 */
int swap_sleepers_check(const struct swap *swap);

/* The same while they are trapped, and wakes who sleeps there since it showed
 * that. */
int swap_sleepers_check_and_wake(const struct swap *swap, enum swap_side side);

/* Wakes those who sleep there since it showed that. */
void swap_sleepers_wake(const struct swap *swap, enum swap_side side,
			enum sleepers_memory memory);

/* It can not: -EOPNOTSUPP with a sentence. */
int swap_sleepers_refuse(const struct sleeper *sleeper);

#endif
