/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holds up whoever touches a range of memory, by userfaultfd.
 *
 * For mappings of a memfd. A thread that touches a trapped page sleeps in its
 * page fault, also one that is in a system call, until the page is let go or
 * the trap is closed; then it goes on as if nothing had been. No handler, no
 * signal: nothing of the program runs for it.
 *
 * Both kinds of fault are trapped: of pages that the memfd has not (missing)
 * and of those that it has and the range has no entry for (minor). So it makes
 * no difference who else gives the memfd pages meanwhile (mlockall(), a child,
 * another mapping): what is ready is what trap_let_go() was called for.
 *
 * A trap is used by one thread, and must be closed by it.
 */
#ifndef DAXMR_LEASE_TRAP_H
#define DAXMR_LEASE_TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy.h"

struct trap {
	int fd; /* in the descriptor table of the thread that opened it */
};

/*
 * 0, or -errno with a sentence: -EPERM this process may not trap what happens
 * in system calls; -ENOSYS, -EOPNOTSUPP the kernel cannot (before 5.14, or
 * without CONFIG_USERFAULTFD).
 *
 * UFFD_USER: where the process may not, system calls are not held up. One that
 * touches a trapped page fails, with EFAULT or short, and may have taken from a
 * pipe or socket what it was to put there.
 */
int trap_open(enum uffd uffd, struct trap *ret);

/*
 * Traps [addr, addr + length), a mapping of a memfd, whole pages, which nobody
 * has touched yet or whose entries are dropped. -EBUSY: another userfaultfd has
 * it.
 */
int trap_set(const struct trap *trap, uintptr_t addr, size_t length);

/*
 * The same of private memory that is of no file: to be filled by trap_copy()
 * alone.
 */
int trap_set_private(const struct trap *trap, uintptr_t addr, size_t length);

/*
 * Whole pages of these bytes come to be there, and who waits for them goes on.
 * Where there is no memory for a page it is waited for. Those that the program
 * has unmapped meanwhile are left out. -errno: ioctl_userfaultfd(2).
 */
int trap_copy(const struct trap *trap, uintptr_t addr, const void *bytes,
	      size_t length);

/*
 * No userfaultfd has any of the range, a mapping of a memfd that nobody touches
 * meanwhile. False also where that cannot be found out.
 */
bool trap_is_free(uintptr_t addr, size_t length);

/* Drops the entries of a range that is set: from now on everybody waits. */
int trap_freeze(uintptr_t addr, size_t length);

/*
 * A fault that waits (1: *ret_addr), a move of a trapped range that had to be
 * told (2), or nothing within timeout_ms (0). -errno.
 */
enum trap_news {
	TRAP_NOTHING,
	TRAP_FAULT,
	TRAP_MOVED
};
int trap_read(const struct trap *trap, int timeout_ms, uintptr_t *ret_addr);

/* The memfd's pages in this range are ready: who waits goes on. */
int trap_let_go(const struct trap *trap, uintptr_t addr, size_t length);

/* No range is trapped any more, everybody goes on. */
void trap_close(struct trap *trap);

#endif
