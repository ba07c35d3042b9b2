/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starts a program that is nobody's child, from within somebody else's.
 *
 * As posix_spawn(), but twice: the calling program must not see a child by
 * wait(), SIGCHLD or in its process group. So a first child, which shares the
 * memory (no page table is copied, nothing is marked copy-on-write under a
 * device's pins), has no exit signal (wait() without __WALL does not find it)
 * and never executes anything, starts the second one, which does; then it ends,
 * and init or a subreaper inherits. Where the calling program is that itself
 * (PID 1 of a container, PR_SET_CHILD_SUBREAPER) it does get a child. A thread
 * that waits with __WALL just then may be told of the first one's end.
 */
#ifndef DAXMR_LEASE_SPAWN_H
#define DAXMR_LEASE_SPAWN_H

/*
 * Executes `path` under the name `name`, without arguments, in a session of its
 * own, with no environment, all signals blocked, stdin, stdout and stderr on
 * /dev/null, fds[i] as descriptor 3 + i, and no other. Of the caller's
 * capabilities it keeps CAP_LEASE, which a program of another user than root
 * would lose by executing. 0 once it is running, or -errno.
 */
int spawn_detached(const char *path, const char *name, const int *fds,
		   int count);

#endif
