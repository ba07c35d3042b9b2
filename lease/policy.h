/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of shadow and file where both sides had them: the choices that a
 * user has. The first of each is the default.
 */
#ifndef DAXMR_LEASE_POLICY_H
#define DAXMR_LEASE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* A block (4 KiB) was changed by others and by us: merge.h. */
enum on_conflict {
	ON_CONFLICT_OURS,
	ON_CONFLICT_THEIRS,
	ON_CONFLICT_ERROR /* neither is written over the other */
};

/* Something is stored where others have cut the file off: flush.h. */
enum on_shrink {
	ON_SHRINK_EXTEND,
	ON_SHRINK_DISCARD,
	ON_SHRINK_ERROR /* to peers, by provider/window/; here as discard */
};

/* How threads are held up where a shadow takes a file's place: trap.h. */
enum uffd {
	UFFD_FULL,
	UFFD_USER /* where it cannot be had: all but what system calls do */
};

struct shadow_policy {
	enum on_conflict on_conflict;
	enum on_shrink on_shrink;
	/* The program changes the file's size right now: nobody else does. */
	bool is_size_busy;
};

/* How a leased file is looked after; one lease has them for all its regions. */
struct lease_terms {
	/* What differs in shadows goes to the file so often. 0: on demand only
	 */
	uint32_t flush_ms;
	/* Of one CPU, for the shadows of all files, in percent; 0: FLUSH_CPU */
	uint32_t flush_cpu;
	enum on_conflict on_conflict;
	enum on_shrink on_shrink;
};

#define FLUSH_CPU 10 /* percent of one CPU, where nobody says otherwise */

#endif
