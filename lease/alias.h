/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A second mapping of shadows, which can be written whatever the file allows:
 * lease_alias().
 *
 * The engine thread's alone.
 */
#ifndef DAXMR_LEASE_ALIAS_H
#define DAXMR_LEASE_ALIAS_H

#include <stdint.h>

#include "lease_table.h"

/* As lease_alias(). */
int alias_map(const struct lease *lease, uint64_t offset, uint64_t length,
	      uintptr_t addr);

#endif
