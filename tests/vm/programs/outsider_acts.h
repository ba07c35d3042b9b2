/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an outsider does to a file whose region peers write to: opens, looks,
 * and waits for what has to come. Whatever is not as it must be ends it, with a
 * sentence. outsider.c has the stories.
 */
#ifndef DAXMR_TESTS_OUTSIDER_ACTS_H
#define DAXMR_TESTS_OUTSIDER_ACTS_H

#include <sys/types.h>

#include "outsiders.h"

struct outsider {
	const char *path; /* as the file is called now */
	char copy[64]; /* what cp copies it to; not on the file's file system */
	ino_t inode;
	enum policy policy;
	struct board *board;
};

/* Waits until peers are at work and the file has a lease. */
void outsider_begin(struct outsider *outsider);

/* The file is the program's again; what was merged may still be under way. */
void outsider_wait_leased(const struct outsider *outsider);

/* Every operation of both peers has been done once more, begun after now. */
void outsider_wait_round(const struct outsider *outsider);

/*
 * What outsiders have done before is merged, or nothing of what peers do from
 * now on is lost by it; and they have written everything since.
 */
void outsider_settle(struct outsider *outsider);

/* Each of these is timed. */
int outsider_open(struct outsider *outsider, int flags);
void outsider_cut(struct outsider *outsider, uint64_t size);

/* By cp with this option: everything that was complete before is in the copy.
 */
void outsider_copy(struct outsider *outsider, const char *option,
		   const char *to);

/* The same by an open of our own, read when it has been open until then. */
void outsider_read(struct outsider *outsider, double until);

/*
 * By cksum: a file that is ours, or in our hands for writing, stands still for
 * a round of the peers.
 */
void outsider_check_still(struct outsider *outsider);

/* How long was waited for the file; too long ends it. */
void outsider_tell_waits(void);

#endif
