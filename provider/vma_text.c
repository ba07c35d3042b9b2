/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vma.h from the text of /proc/self/maps.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vma.h"

/* Longest line: 73 columns of numbers, a path, " (deleted)", a newline. */
#define LINE_SIZE  (PATH_MAX * 4)
#define CHUNK_SIZE (LINE_SIZE + 16384)

/*
 * seq_path() prints a newline in a path as \012 and nothing else so
 * (fs/proc/task_mmu.c). A path that has the four characters itself cannot be
 * told from that; who uses the name compares device and inode.
 */
static void unescape(char *name)
{
	char *from, *to;

	for (from = to = name; *from; to++) {
		if (strncmp(from, "\\012", 4) == 0) {
			*to = '\n';
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Parses one line without its newline; false where it is no maps line. */
static bool parse(char *line, struct vma *vma)
{
	unsigned long start, end, offset, ino;
	unsigned int major, minor;
	char prot[5];
	int at = 0;

	if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, prot,
		   &offset, &major, &minor, &ino, &at) < 7)
		return false;
	vma->start = start;
	vma->end = end;
	vma->offset = offset;
	vma->dev_major = major;
	vma->dev_minor = minor;
	vma->ino = ino;
	vma->readable = prot[0] == 'r';
	vma->writable = prot[1] == 'w';
	vma->shared = prot[3] == 's';
	unescape(line + at);
	vma->name = line + at;
	return true;
}

static int walk(int fd, char *buffer, uintptr_t start, uintptr_t end,
		vma_fn *fn, void *arg)
{
	size_t filled = 0;
	struct vma vma;
	char *line, *newline;
	ssize_t n;
	int r;

	for (;;) {
		n = read(fd, buffer + filled, CHUNK_SIZE - filled);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return 0;
		filled += (size_t)n;
		line = buffer;
		while ((newline = memchr(line, '\n',
					 filled - (size_t)(line - buffer)))) {
			*newline = '\0';
			if (!parse(line, &vma))
				return -EIO;
			line = newline + 1;
			if (vma.end <= start)
				continue;
			if (vma.start >= end)
				return 0;
			r = fn(&vma, arg);
			if (r)
				return r;
		}
		filled -= (size_t)(line - buffer);
		memmove(buffer, line, filled);
		if (filled == CHUNK_SIZE)
			return -EIO;
	}
}

int vma_each_text(uintptr_t start, uintptr_t end, vma_fn *fn, void *arg)
{
	char *buffer;
	int fd, r;

	buffer = malloc(CHUNK_SIZE);
	if (!buffer)
		return -ENOMEM;
	/* Not "self": it has nothing once the first thread has ended. */
	fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		free(buffer);
		return r;
	}
	r = walk(fd, buffer, start, end, fn, arg);
	close(fd);
	free(buffer);
	return r;
}
