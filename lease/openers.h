/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which processes have a file open or mapped, as far as /proc shows it.
 *
 * Seen: descriptors (/proc/PID/fd) and mappings (/proc/PID/maps) of every
 * process of this PID namespace that we may look at, compared by device and
 * inode. Not seen: other users' processes without the privilege (counted),
 * other PID namespaces, threads with a descriptor table of their own,
 * descriptors on their way through a socket, the kernel's own users (loop
 * devices, nfsd, swap), files registered with an io_uring.
 *
 * Costs some tens of microseconds per process on the machine; nothing is
 * opened but files of /proc, so no lease breaks.
 */
#ifndef DAXMR_LEASE_OPENERS_H
#define DAXMR_LEASE_OPENERS_H

#include <sys/types.h>

#define OPENERS_MAX 8

#define OPENERS_NUMBERS 4

struct opener {
	pid_t pid;
	unsigned int fds;
	unsigned int maps;
	unsigned int numbers[OPENERS_NUMBERS]; /* the first of this process */
	char command[17]; /* as /proc/PID/comm, without unprintable bytes */
};

struct openers {
	unsigned int found;  /* processes; the first OPENERS_MAX are listed */
	unsigned int unseen; /* processes that we may not look at */
	int same; /* this process's number for fd's description, or -1 */
	struct opener list[OPENERS_MAX];
};

enum openers_whom {
	OPENERS_ALL,
	OPENERS_OTHERS /* this process is not looked at */
};

/*
 * Others than fd's own open file description in this process: in this process
 * only other descriptions count, and no mappings. Where kcmp(2) is forbidden
 * each of its descriptors counts. `except` (or 0) is not looked at. 0, or
 * -errno where /proc cannot be read (*ret untouched).
 */
int openers_find(int fd, pid_t except, enum openers_whom whom,
		 struct openers *ret);

/* "12 (cat), 13 (my-db, mapped), this program (descriptor 7 beside 5)":
 * into text, always terminated; text. */
char *openers_names(const struct openers *openers, char *text, size_t size);

#endif
