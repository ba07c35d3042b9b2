/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be seen of leases from outside: threads, keepers, descriptors. */
#ifndef DAXMR_BENCH_LEASE_MANY_SEEN_H
#define DAXMR_BENCH_LEASE_MANY_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Of a folder of /proc; ~0 where it cannot be read. */
unsigned int seen_entries(const char *path, bool only_numbers);

/* The engine's thread is the one beside the first; where its descriptors are.
 */
unsigned int seen_threads(char *table, size_t size);

/*
 * Who holds leases on files of these numbers (which are sorted), by
 * /proc/locks: how many keepers, the last one's pid, how many leases.
 */
unsigned int seen_keepers(ino_t *inodes, size_t count, unsigned long *held,
			  int *pid);

#endif
