/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file is opened in two steps: what it is by O_PATH, which touches nothing
 * (opening a pipe waits, opening some devices does things), and only then for
 * real, the same inode. O_NOATIME where it is allowed: mapping counts as
 * reading.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "check.h"

static int problem(struct check_file *file, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Gives -1. */
static int problem(struct check_file *file, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(file->problem, sizeof(file->problem), format, args);
	va_end(args);
	return -1;
}

static bool read_sysfs(const struct statx *stx, const char *name, char *text,
		       size_t size)
{
	char path[96];
	FILE *attribute;
	bool ok;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/%s",
		 stx->stx_rdev_major, stx->stx_rdev_minor, name);
	attribute = fopen(path, "re");
	if (!attribute)
		return false;
	ok = fgets(text, (int)size, attribute);
	fclose(attribute);
	return ok;
}

/* The mapping granularity of a device-dax; 0: another device. */
static size_t devdax_align(const struct statx *stx)
{
	char path[96], target[PATH_MAX], text[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem",
		 stx->stx_rdev_major, stx->stx_rdev_minor);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 4 || memcmp(target + n - 4, "/dax", 4) != 0)
		return 0;
	if (!read_sysfs(stx, "align", text, sizeof(text)))
		return (size_t)2 << 20;
	return strtoul(text, NULL, 0);
}

static const char *type_name(unsigned int mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory: name a file in it";
	case S_IFIFO:
		return "a pipe, which has no memory to register";
	case S_IFSOCK:
		return "a socket, which has no memory to register";
	case S_IFBLK:
		return "a block device: name a file on a file system that is "
		       "mounted from it";
	case S_IFCHR:
		return "a character device, and no device-dax";
	default:
		return "no regular file";
	}
}

/* Opens the inode that path_fd stands for. */
static int reopen(const struct check_file *file, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->path_fd);
	flags |= O_CLOEXEC | O_NOCTTY;
	fd = open(path, flags | O_NOATIME);
	/* EPERM: only the owner may ask for that */
	return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

static int open_data(struct check_file *file)
{
	file->fd = reopen(file, O_RDWR);
	file->writable = file->fd >= 0;
	if (file->writable)
		return 0;
	snprintf(file->read_only_why, sizeof(file->read_only_why),
		 "it cannot be opened for writing (%s)", strerror(errno));
	file->fd = reopen(file, O_RDONLY);
	if (file->fd >= 0)
		return 0;
	return problem(
		file, "%s cannot be opened: %s%s", file->path, strerror(errno),
		errno == EACCES ? "; run as a user who may read it" : "");
}

static int map_start(struct check_file *file)
{
	int protection = PROT_READ | (file->writable ? PROT_WRITE : 0);
	void *addr = mmap(NULL, file->length, protection,
			  MAP_SHARED | MAP_NORESERVE, file->fd, 0);

	if (addr == MAP_FAILED)
		return problem(file,
			       "%s cannot be mapped (mmap of %zu bytes, "
			       "MAP_SHARED: %s), so it cannot be registered",
			       file->path, file->length, strerror(errno));
	file->addr = addr;
	if (memory_look(addr, file->length, &file->memory) < 0)
		return problem(file,
			       "%s: /proc/self/maps cannot be read: is /proc "
			       "mounted?",
			       file->path);
	return 0;
}

static int look(struct check_file *file)
{
	size_t align = 0;
	struct statfs fs;
	struct statx stx;

	file->path_fd = open(file->path, O_PATH | O_CLOEXEC);
	if (file->path_fd < 0)
		return problem(file, "%s: %s", file->path, strerror(errno));
	if (statx(file->path_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) <
		    0 ||
	    fstatfs(file->path_fd, &fs) < 0)
		return problem(file, "%s cannot be looked at: %s", file->path,
			       strerror(errno));
	if (S_ISCHR(stx.stx_mode))
		align = devdax_align(&stx);
	if (!S_ISREG(stx.stx_mode) && !align)
		return problem(file, "%s is %s", file->path,
			       type_name(stx.stx_mode));
	check_mount_find(file->path_fd, &file->mount);
	if (open_data(file) < 0)
		return -1;
	file->size = stx.stx_size;
	file->block_size = (uint64_t)fs.f_bsize;
	/* hugetlbfs maps whole huge pages, its block size */
	if (!align && strcmp(file->mount.fs, "hugetlbfs") == 0)
		align = (size_t)fs.f_bsize;
	file->length = align ? align : (size_t)sysconf(_SC_PAGESIZE);
	if (map_start(file) < 0)
		return -1;
	if (S_ISREG(stx.stx_mode)) {
		check_dax_explain(file, &stx);
	} else {
		char size[32];

		if (read_sysfs(&stx, "size", size, sizeof(size)))
			file->size = strtoull(size, NULL, 0);
		file->is_dax = true;
		snprintf(file->dax_why, sizeof(file->dax_why),
			 "a device-dax, which can be registered as it is");
	}
	check_sample_make(file);
	return 0;
}

void check_file_open(struct check_file *file, const char *path)
{
	memset(file, 0, sizeof(*file));
	file->path = path;
	file->path_fd = -1;
	file->fd = -1;
	look(file);
}

void check_file_close(struct check_file *file)
{
	check_sample_free(file);
	if (file->addr)
		munmap(file->addr, file->length);
	if (file->fd >= 0)
		close(file->fd);
	if (file->path_fd >= 0)
		close(file->path_fd);
}
