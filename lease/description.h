/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The open file description that a lease is taken on, in the descriptor table
 * of the engine's thread.
 *
 * A descriptor of the program is copied (pidfd_getfd): the description is the
 * program's own, with its flock, and what the program does through it breaks no
 * lease. Of a mapping nothing tells whose description it is. A descriptor of
 * the program that is open on the same file, in the mode that is needed, is
 * taken; where there is none the file is opened anew, and the mappings have to
 * follow (sole.h).
 *
 * It is opened by the path that the mapping shows, with O_PATH first, which
 * opens nothing: only what is this very inode is then opened through
 * /proc/thread-self/fd. A path that is gone or means another file by now leaves
 * /proc/self/map_files, for who has CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
 *
 * Descriptors of the program are those of its first thread: threads with a
 * table of their own (unshare(CLONE_FILES)) are not seen.
 */
#ifndef DAXMR_LEASE_DESCRIPTION_H
#define DAXMR_LEASE_DESCRIPTION_H

#include "lease.h"
#include "mapping.h"

struct description {
	dev_t dev;
	ino_t ino;
	int type;      /* F_WRLCK or F_RDLCK, AUTO is decided */
	int fd;	       /* -1: not there yet */
	bool is_fresh; /* opened by us: no mapping of the program is on it */
	struct mapping mapping;
	char name[MAPPING_NAME_MAX]; /* of the mapping */
};

/*
 * Which file is wanted, and for what. Opens nothing; for want->fd >= 0 the
 * description is there then. pidfd: of this process. 0, or with a sentence:
 *   -EBADF       no such descriptor; a read lease is wanted through a mapping
 *                that may write
 *   -EPERM, -ENOSYS  pidfd_getfd() is forbidden (a seccomp profile)
 *   -EFAULT      nothing is mapped there
 *   -EINVAL      it is no file, or a private mapping of one
 */
int description_look(int pidfd, const struct lease_want *want,
		     struct description *ret);

/*
 * Gets the description, where only the file is known yet. 0, or with a
 * sentence:
 *   -ENOENT      no path leads to the file any more, and no descriptor of the
 *                program is open on it
 *   -EBUSY       another program has a lease on it
 *   -EOPNOTSUPP  a mapping of overlayfs
 *   others       open(2): -EACCES, -EPERM, -EROFS, -EMFILE, ...
 */
int description_open(int pidfd, struct description *description);

/* One of the program's descriptors: 1 there it is, 0 none will do, -errno. */
int description_find(int pidfd, struct description *description);

/* By its name, or its mapping's link: as description_open(). */
int description_open_again(struct description *description);

/* The program's descriptor, in our table; or -errno. */
int description_copy(int pidfd, int fd);

#endif
