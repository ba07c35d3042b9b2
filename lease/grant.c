/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a lease can be had: grant.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "grant.h"
#include "heap.h"
#include "mapping.h"
#include "privilege.h"
#include "raw.h"
#include "reason.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define LEASES_ENABLE "/proc/sys/fs/leases-enable"

static bool leases_are_off(void)
{
	int fd = raw_open(AT_FDCWD, LEASES_ENABLE, O_RDONLY);
	char digit = '1';

	if (fd >= 0) {
		if (raw_read(fd, &digit, 1) != 1)
			digit = '1';
		raw_close(fd);
	}
	return digit == '0';
}

static int check_mode(int fd, int type, const char *name)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return reason_set(-errno, "%s is not open", name);
	if (flags & O_PATH)
		return reason_set(-EBADF, "%s is open with O_PATH only", name);
	if (type == F_WRLCK && (flags & O_ACCMODE) != O_RDWR)
		return reason_set(-EBADF,
				  "%s is not open for reading and writing, as "
				  "a write lease needs it: open it with O_RDWR",
				  name);
	if (type == F_RDLCK && (flags & O_ACCMODE) != O_RDONLY)
		return reason_set(-EBADF,
				  "%s is open for writing, the kernel grants "
				  "no read lease on that: open it with "
				  "O_RDONLY",
				  name);
	return 0;
}

/* Memory that nobody can open: in no folder. */
static bool is_memory(const char *name)
{
	return !strncmp(name, "/memfd:", 7) || !strncmp(name, "/SYSV", 5) ||
	       !strncmp(name, "/anon_hugepage", 14);
}

static bool has_leases(const struct statfs *fs)
{
	return fs->f_type == EXT4_SUPER_MAGIC ||
	       fs->f_type == XFS_SUPER_MAGIC || fs->f_type == TMPFS_MAGIC ||
	       fs->f_type == HUGETLBFS_MAGIC;
}

static bool is_huge(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC;
}

static int check_file(int fd, const char *name)
{
	struct statfs fs;
	struct stat st;

	if (raw_stat(fd, &st) || fstatfs(fd, &fs))
		return reason_set(-errno, "%s cannot be looked at: %s", name,
				  strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode))
		return reason_set(-EINVAL,
				  "%s is not a regular file, only those have "
				  "leases",
				  name);
	if ((fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC) &&
	    is_memory(name))
		return reason_set_kind(
			REASON_FILE_SYSTEM, -EOPNOTSUPP,
			"%s is memory without a name that others "
			"could open it by: a lease guards nothing",
			name);
	if (!has_leases(&fs))
		return reason_set_kind(
			REASON_FILE_SYSTEM, -EOPNOTSUPP,
			"%s is on a file system (type 0x%lx) where a "
			"lease guards nothing; ext4, xfs, tmpfs and "
			"hugetlbfs will do, not below overlayfs, FUSE or NFS",
			name, (unsigned long)fs.f_type);
	if (st.st_uid != geteuid() && !privilege_has(CAP_LEASE))
		return reason_set_kind(
			REASON_NOT_OWNER, -EACCES,
			"%s belongs to user %u, and the kernel gives a lease "
			"to a file's owner alone: run the program as that "
			"user, or give it CAP_LEASE",
			name, st.st_uid);
	return 0;
}

/* What that says of other processes, and of our own, has other numbers. */
static int check_proc(void)
{
	char link[16];
	long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self", link,
			 sizeof(link) - 1);
	pid_t there;

	if (n <= 0)
		return 0;
	link[n] = '\0';
	there = (pid_t)strtol(link, NULL, 10);
	if (there == getpid())
		return 0;
	return reason_set_kind(
		REASON_UNSEEN, -EOPNOTSUPP,
		"/proc is that of another PID namespace (this process is %d "
		"there, and %d in its own), so who has a file open cannot be "
		"told: mount one of its own (unshare --mount-proc, or mount -t "
		"proc proc /proc)",
		there, getpid());
}

int grant_check(int fd, int type)
{
	int saved_errno = errno, r;
	char name[REASON_FILE_MAX];

	reason_file(fd, name, sizeof(name));
	r = check_mode(fd, type, name);
	if (!r)
		r = check_file(fd, name);
	if (!r)
		r = check_proc();
	if (!r && leases_are_off())
		r = reason_set_kind(REASON_LEASES_OFF, -EINVAL,
				    "leases are switched off: write 1 to "
				    "%s",
				    LEASES_ENABLE);
	errno = saved_errno;
	return r;
}

/*
 * Mappings keep a description open without a descriptor: a private one, which
 * cannot be made anew without its changes, or for a read lease one that writes.
 */
