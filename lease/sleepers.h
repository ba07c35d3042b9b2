/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads of this process that sleep at a process-shared futex.
 *
 * The kernel finds those who sleep there by the file and the place in it that
 * the address shows when they go to sleep. When the address comes to show
 * another file, who wakes at it does not find them any more. The kernel does
 * not say who sleeps at what, but each thread's system call and its arguments
 * can be seen (/proc/self/task/TID/syscall).
 *
 * Not seen are those whom FUTEX_REQUEUE has moved to another address, and who
 * waits by io_uring. A futex that is private to the process is found by its
 * address, whatever is there.
 */
#ifndef DAXMR_LEASE_SLEEPERS_H
#define DAXMR_LEASE_SLEEPERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sleeper {
	pid_t tid;
	uintptr_t addr;
	/* It inherits or hands on a priority: nobody but the owner wakes it. */
	bool is_pi;
};

/*
 * May this thread wait for itself where it touches the program's memory, as it
 * holds a trap (trap.h) there? Which views are trapped is not enough to know: a
 * trap goes with what the program moves.
 */
enum sleepers_memory {
	SLEEPERS_FREE,
	/* Who sleeps at a list of futexes (futex_waitv()) is left out: the list
	 * would have to be read. None of them inherits a priority. */
	SLEEPERS_TRAPPED
};

/*
 * Each of them, in no order; one that sleeps at several addresses comes several
 * times. Not 0 from fn ends it: that. -errno: they cannot be seen. Allocates
 * nothing, and touches no memory of the program but those lists.
 */
typedef int sleeper_fn(const struct sleeper *sleeper, void *arg);
int sleepers_each(enum sleepers_memory memory, sleeper_fn *fn, void *arg);

/*
 * Wakes all who went to sleep when their address showed this place of the file.
 * They find that nobody has, which futex(2) allows, look at the word and go to
 * sleep again.
 */
void sleepers_wake(int fd, uint64_t offset);

#endif
