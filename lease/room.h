/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a file system has room for so many bytes more of a file, and whether
 * the quotas of the file's user, group and project leave it. Asked before
 * anything is allocated: ext4 gives as many blocks as a quota leaves, and then
 * says no.
 */
#ifndef DAXMR_LEASE_ROOM_H
#define DAXMR_LEASE_ROOM_H

#include <stdint.h>

#define ROOM_TEXT_MAX 128

/*
 * 0, or -ENOSPC, -EDQUOT, as a write would say (of a project's quota xfs says
 * -ENOSPC), and text: what is missing. What this process may not ask for counts
 * as room: the quota of another user, without CAP_SYS_ADMIN. What the file
 * system needs for itself (trees of extents) is not counted. Waits for nothing,
 * a frozen file system either.
 */
int room_look(int fd, uint64_t bytes, char text[ROOM_TEXT_MAX]);

#endif
