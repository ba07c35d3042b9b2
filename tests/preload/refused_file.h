/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file in the page cache, which the stand-in refuses to pin as the kernel
 * does: in the current folder, or, where that is memory itself (packages are
 * built on tmpfs now and then), in /var/tmp or /tmp.
 */
#ifndef DAXMR_TESTS_REFUSED_FILE_H
#define DAXMR_TESTS_REFUSED_FILE_H

#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Maps a new file; its path is for unlink(). NULL where there is no place. */
static inline char *refused_file_map(size_t size, char path[64])
{
	static const char *const folders[] = {".", "/var/tmp", "/tmp"};
	struct statfs fs;
	size_t i;
	char *addr;
	int fd;

	for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (statfs(folders[i], &fs) < 0 || fs.f_type == TMPFS_MAGIC)
			continue;
		snprintf(path, 64, "%s/daxmr-refused-XXXXXX", folders[i]);
		fd = mkstemp(path);
		if (fd < 0)
			continue;
		addr = ftruncate(fd, (off_t)size)
			       ? MAP_FAILED
			       : mmap(NULL, size, PROT_READ | PROT_WRITE,
				      MAP_SHARED, fd, 0);
		close(fd);
		if (addr != MAP_FAILED)
			return addr;
		unlink(path);
	}
	fprintf(stderr, "no folder outside of tmpfs to make a file in\n");
	return NULL;
}

#endif
