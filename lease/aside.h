/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread of daxmr's own that is no thread of the program: while it stands
 * aside a program with one thread beside it has one (staged_is_alone()). There
 * is one such thread in a process at most (provider/window/).
 *
 * It sleeps meanwhile. What it does first when it has stepped in again is a
 * call that the engine answers (lease_size()): whatever the engine does for a
 * program that is alone is over by then, and the next time the thread is seen.
 * Until that answer it maps nothing and touches no memory of the program.
 */
#ifndef DAXMR_LEASE_ASIDE_H
#define DAXMR_LEASE_ASIDE_H

#include <stdbool.h>
#include <sys/types.h>

/* By the thread itself. */
void aside_step_out(void);
void aside_step_in(void);

/* In a forked child, which has no such thread. */
void aside_forget(void);

/* Is this thread aside? */
bool aside_is(pid_t tid);

#endif
