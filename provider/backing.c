/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What kind of file is behind a mapping.
 *
 * All that a mapping tells is a device, an inode and a name, and the name may
 * be gone, lead to another file by now, or into another mount namespace. So a
 * file is looked at only where (device, inode) agree, found, in this order,
 *
 *  - by its name;
 *  - through /proc/self/map_files (needs CAP_CHECKPOINT_RESTORE);
 *  - among the program's own descriptors (deleted files).
 *
 * The latter two are asked of the calling thread: a process whose first thread
 * has ended, as pthread_exit() in main() ends it, shows nothing of that sort
 * any more (but in map_files, which threads have none of).
 *
 * O_PATH descriptors break no lease and need no permission on the file, and no
 * server of a network file system is asked (AT_STATX_DONT_SYNC).
 * Whether a file is DAX is what statx() says of it (STATX_ATTR_DAX, Linux 5.8):
 * not its mount options, since -o dax=inode leaves that to each file.
 *
 * memfds, shared anonymous and System V memory live on a mount inside the
 * kernel that no path leads to. Its device number is learned once, from a memfd
 * of our own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "leases.h"
#include "memory.h"
#include "shadows.h"

#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX 0x00200000
#endif

static const struct {
	unsigned long magic;
	const char *name;
} fs_names[] = {
	{0x58465342, "xfs"},
	{EXT4_SUPER_MAGIC, "ext4"},
	{TMPFS_MAGIC, "tmpfs"},
	{HUGETLBFS_MAGIC, "hugetlbfs"},
	{OVERLAYFS_SUPER_MAGIC, "overlay"},
	{BTRFS_SUPER_MAGIC, "btrfs"},
	{NFS_SUPER_MAGIC, "nfs"},
	{FUSE_SUPER_MAGIC, "fuse"},
	{V9FS_MAGIC, "9p"},
};

static bool starts(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static void name_fs(unsigned long magic, struct memory_file *file)
{
	size_t i;

	for (i = 0; i < sizeof(fs_names) / sizeof(fs_names[0]); i++) {
		if (fs_names[i].magic == magic) {
			strcpy(file->fs, fs_names[i].name);
			return;
		}
	}
	snprintf(file->fs, sizeof(file->fs), "fs 0x%lx", magic);
}

/* Copies what fits, control characters as \\ooo: a name is one line of text. */
static void copy_text(char *to, size_t size, const char *from)
{
	char *end = to + size;

	for (; *from && to < end - 4; from++) {
		unsigned char c = (unsigned char)*from;

		if (c < 0x20 || c == 0x7f)
			to += snprintf(to, 5, "\\%03o", c);
		else
			*to++ = (char)c;
	}
	*to = '\0';
}

/* Long paths keep their beginning and their end. */
static void copy_name(const char *name, struct memory_file *file)
{
	size_t length = strlen(name), half = sizeof(file->name) / 2;

	if (length < sizeof(file->name) - 4) {
		copy_text(file->name, sizeof(file->name), name);
		return;
	}
	copy_text(file->name, half, name);
	strcat(file->name, "...");
	copy_text(file->name + strlen(file->name), half - 4,
		  name + length - (half - 12));
}

static bool same_file(const struct vma *vma, const struct statx *stx)
{
	return stx->stx_ino == vma->ino &&
	       stx->stx_dev_major == vma->dev_major &&
	       stx->stx_dev_minor == vma->dev_minor;
}

static bool is_devdax(const struct statx *stx)
{
	char link[64], target[128];
	const char *base;
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/subsystem",
		 stx->stx_rdev_major, stx->stx_rdev_minor);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	base = strrchr(target, '/');
	return base && strcmp(base + 1, "dax") == 0;
}

static enum memory_kind regular_kind(const struct vma *vma, unsigned long magic,
				     const struct statx *stx)
{
	if (stx->stx_attributes & STATX_ATTR_DAX)
		return vma->shared ? MEMORY_FSDAX : MEMORY_FSDAX_PRIVATE;
	if (magic == TMPFS_MAGIC)
		return MEMORY_TMPFS;
	if (magic == HUGETLBFS_MAGIC)
		return MEMORY_HUGETLB;
	return vma->shared ? MEMORY_PAGECACHE : MEMORY_PAGECACHE_PRIVATE;
}

/* Looks at the file an O_PATH descriptor names; false: not the mapping's. */
static bool look_fd(int fd, const struct vma *vma, struct memory_file *file)
{
	struct statfs fs;
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS,
		  &stx) < 0 ||
	    !same_file(vma, &stx))
		return false;
	if (S_ISCHR(stx.stx_mode)) {
		file->kind = is_devdax(&stx) ? MEMORY_DEVDAX : MEMORY_DEVICE;
		return true;
	}
	if (!S_ISREG(stx.stx_mode) || fstatfs(fd, &fs) < 0)
		return false;
	name_fs((unsigned long)fs.f_type, file);
	file->size = stx.stx_size;
	file->kind = regular_kind(vma, (unsigned long)fs.f_type, &stx);
	return true;
}

