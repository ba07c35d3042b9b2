/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that a program has locked, mapped, and closed the descriptor of, as
 * libpmemobj does with its pools: the lock stays as long as a mapping of that
 * open file description does. The kernel leases a file that is written by one
 * description alone, and hands out none for a mapping; so of a descriptor with
 * a flock, from which something is mapped by then, a copy is kept, which a
 * lease finds among the program's own (lease/description.h). It is closed when
 * that mapping has gone.
 *
 *     open --> flock --> mmap --> close      copy kept
 *                                 munmap     copy closed: the lock goes
 *
 * No lock may stay longer than it would without us. So what counts is what was
 * mapped from this very descriptor, after it was locked: not another mapping of
 * the file, and of several the first.
 *
 * The copy has a high number in the program's table, and goes at execve(). Who
 * closes what is not his (closefrom()) closes it as well: such a file is locked
 * as before, and cannot be leased. Not kept, with the same result: locks by
 * fcntl(F_OFD_SETLK), descriptors that got the lock through dup() or fork() or
 * after they were mapped, and more than KEPT_LOCKS_MAX.
 *
 * A child has the copy as it has the mapping, and drops it with the mapping, or
 * at once where the mapping was not for it (MADV_DONTFORK).
 *
 * No memory, no lock, raw system calls: from hooks, in signal handlers.
 */
#ifndef DAXMR_KEPT_LOCKS_H
#define DAXMR_KEPT_LOCKS_H

#include <stdatomic.h>
#include <stddef.h>

#define KEPT_LOCKS_MAX 64

/* Descriptors with a lock, and copies. Without any, hooks look at this alone.
 */
extern _Atomic unsigned int kept_locks;

/* flock() has locked the descriptor. */
void kept_locks_locked(int fd);
/* From this descriptor something has been mapped, shared. */
void kept_locks_mapped(int fd, const void *addr, size_t length);

/*
 * Before the program closes [first, last]: what is locked and mapped there is
 * kept, and a copy of ours that is meant is not ours any more.
 */
void kept_locks_closing(unsigned int first, unsigned int last);

/* It has unmapped that, or mapped something else there. */
void kept_locks_unmapped(const void *addr, size_t length);
/* It has moved that to where it is now. */
void kept_locks_moved(const void *old, size_t old_size, const void *now,
		      size_t now_size);

#endif
