/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One open file description on a file and no other, as a write lease needs it.
 *
 * The others that this process still has through mappings whose descriptors
 * were closed (perftest does that, and libpmem) go when those are mapped from
 * the one (remap.h). Not while anybody has it open besides, which mapping anew
 * could not help; and not where a lock would go with them: flock() and OFD
 * locks belong to the description, and one that only a mapping keeps alive
 * would be dropped without a word. (A flock taken by a process that has ended,
 * in a PID namespace of its own, is in no list that can be read there.)
 */
#ifndef DAXMR_LEASE_SOLE_H
#define DAXMR_LEASE_SOLE_H

#include <sys/types.h>

/*
 * Makes fd's description the only one, as far as this process can. `except` as
 * in openers_find(). 0, or with a sentence, and nothing has been changed:
 *   -EBUSY  others have it open or mapped, this program has it open by another
 *           description too, or holds a lock by one that is only mapped
 *   those of remap_file()
 */
int sole_make(int fd, pid_t except);

#endif
