/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library that reads and writes, as drivers of verbs do: built once under a
 * name that those have, and once under another.
 */
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef ssize_t read_fn(int fd, void *buffer, size_t length);

EXPORT ssize_t driver_read(int fd, void *buffer, size_t length);
EXPORT ssize_t driver_write(int fd, const void *buffer, size_t length);
EXPORT ssize_t driver_call_back(read_fn *function, int fd, void *buffer,
				size_t length);

/* So that the calls below come back here, and are not jumps. */
static volatile unsigned int calls;

ssize_t driver_read(int fd, void *buffer, size_t length)
{
	ssize_t n = read(fd, buffer, length);

	calls++;
	return n;
}

ssize_t driver_write(int fd, const void *buffer, size_t length)
{
	ssize_t n = write(fd, buffer, length);

	calls++;
	return n;
}

ssize_t driver_call_back(read_fn *function, int fd, void *buffer, size_t length)
{
	ssize_t n = function(fd, buffer, length);

	calls++;
	return n;
}
