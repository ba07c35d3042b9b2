/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that a program has locked, mapped, and closed the descriptor of, as
 * libpmemobj does with its pools: the lock stays as long as a mapping of that
 * open file description does. The kernel leases a file that is written by one
 * description alone, and hands out none for a mapping; so one that is closed
 * with a flock and mapped by then has a copy of it kept, which a lease finds
 * among the program's own (lease/description.h). It is closed when the last of
 * those mappings has gone.
 *
 *     open --> flock --> mmap --> close      copy kept
 *                                 munmap     copy closed: the lock goes
 *
 * The copy has a high number in the program's table, and goes at execve(). Who
 * closes what is not his (closefrom()) closes it as well: such a file is locked
 * as before, and cannot be leased. Not kept, with the same result: locks by
 * fcntl(F_OFD_SETLK), descriptors that got the lock through dup() or fork(),
 * and more than KEPT_LOCKS_MAX.
 *
 * A child has the copy as it has the mapping, and drops it with the mapping;
 * but where the mapping was not for it (MADV_DONTFORK) it has it to its end.
 *
 * No memory, no lock, raw system calls: from hooks, in signal handlers.
 */
#ifndef DAXMR_KEPT_LOCKS_H
#define DAXMR_KEPT_LOCKS_H

#include <stdatomic.h>
#include <stddef.h>

#define KEPT_LOCKS_MAX 64

/*
 * How many descriptors with a lock there may be, and copies. Without any, hooks
 * look at this alone.
 */
extern _Atomic unsigned int kept_locks;

/* flock() has locked the descriptor. */
void kept_locks_locked(int fd);

/*
 * Before the program closes [first, last]: what is locked and mapped there is
 * kept, and a copy of ours that is meant is not ours any more.
 */
void kept_locks_closing(unsigned int first, unsigned int last);

/* It has unmapped that, or mapped something else there. */
void kept_locks_unmapped(const void *addr, size_t length);
/* It has moved that, or a part of it, to where it is now. */
void kept_locks_moved(const void *old, size_t old_size, const void *now,
		      size_t now_size);

#endif
