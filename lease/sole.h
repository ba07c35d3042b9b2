/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One open file description on a file and no other, as a write lease needs it.
 *
 * The others that this process still has through mappings whose descriptors
 * were closed (perftest does that, and libpmem) go when those are mapped from
 * the one (remap.h). Not while anybody has it open besides, which mapping anew
 * could not help; and not where a lock would go with them: flock() and OFD
 * locks belong to the description, and one that only a mapping keeps alive
 * would be dropped without a word. (The preload keeps a descriptor of those
 * that flock() has locked: provider/kept_locks.h. A flock taken by a process
 * that has ended, in a PID namespace of its own, is in no list that can be read
 * there.)
 */
#ifndef DAXMR_LEASE_SOLE_H
#define DAXMR_LEASE_SOLE_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Makes fd's description the only one, as far as this process can. `except` as
 * in openers_find(). 0, or with a sentence, and nothing has been changed:
 *   -EBUSY  others have it open or mapped, this program has it open by another
 *           description too, or holds a lock by one that is only mapped
 *   those of remap_file()
 */
int sole_make(int fd, pid_t except);

/*
 * The same for a description that has just been opened here, and that one
 * mapping alone is likely to need: only what lies at addr is made anew. Whether
 * that was enough the kernel says when the lease is asked for.
 *
 * What the description has no locks of its own for is asked by trying: a flock
 * that nobody holds is taken and given back, where all locks of the machine
 * would have to be read otherwise, each lease among them. Who opens the file
 * within these microseconds and wants the same without waiting hears
 * EWOULDBLOCK; he would have been in the lease's way.
 */
int sole_make_at(int fd, pid_t except, uintptr_t addr);

#endif
