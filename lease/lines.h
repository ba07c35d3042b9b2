/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A text of /proc, line by line: by raw system calls, without stdio, whose
 * buffers are the program's malloc()'s (heap.h).
 */
#ifndef DAXMR_LEASE_LINES_H
#define DAXMR_LEASE_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* seq_file gives no more at once. */
#define LINES_BUFFER 4096

struct lines {
	int fd;
	size_t at;
	size_t used;
	char text[LINES_BUFFER];
};

/* 0; -errno. */
int lines_open(struct lines *lines, const char *path);
/* Of what is open already, and is lines_close()'s then. */
void lines_begin(struct lines *lines, int fd);
/* Without its newline, cut where it is longer than the room; false: the end. */
bool lines_next(struct lines *lines, char *line, size_t room);
void lines_close(struct lines *lines);

#endif
