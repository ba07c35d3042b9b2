/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that was started outside of the program, by one that listens
 * (keeper_listen.h), lives where that one lives: the program's limits, its
 * system call filters, its cgroup and its PID namespace don't reach it.
 *
 * The connection is the keeper's socket from then on. Both ends have to be of
 * one user: files that are leased are handed over, with all that may be done
 * through them.
 */
#ifndef DAXMR_LEASE_KEEPER_CONNECT_H
#define DAXMR_LEASE_KEEPER_CONNECT_H

#include <sys/types.h>

/* Of a path that a socket can be bound to, without its end. */
#define KEEPER_LISTENER_MAX 107

/*
 * Asks who listens on `path` for a keeper of this process and waits until it is
 * ready. Returns its socket, and its pid, 0 where it cannot be seen from here.
 * Or -errno with a sentence:
 *   -ENOENT, -ECONNREFUSED  nobody listens there
 *   -EACCES                 it is another user's
 *   -EPROTO                 it is of another version, or no keeper at all
 *   -ETIMEDOUT, -EPIPE      it did not answer
 */
int keeper_connect(const char *path, int pidfd, int board_fd, int timeout_ms,
		   pid_t *ret_pid);

/*
 * Only looks who listens there: 0 and its pid, or -errno with a sentence, as
 * above.
 */
int keeper_find_listener(const char *path, int timeout_ms, pid_t *ret_pid);

#endif
