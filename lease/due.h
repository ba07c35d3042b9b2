/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of many has something due first: a heap, so that neither a change nor
 * the next one costs more where there are ten thousand.
 */
#ifndef DAXMR_LEASE_DUE_H
#define DAXMR_LEASE_DUE_H

#include <stddef.h>
#include <stdint.h>

#define DUE_NEVER INT64_MAX

struct due_entry {
	int64_t at_ns;
	size_t place; /* in the heap, from 1; 0: not in it */
};

struct due {
	struct due_entry **heap; /* from 1 */
	size_t count;
	size_t room;
};

/* Room for so many entries. 0 or -ENOMEM. */
int due_reserve(struct due *due, size_t entries);

/* DUE_NEVER takes it out. There is room for it. */
void due_set(struct due *due, struct due_entry *entry, int64_t at_ns);

/* The earliest; NULL: none. */
struct due_entry *due_first(const struct due *due);

#endif
