/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What has to be so before a lease is asked for, and what the kernel's no
 * means.
 *
 * F_SETLEASE itself says EACCES, EAGAIN or EINVAL for a dozen reasons. What
 * can be found out before is, so that each refusal is a sentence that says
 * what to do; what cannot (the file is opened a moment later) comes as the
 * kernel's answer to grant_explain().
 *
 * The file system is judged by fstatfs() of the very descriptor: on overlayfs
 * the lease is granted on the merged file and guards nothing of the upper one,
 * though STATX_ATTR_DAX is set there.
 */
#ifndef DAXMR_LEASE_GRANT_H
#define DAXMR_LEASE_GRANT_H

#include "openers.h"

/*
 * type is F_WRLCK or F_RDLCK. 0, or with a sentence (reason.h):
 *   -EINVAL      not a regular file; leases are switched off on this machine
 *   -EOPNOTSUPP  neither ext4 nor xfs; /proc is of another PID namespace
 *   -EACCES      neither the file's owner nor CAP_LEASE
 *   -EBADF       F_WRLCK: not open for reading and writing; F_RDLCK: open for
 *                writing; not open at all
 */
int grant_check(int fd, int type);

/*
 * What F_SETLEASE's answer means for this file, as a sentence that names who
 * has it open where that is so. Returns `error`, for -EAGAIN -EBUSY. Looks into
 * /proc only then. `except` as in openers_find().
 */
int grant_explain(int fd, int type, int error, pid_t except);

/*
 * Before mappings are made anew from this description, so that it becomes the
 * only one: 0 where nobody has the file by another, or -EBUSY with a sentence.
 * Mappings of this process are not counted.
 */
int grant_check_openers(int fd, pid_t except);

/*
 * After the lease was granted: what the kernel does not see as another opener,
 * a process with the same open file description or a mapping of it (a child
 * forked earlier). This process is not looked at: with a write lease there is
 * one description, which is the one that is leased. 0, or -EBUSY with a
 * sentence that names them.
 */
int grant_check_shared(int fd, pid_t except);

#endif
