/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a file is DAX is what statx() says. Why it is not, the kernel does
 * not say: this follows its own order of reasons (Documentation/filesystems/
 * dax.rst, Linux 6.1), the file system first, the file last, so that the first
 * reason named is the first that has to be mended.
 */
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX 0x00200000
#endif

enum answer {
	NO,
	YES,
	UNKNOWN
};

static void say(struct check_file *file, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct check_file *file, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(file->dax_why, sizeof(file->dax_why), format, args);
	va_end(args);
}

static const char *fs_name(const struct check_file *file)
{
	return file->mount.is_known ? file->mount.fs : file->memory.file.fs;
}

static bool fs_has_dax(const char *fs)
{
	static const char *const names[] = {
		"xfs", "ext4", "ext2", "virtiofs", "erofs", "famfs",
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(fs, names[i]) == 0)
			return true;
	return false;
}

/* A partition has no queue of its own, its disk has. */
static enum answer device_has_dax(const struct check_mount *mount)
{
	static const char *const queues[] = {"queue/dax", "../queue/dax"};
	char path[96];
	FILE *attribute;
	int c;
	size_t i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s",
			 mount->major, mount->minor, queues[i]);
		attribute = fopen(path, "re");
		if (!attribute)
			continue;
		c = getc(attribute);
		fclose(attribute);
		return c == '1' ? YES : NO;
	}
	return UNKNOWN;
}

/* The file's own attribute, "x" of xfs_io and chattr. */
static enum answer file_wants_dax(const struct check_file *file)
{
	struct fsxattr attr;

	if (file->fd < 0 || ioctl(file->fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return UNKNOWN;
	return attr.fsx_xflags & FS_XFLAG_DAX ? YES : NO;
}

static void explain_yes(struct check_file *file)
{
	const struct check_mount *mount = &file->mount;

	if (check_mount_has(mount, "dax=always") ||
	    check_mount_has(mount, "dax"))
		say(file, "%s is mounted dax=always", mount->point);
	else if (file_wants_dax(file) == YES)
		say(file,
		    "the file has the DAX attribute (FS_XFLAG_DAX), and %s "
		    "leaves it to each file (dax=inode)",
		    mount->point);
	else
		say(file, "the kernel says so (STATX_ATTR_DAX)");
}

/* No DAX on this file system, whatever the file says. False: there could be. */
static bool explain_no_mount(struct check_file *file)
{
	const struct check_mount *mount = &file->mount;
	const char *fs = fs_name(file);

	if (strcmp(fs, "tmpfs") == 0 || strcmp(fs, "hugetlbfs") == 0) {
		say(file,
		    "%s is memory, not persistent; it can be registered as it "
		    "is",
		    fs);
	} else if (strcmp(fs, "overlay") == 0) {
		say(file,
		    "the file system below this overlay does not use DAX for "
		    "it; use a path outside of the overlay");
	} else if (*fs && !fs_has_dax(fs)) {
		say(file,
		    "%s has no DAX; xfs and ext4 on persistent memory have",
		    fs);
	} else if (mount->is_known && mount->major &&
		   device_has_dax(mount) == NO) {
		say(file,
		    "%s has no DAX: it takes a persistent memory namespace in "
		    "fsdax mode (ndctl create-namespace -m fsdax)",
		    mount->source);
	} else if (mount->major &&
		   file->block_size != (uint64_t)sysconf(_SC_PAGESIZE)) {
		say(file,
		    "blocks of %llu bytes are not pages of %ld: make the file "
		    "system again with that block size",
		    (unsigned long long)file->block_size,
		    sysconf(_SC_PAGESIZE));
	} else if (check_mount_has(mount, "dax=never")) {
		say(file,
		    "%s is mounted dax=never: mount it with -o dax=always, or "
		    "with dax=inode and the attribute on the file",
		    mount->point);
	} else {
		return false;
	}
	return true;
}

static void explain_no_file(struct check_file *file)
{
	const struct check_mount *mount = &file->mount;

	if (check_mount_has(mount, "dax=always") ||
	    check_mount_has(mount, "dax")) {
		say(file,
		    "%s is mounted dax=always and yet this file is not DAX: it "
		    "is encrypted, has verity, inline or journalled data, lies "
		    "on a real-time device, or its blocks are shared "
		    "(reflink); copy it to a new file",
		    mount->point);
		return;
	}
	switch (file_wants_dax(file)) {
	case YES:
		say(file,
		    "the file has the DAX attribute, which takes effect when "
		    "nobody has the file open any more: close it everywhere, "
		    "or mount %s again",
		    mount->is_known ? mount->point : "the file system");
		break;
	case NO:
		say(file,
		    "%s leaves it to each file (dax=inode) and this one does "
		    "not have the attribute: xfs_io -c 'chattr +x' %s while "
		    "nobody has it open, or mount with -o dax=always",
		    mount->is_known ? mount->point : "the file system",
		    file->path);
		break;
	default:
		say(file,
		    "the kernel says so, and no reason that daxmr knows of "
		    "can be seen");
	}
}

void check_dax_explain(struct check_file *file, const struct statx *stx)
{
	file->is_dax = stx->stx_attributes & STATX_ATTR_DAX;
	if (file->is_dax)
		explain_yes(file);
	else if (!(stx->stx_attributes_mask & STATX_ATTR_DAX))
		say(file,
		    "this kernel does not tell (STATX_ATTR_DAX, Linux 5.8)");
	else if (!explain_no_mount(file))
		explain_no_file(file);
}
