/* SPDX-License-Identifier: BSD-2-Clause */
/* The mappings of this process that belong to files: self_maps.h. */
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

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
	map->is_shared = strnlen(at, 5) == 5 && at[4] == 's';
	at += strnlen(at, 6);
	number(&at, 16);
	at += *at == ' ';
	major = (unsigned int)number(&at, 16);
	at += *at == ':';
	map->dev = makedev(major, (unsigned int)number(&at, 16));
	at += *at == ' ';
	map->ino = number(&at, 10);
	return map->ino != 0;
}

int self_maps_each(uintptr_t start, uintptr_t end, self_map_fn *fn, void *arg)
{
	int fd = raw_open(AT_FDCWD, "/proc/thread-self/maps", O_RDONLY), r = 0;
	/* only the front of a line matters: names are read over */
	char text[2048], line[128] = "";
	size_t used = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (!r && (n = raw_read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n && !r; i++) {
			struct self_map map;

			if (text[i] != '\n') {
				if (used < sizeof(line) - 1)
					line[used++] = text[i];
				continue;
			}
			line[used] = '\0';
			used = 0;
			if (read_line(line, &map) && map.end > start &&
			    map.start < end)
				r = fn(&map, arg);
		}
	}
	if (n < 0)
		r = -errno;
	raw_close(fd);
	return r;
}