static bool look_path(const char *path, const struct vma *vma,
		      struct memory_file *file)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	bool found;

	if (fd < 0)
		return false;
	found = look_fd(fd, vma, file);
	close(fd);
	return found;
}

static bool look_own_fds(const struct vma *vma, struct memory_file *file)
{
	DIR *dir = opendir("/proc/thread-self/fd");
	struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			found = look_fd(atoi(entry->d_name), vma, file);
	closedir(dir);
	return found;
}

static bool look_map_files(const struct vma *vma, struct memory_file *file)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)vma->start, (unsigned long)vma->end);
	return look_path(path, vma, file);
}

/*
 * tmpfs and hugetlbfs by their device number: what is mapped, closed and
 * unlinked (the usual way with shm_open()) needs no search then.
 */
static bool look_mounts(const struct vma *vma, struct memory_file *file)
{
	unsigned int major, minor;
	FILE *mounts = NULL;
	char *line = NULL, *type;
	bool found = false;
	size_t size = 0;

	if (vma->dev_major == 0) /* no file system on a block device */
		mounts = fopen("/proc/thread-self/mountinfo", "re");
	while (mounts && !found && getline(&line, &size, mounts) > 0) {
		type = strstr(line, " - ");
		if (!type ||
		    sscanf(line, "%*u %*u %u:%u", &major, &minor) != 2 ||
		    major != vma->dev_major || minor != vma->dev_minor)
			continue;
		if (starts(type, " - tmpfs "))
			file->kind = MEMORY_TMPFS;
		else if (starts(type, " - hugetlbfs "))
			file->kind = MEMORY_HUGETLB;
		else
			break;
		found = true;
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return found;
}

/* The device number of the kernel's own tmpfs mount, 0 if it has none. */
static dev_t shmem_dev(void)
{
	static _Atomic dev_t known;
	dev_t dev = atomic_load_explicit(&known, memory_order_relaxed);
	struct stat st;
	int fd;

	if (dev)
		return dev;
	fd = memfd_create("daxmr", MFD_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0)
		dev = st.st_dev;
	close(fd);
	atomic_store_explicit(&known, dev, memory_order_relaxed);
	return dev;
}

/* A memfd of ours, in the place of a file (shadows.h)? */
static bool is_shadow(const struct vma *vma)
{
	struct lease_engine *engine;

	if (starts(vma->name, "/memfd:" SHADOW_NAME) && leases_have_another())
		return true;
	if (!atomic_load_explicit(&shadows_count, memory_order_acquire))
		return false;
	engine = leases_engine();
	return engine &&
	       shadows_has_memfd(engine,
				 makedev(vma->dev_major, vma->dev_minor),
				 vma->ino);
}

/* Memory on the mounts inside the kernel; false: on no such mount. */
static bool look_internal(const struct vma *vma, struct memory_file *file)
{
	bool is_memfd = starts(vma->name, "/memfd:");

	/* cheap first: no other mapping of a user's has these names */
	if (!is_memfd && !starts(vma->name, "/dev/zero (deleted)") &&
	    !starts(vma->name, "/SYSV") && !starts(vma->name, "/anon_hugepage"))
		return false;
	if (makedev(vma->dev_major, vma->dev_minor) == shmem_dev()) {
		if (is_memfd)
			file->kind =
				is_shadow(vma) ? MEMORY_SHADOW : MEMORY_MEMFD;
		else if (starts(vma->name, "/SYSV"))
			file->kind = MEMORY_TMPFS;
		else
			file->kind = MEMORY_ANONYMOUS;
		return true;
	}
	/* its hugetlbfs mounts: MAP_HUGETLB, MFD_HUGETLB, SHM_HUGETLB */
	if (vma->dev_major == 0 && !starts(vma->name, "/dev/zero")) {
		file->kind = MEMORY_HUGETLB;
		return true;
	}
	return false;
}

void backing_look(const struct vma *vma, struct memory_file *ret)
{
	struct memory_file file;

	memset(&file, 0, sizeof(file));
	file.dev_major = vma->dev_major;
	file.dev_minor = vma->dev_minor;
	file.ino = vma->ino;
	copy_name(vma->name, &file);
	if (!look_internal(vma, &file) && !look_path(vma->name, vma, &file) &&
	    !look_mounts(vma, &file) && !look_map_files(vma, &file) &&
	    !look_own_fds(vma, &file))
		file.kind = MEMORY_UNKNOWN;
	*ret = file;
}
