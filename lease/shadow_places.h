/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where in the address space of this process shadows are mapped, or have been:
 * for hooks, to which most memory is none. A look is some loads; "yes" means
 * that the mappings themselves have to be looked at.
 *
 * Each place is added before a shadow comes to lie there (or, where the kernel
 * has chosen the address, before anybody knows it), and stays until there are
 * no shadows at all. A few ranges that only grow: those that touch are one, and
 * where there are too many the nearest takes the gap between with it. So a
 * reader needs no lock and sees each range too large at worst.
 *
 * One writer, the engine's thread; readers at any time, in signal handlers too.
 */
#ifndef DAXMR_LEASE_SHADOW_PLACES_H
#define DAXMR_LEASE_SHADOW_PLACES_H

#include <stdbool.h>
#include <stdint.h>

#define SHADOW_PLACES 16U

/* May a shadow have a byte of [start, end)? */
bool shadow_places_have(uintptr_t start, uintptr_t end);

void shadow_places_add(uintptr_t start, uintptr_t end);

/* There is no shadow. */
void shadow_places_clear(void);

#endif
