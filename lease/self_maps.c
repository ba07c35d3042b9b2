/* SPDX-License-Identifier: BSD-2-Clause */
/* The mappings of this process that belong to files: self_maps.h. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "procmap.h"
#include "raw.h"
#include "self_maps.h"

static uint64_t number(const char **at, unsigned int base)
{
	uint64_t n = 0;

	for (;; (*at)++) {
		unsigned int digit = (unsigned char)**at - '0';

		if (digit > 9)
			digit = (unsigned char)**at - 'a' + 10U;
		if (digit >= base)
			return n;
		n = n * base + digit;
	}
}

/* "start-end rwxs offset major:minor inode  name"; false: not of a file. */
static bool read_line(const char *at, struct self_map *map)
{
	unsigned int major;

	map->start = number(&at, 16);
	at++;
	map->end = number(&at, 16);
	at += *at == ' ';
	if (strnlen(at, 5) == 5) {
		map->protection = (at[0] == 'r' ? PROT_READ : 0) |
				  (at[1] == 'w' ? PROT_WRITE : 0) |
				  (at[2] == 'x' ? PROT_EXEC : 0);
		map->is_shared = at[3] == 's';
	}
	at += strnlen(at, 5);
	map->offset = number(&at, 16);
	at += *at == ' ';
	major = (unsigned int)number(&at, 16);
	at += *at == ':';
	map->dev = makedev(major, (unsigned int)number(&at, 16));
	at += *at == ' ';
	map->ino = number(&at, 10);
	return map->ino != 0;
}

struct walk {
	uintptr_t start;
	uintptr_t end;
	const struct skipped *skipped; /* NULL: nothing is */
	bool is_shared;		       /* no others */
};

/* -ENOTTY: the kernel is to be asked by its text. */
static int each_by_query(int fd, const struct walk *walk, self_map_fn *fn,
			 void *arg)
{
	uintptr_t start = walk->start, end = walk->end;
	int r = 0;

	while (!r && start < end) {
		struct procmap_query_args query = {
			.size = sizeof(query),
			.query_flags =
				PROCMAP_COVERING_OR_NEXT | PROCMAP_FILE_BACKED |
				(walk->is_shared ? PROCMAP_VMA_SHARED : 0U),
			.query_addr = start,
		};
		struct self_map map;
		uint64_t flags;

		if (syscall(SYS_ioctl, fd, PROCMAP_QUERY_NR, &query))
			return errno == ENOENT ? 0 : -ENOTTY;
		if (query.vma_start >= end)
			return 0;
		flags = query.vma_flags;
		map = (struct self_map){
			.start = query.vma_start,
			.end = query.vma_end,
			.offset = query.vma_offset,
			.dev = makedev(query.dev_major, query.dev_minor),
			.ino = query.inode,
			.protection =
				(flags & PROCMAP_VMA_READABLE ? PROT_READ : 0) |
				(flags & PROCMAP_VMA_WRITABLE ? PROT_WRITE
							      : 0) |
				(flags & PROCMAP_VMA_EXEC ? PROT_EXEC : 0),
			.is_shared = flags & PROCMAP_VMA_SHARED,
		};
		start = walk->skipped ? skipped_next(walk->skipped, map.end)
				      : map.end;
		if (map.ino)
			r = fn(&map, arg);
	}
	return r;
}

static int each_by_text(int fd, const struct walk *walk, self_map_fn *fn,
			void *arg)
{
	/* only the front of a line matters: names are read over */
	char text[2048], line[128] = "";
	size_t used = 0;
	ssize_t n = 0;
	int r = 0;

	while (!r && (n = raw_read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n && !r; i++) {
			struct self_map map = {0};

			if (text[i] != '\n') {
				if (used < sizeof(line) - 1)
					line[used++] = text[i];
				continue;
			}
			line[used] = '\0';
			used = 0;
			if (!read_line(line, &map) && map.start < walk->end)
				continue;
			if (map.start >= walk->end)
				return 0;
			if (map.end > walk->start &&
			    (map.is_shared || !walk->is_shared))
				r = fn(&map, arg);
		}
	}
	return n < 0 ? -errno : r;
}

/*
 * Where the query fails nothing has been called back: no kernel answers one
 * question and not the next.
 */
static int each(const struct walk *walk, self_map_fn *fn, void *arg)
{
	int fd = raw_open(AT_FDCWD, "/proc/thread-self/maps", O_RDONLY), r;

	if (fd < 0)
		return -errno;
	r = each_by_query(fd, walk, fn, arg);
	if (r == -ENOTTY)
		r = each_by_text(fd, walk, fn, arg);
	raw_close(fd);
	return r;
}

int self_maps_each(uintptr_t start, uintptr_t end, self_map_fn *fn, void *arg)
{
	const struct walk walk = {start, end, NULL, false};

	return each(&walk, fn, arg);
}

int self_maps_each_shared(const struct skipped *skipped, self_map_fn *fn,
			  void *arg)
{
	const struct walk walk = {0, UINTPTR_MAX, skipped, true};

	return each(&walk, fn, arg);
}
