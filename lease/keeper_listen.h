/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keepers for programs that ask: keeper_connect.h is the other end.
 *
 *   program                    listener                      keeper
 *      |  connects                |                             |
 *      |  HELLO, pidfd, board --> |  (of the same user)         |
 *      |                          |  executes itself with the   |
 *      |                          |  connection --------------> |
 *      |  <------------------------------------------ READY     |
 *
 * From there on a keeper is one as keeper_proto.h has it, and the listener has
 * nothing of it: neither its descriptors nor, but for PID 1, its process.
 */
#ifndef DAXMR_LEASE_KEEPER_LISTEN_H
#define DAXMR_LEASE_KEEPER_LISTEN_H

/*
 * Makes a socket at `path`, for this user alone, in place of one that nobody
 * listens on any more; serves until SIGTERM, SIGINT or SIGHUP and removes it.
 * Keepers live on. 0, or -errno with a sentence on standard error.
 */
int keeper_listen(const char *path);

#endif
