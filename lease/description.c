/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The open file description that a lease is taken on: description.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "description.h"
#include "numbers.h"
#include "raw.h"
#include "reason.h"

#define DELETED " (deleted)"

int description_copy(int pidfd, int fd)
{
	int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return copy < 0 ? -errno : copy;
}

static int refuse_copy(int fd, int error)
{
	switch (error) {
	case -EPERM:
	case -ENOSYS:
		return reason_set(error,
				  "descriptor %d of the program cannot be had: "
				  "pidfd_getfd() is forbidden here; a seccomp "
				  "profile (of a container) has to allow it",
				  fd);
	case -EMFILE:
		return reason_set(error,
				  "descriptor %d of the program cannot be had: "
				  "no descriptor is left, raise RLIMIT_NOFILE",
				  fd);
	default:
		return reason_set(error,
				  "descriptor %d of the program cannot be had: "
				  "%s",
				  fd, strerrordesc_np(-error));
	}
}

static int look_at_descriptor(int pidfd, const struct lease_want *want,
			      struct description *description)
{
	int fd = description_copy(pidfd, want->fd);
	struct stat st;

	if (fd < 0)
		return refuse_copy(want->fd, fd);
	if (raw_stat(fd, &st)) {
		raw_close(fd);
		return reason_set(-EBADF, "descriptor %d cannot be looked at",
				  want->fd);
	}
	description->fd = fd;
	description->dev = st.st_dev;
	description->ino = st.st_ino;
	if (description->type == LEASE_TYPE_AUTO)
		description->type = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY
					    ? F_RDLCK
					    : F_WRLCK;
	return 0;
}

static int look_at_mapping(const struct lease_want *want,
			   struct description *description)
{
	struct mapping *mapping = &description->mapping;
	int r = mapping_at(want->addr, mapping, description->name);
	bool writes;

	if (r)
		return reason_set(r,
				  r == -EFAULT
					  ? "nothing is mapped at 0x%" PRIxPTR
					  : "what is mapped at 0x%" PRIxPTR
					    " cannot be seen (/proc)",
				  want->addr);
	if (!mapping->ino || !mapping->is_shared)
		return reason_set(-EINVAL,
				  "at 0x%" PRIxPTR
				  " there is no shared mapping of a file",
				  want->addr);
	writes = mapping_may_write(want->addr);
	if (description->type == LEASE_TYPE_AUTO)
		description->type = writes ? F_WRLCK : F_RDLCK;
	if (description->type == F_RDLCK && writes)
		return reason_set(-EBADF,
				  "%s is mapped from a descriptor that was "
				  "open for writing, the kernel grants no read "
				  "lease beside that",
				  description->name);
	description->dev = mapping->dev;
	description->ino = mapping->ino;
	return 0;
}

int description_look(int pidfd, const struct lease_want *want,
		     struct description *ret)
{
	ret->fd = -1;
	ret->is_fresh = false;
	ret->type = want->type;
	return want->fd >= 0 ? look_at_descriptor(pidfd, want, ret)
			     : look_at_mapping(want, ret);
}

/* The link's own permissions are the description's mode (proc(5)). */
static bool is_suitable(int dir, int fd, const struct description *description)
{
	bool is_writer = description->type == F_WRLCK;
	struct stat st;
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	if (raw_stat_at(dir, name, &st, 0) || st.st_dev != description->dev ||
	    st.st_ino != description->ino ||
	    raw_stat_at(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	return st.st_mode & S_IRUSR && !!(st.st_mode & S_IWUSR) == is_writer;
}

static bool is_file(int fd, const struct description *description)
{
	struct stat st;

	return !raw_stat(fd, &st) && st.st_dev == description->dev &&
	       st.st_ino == description->ino;
}

int description_find(int pidfd, struct description *description)
{
	struct numbers numbers;
	int r = 0, fd;

	if (numbers_open(&numbers, AT_FDCWD, "/proc/self/fd"))
		return 0;
	while (!r && numbers_next(&numbers, &fd) > 0) {
		int copy;

		if (!is_suitable(numbers.fd, fd, description))
			continue;
		copy = description_copy(pidfd, fd);
		if (copy < 0 && copy != -EBADF) {
			r = refuse_copy(fd, copy);
		} else if (copy >= 0 && is_file(copy, description)) {
			description->fd = copy;
			r = 1;
		} else if (copy >= 0) {
			raw_close(copy); /* another has its number by now */
		}
	}
	numbers_close(&numbers);
	return r;
}

/* O_PATH on this very file. -ENOENT: the path leads elsewhere, or nowhere. */
static int find_path(const char *path, int flags,
		     const struct description *description)
{
	int fd = raw_open(AT_FDCWD, path, O_PATH | flags);
	struct statfs fs;
	int r = -ENOENT;

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -errno : -ENOENT;
	if (is_file(fd, description))
		return fd;
	/* Its mappings show the inode of the file below. */
	if (!fstatfs(fd, &fs) && fs.f_type == OVERLAYFS_SUPER_MAGIC)
		r = -EOPNOTSUPP;
	raw_close(fd);
	return r;
}

static int refuse_path(const struct description *description, int error)
{
	size_t length = strlen(description->name), tail = strlen(DELETED);
	bool is_deleted = length > tail &&
			  !strcmp(description->name + length - tail, DELETED);

	switch (error) {
	case -ENOENT:
		return reason_set(error,
				  "%s: the mapped file %s, and no descriptor "
				  "of the program is open on it %s: keep the "
				  "descriptor open, or run with "
				  "CAP_CHECKPOINT_RESTORE",
				  description->name,
				  is_deleted ? "has been deleted"
					     : "is not what has this path now",
				  description->type == F_WRLCK
					  ? "for reading and writing"
					  : "for reading only");
	case -EOPNOTSUPP:
		return reason_set_kind(
			REASON_FILE_SYSTEM, error,
			"%s is on overlayfs, where a lease guards "
			"nothing; ext4 and xfs will do",
			description->name);
	case -EWOULDBLOCK:
		return reason_set_kind(
			REASON_BUSY, -EBUSY,
			"%s has a lease of another program, which "
			"was asked to give it back: try again",
			description->name);
	default:
		return reason_set(error,
				  "%s cannot be opened again: %s; keep the "
				  "descriptor open that it is mapped from",
				  description->name, strerrordesc_np(-error));
	}
}

int description_open_again(struct description *description)
{
	int mode = description->type == F_WRLCK ? O_RDWR : O_RDONLY;
	char link[MAPPING_LINK_MAX];
	int path, fd;

	path = find_path(description->name, O_NOFOLLOW, description);
	if (path == -ENOENT) {
		mapping_link(&description->mapping, link);
		path = find_path(link, 0, description);
	}
	if (path < 0)
		return refuse_path(description, path);
	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", path);
	fd = raw_open(AT_FDCWD, link, mode | O_NONBLOCK);
	raw_close(path);
	if (fd < 0)
		return refuse_path(description, -errno);
	description->fd = fd;
	description->is_fresh = true;
	return 0;
}

int description_open(int pidfd, struct description *description)
{
	int saved_errno = errno, r = 0;

	if (description->fd < 0)
		r = description_find(pidfd, description);
	if (!r && description->fd < 0)
		r = description_open_again(description);
	errno = saved_errno;
	return r < 0 ? r : 0;
}
