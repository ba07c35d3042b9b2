/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that are kept though their mapping goes, and read afterwards: a pipe
 * holds a reference to each.
 */
#ifndef DAXMR_LEASE_PRIVATE_HOLD_H
#define DAXMR_LEASE_PRIVATE_HOLD_H

#include <stddef.h>
#include <stdint.h>

#define HOLD_MAX (1UL << 20)

struct hold {
	int ends[2];
	size_t size; /* bytes that it can keep, in whole pages: HOLD_MAX, or
			what an ordinary user is given */
};

/* 0, or -errno: pipe2(2). */
int hold_open(struct hold *ret);
void hold_close(struct hold *hold);

/*
 * Keeps the pages of [addr, addr + length), at most its size; what it kept
 * before is dropped. 0, or -errno: vmsplice(2).
 */
int hold_keep(const struct hold *hold, uintptr_t addr, size_t length);

/* Their bytes as they are now; keeps nothing any more. 0, or -errno. */
int hold_take(const struct hold *hold, char *ret, size_t length);

#endif
