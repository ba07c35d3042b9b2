/* SPDX-License-Identifier: BSD-2-Clause */
/* A text of /proc, line by line: lines.h. */
#include <errno.h>
#include <string.h>

#include "lines.h"
#include "raw.h"

void lines_begin(struct lines *lines, int fd)
{
	lines->at = lines->used = 0;
	lines->fd = fd;
}

int lines_open(struct lines *lines, const char *path)
{
	lines_begin(lines, raw_open(AT_FDCWD, path, O_RDONLY));
	return lines->fd < 0 ? -errno : 0;
}

static bool read_more(struct lines *lines)
{
	ssize_t n;

	do
		n = raw_read(lines->fd, lines->text, sizeof(lines->text));
	while (n < 0 && errno == EINTR);
	lines->at = 0;
	lines->used = n > 0 ? (size_t)n : 0;
	return n > 0;
}

bool lines_next(struct lines *lines, char *line, size_t room)
{
	size_t length = 0;

	while (lines->at < lines->used || read_more(lines)) {
		const char *from = lines->text + lines->at;
		size_t left = lines->used - lines->at, n;
		const char *end = memchr(from, '\n', left);

		n = end ? (size_t)(end - from) : left;
		lines->at += n + (end ? 1 : 0);
		if (n > room - 1 - length)
			n = room - 1 - length;
		memcpy(line + length, from, n);
		length += n;
		line[length] = '\0';
		if (end)
			return true;
	}
	line[length] = '\0';
	return length > 0;
}

void lines_close(struct lines *lines)
{
	raw_close(lines->fd);
}
