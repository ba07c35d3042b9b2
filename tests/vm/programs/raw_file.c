/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ends.h"
#include "raw_file.h"

void raw_file_open(struct raw_file *raw, const char *path, const char *device,
		   size_t size)
{
	const size_t room = sizeof(struct fiemap) +
			    RAW_EXTENTS * sizeof(struct fiemap_extent);
	struct fiemap *map = calloc(1, room);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t at = 0;

	if (!map)
		die("no memory");
	map->fm_length = size;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = RAW_EXTENTS;
	if (fd < 0 || ioctl(fd, FS_IOC_FIEMAP, map))
		die("where %s lies is not told: %s", path, strerror(errno));
	close(fd);
	raw->size = size;
	raw->count = map->fm_mapped_extents;
	for (unsigned int i = 0; i < raw->count; i++) {
		const struct fiemap_extent *extent = &map->fm_extents[i];

		if (extent->fe_logical != at ||
		    extent->fe_flags & ~(uint32_t)FIEMAP_EXTENT_LAST)
			die("%s has a hole, or more", path);
		at += extent->fe_length;
		raw->extents[i].at = extent->fe_logical;
		raw->extents[i].on_device = extent->fe_physical;
		raw->extents[i].length = extent->fe_length;
	}
	free(map);
	if (at < size)
		die("%s ends in a hole, or is in too many pieces", path);
	raw->device_fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (raw->device_fd < 0)
		die("%s: %s", device, strerror(errno));
}

void raw_file_read(const struct raw_file *raw, unsigned char *bytes)
{
	for (unsigned int i = 0; i < raw->count; i++) {
		uint64_t at = raw->extents[i].at;
		size_t length = raw->extents[i].length;

		if (at >= raw->size)
			return;
		if (length > raw->size - at)
			length = raw->size - at;
		if (pread(raw->device_fd, bytes + at, length,
			  (off_t)raw->extents[i].on_device) != (ssize_t)length)
			die("the device cannot be read: %s", strerror(errno));
	}
}

void raw_file_close(struct raw_file *raw)
{
	close(raw->device_fd);
}
