/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DAXMR_LEASE_KEEPER_SOCKET_H
#define DAXMR_LEASE_KEEPER_SOCKET_H

/*
 * A socket at `path` that listens, for this user alone (the umask is set for
 * that), in place of one that nobody listens on any more. Or -errno with a
 * sentence on standard error: -EADDRINUSE somebody does, -EEXIST no socket.
 */
int keeper_socket_open(const char *path);

/* Removes it too, unless it is another's by now. */
void keeper_socket_close(int fd, const char *path);

#endif