static uintptr_t find_mapping(int fd, int type)
{
	struct mapping_state *states = NULL;
	uintptr_t found = 0;
	size_t count = 0;
	struct stat st;

	if (raw_stat(fd, &st) ||
	    mapping_all(st.st_dev, st.st_ino, &states, &count))
		return 0;
	for (size_t i = 0; !found && i < count; i++)
		if (type == F_RDLCK ? mapping_has(&states[i], "mw")
				    : !states[i].mapping.is_shared)
			found = states[i].mapping.start;
	heap_put(states);
	return found;
}

static int name_openers(const struct openers *openers, const char *name)
{
	char names[400], unseen[96] = "";

	if (openers->unseen)
		snprintf(unseen, sizeof(unseen),
			 "; %u processes may not be looked at",
			 openers->unseen);
	return reason_set_kind(
		REASON_BUSY, -EBUSY,
		"%s is open or mapped elsewhere, and a lease needs "
		"it for the program alone: it has to be closed by "
		"%s%s",
		name, openers_names(openers, names, sizeof(names)), unseen);
}

static int refuse_unseen(int error, const char *name)
{
	return reason_set_kind(
		REASON_UNSEEN, error,
		"%s: who else has it open cannot be seen (/proc: "
		"%s): see to it that /proc can be read and "
		"descriptors are left",
		name, strerrordesc_np(-error));
}

int grant_check_openers(int fd, pid_t except)
{
	char name[REASON_FILE_MAX];
	struct openers openers;
	int r = openers_find(fd, except, OPENERS_ALL, &openers);

	reason_file(fd, name, sizeof(name));
	if (r)
		return refuse_unseen(r, name);
	return openers.found ? name_openers(&openers, name) : 0;
}

static int explain_busy(int fd, int type, pid_t except, const char *name)
{
	const char *others =
		type == F_RDLCK ? "is open for writing" : "is open";
	struct openers openers;
	int r = openers_find(fd, except, OPENERS_ALL, &openers);
	uintptr_t addr;

	if (r) {
		refuse_unseen(r, name);
		return -EBUSY;
	}
	if (openers.found)
		return name_openers(&openers, name);
	addr = find_mapping(fd, type);
	if (addr)
		return reason_set_kind(
			REASON_BUSY, -EBUSY,
			"%s is mapped by this program at 0x%" PRIxPTR
			" (%s), from a descriptor that is closed by "
			"now: unmap it first",
			name, addr,
			type == F_RDLCK ? "open for writing" : "MAP_PRIVATE");
	return reason_set_kind(
		REASON_BUSY, -EBUSY,
		"%s %s elsewhere, not in a process that /proc shows "
		"here (%u may not be looked at): it may be one of "
		"another PID namespace, a loop device, an NFS "
		"server: close it there; or it was closed "
		"meanwhile: try again",
		name, others, openers.unseen);
}

int grant_explain(int fd, int type, int error, pid_t except)
{
	char name[REASON_FILE_MAX];

	reason_file(fd, name, sizeof(name));
	switch (error) {
	case -EAGAIN:
		return explain_busy(fd, type, except, name);
	case -EACCES:
		return reason_set_kind(
			REASON_NOT_OWNER, error,
			"%s: the kernel gives a lease only to the "
			"file's owner, or to who has CAP_LEASE "
			"outside of user namespaces: run the program "
			"as one of them",
			name);
	case -EINVAL:
		if (is_huge(fd) && !leases_are_off())
			return reason_set_kind(
				REASON_FILE_SYSTEM, -EOPNOTSUPP,
				"%s is on hugetlbfs, which has no "
				"leases on this kernel (on Linux 6.1 "
				"it has): register it as it is, "
				"strategy auto or passthrough",
				name);
		return reason_set_kind(
			REASON_LEASES_OFF, error,
			"%s: the kernel gives no lease on this file "
			"(is %s 1?)",
			name, LEASES_ENABLE);
	case -EMFILE:
		return reason_set(error,
				  "%s: daxmr-keeper has no descriptor left for "
				  "it: raise the hard limit (ulimit -Hn)",
				  name);
	default:
		return reason_set(error, "%s: no lease: %s", name,
				  strerrordesc_np(-error));
	}
}

int grant_check_shared(int fd, pid_t except)
{
	char name[REASON_FILE_MAX], names[400];
	struct openers openers;
	int r;

	reason_file(fd, name, sizeof(name));
	r = openers_find(fd, except, OPENERS_OTHERS, &openers);
	if (r)
		return refuse_unseen(r, name);
	if (!openers.found)
		return 0;
	return reason_set_kind(
		REASON_BUSY, -EBUSY,
		"%s has to be closed and unmapped first by %s, which "
		"would write to it unseen",
		name, openers_names(&openers, names, sizeof(names)));
}
