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
 * None is left. -EAGAIN: the kernel had taken it. 0: it was ours until now, but
 * of a write lease whose time was over after an opener that only reads: the
 * kernel has made a read lease of it, and that is what has been dropped.
 */
int setlease_drop(int fd);

/* F_GETLEASE: `type` says that it is ours, and that nobody breaks it. */
int setlease_get(int fd);

/*
 * What /proc shows of a descriptor of this thread, kept open between looks at
 * the same. It goes by the number: that the file has been closed and another
 * has its number now is no harm.
 */
struct setlease_info {
	int of; /* -1: of none */
	int number;
};
#define SETLEASE_INFO_NONE                                                     \
	{                                                                      \
		.of = -1                                                       \
	}
void setlease_info_close(struct setlease_info *info);

/*
 * 0: ours and quiet. 1: ours, and being broken. -EAGAIN: not ours (or a read
 * lease only is left). A break whose time is over counts as not ours: the next
 * opener takes it away. Without info nothing is kept.
 */
int setlease_look(int fd, int type, struct setlease_info *info);

#endif
