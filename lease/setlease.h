/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's leases, as the keeper uses them: on a dup of the program's open
 * file description, to which the lease belongs.
 */
#ifndef DAXMR_LEASE_SETLEASE_H
#define DAXMR_LEASE_SETLEASE_H

#include <stdbool.h>

/*
 * Takes the lease (F_WRLCK, F_RDLCK), breaks to be told to this thread by
 * `signal` with the descriptor's number. What F_UNLCK resets is set again
 * first. Where the description has this lease already only who is told changes.
 * 0 or -errno: -EAGAIN somebody else has the file open.
 */
int setlease_take(int fd, int type, int signal);

/*
 * 0: it was ours until now. -EAGAIN: the kernel had taken it, or made a read
 * lease of it. None is left either way.
 */
int setlease_drop(int fd, int type);

/* The same for a write lease that was seen to be ours a moment ago. */
int setlease_drop_looked_at(int fd);

/* F_GETLEASE: `type` says that it is ours, and that nobody breaks it. */
int setlease_get(int fd);

/*
 * 0: ours and quiet. 1: ours, and being broken. -EAGAIN: not ours (or a read
 * lease only is left). A break whose time is over counts as not ours: the next
 * opener takes it away.
 */
int setlease_look(int fd, int type);

#endif
