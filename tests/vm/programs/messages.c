/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "messages.h"

uint64_t message_make(uint64_t number, void *to)
{
	memset(to, (int)(number / MESSAGES_SLOTS + 1), MESSAGES_LENGTH);
	return number % MESSAGES_SLOTS * MESSAGES_STRIDE;
}

/* How often a slot was written by the first `done` writes. */
static unsigned int round_of(uint64_t slot, uint64_t done)
{
	return (unsigned int)((done + MESSAGES_SLOTS - 1 - slot) /
			      MESSAGES_SLOTS);
}

bool messages_are_in(const unsigned char *bytes, uint64_t slot, uint64_t end,
		     uint64_t done, uint64_t begun, char ret_what[200])
{
	for (; slot < end; slot++) {
		const unsigned char *message = bytes + slot * MESSAGES_STRIDE;
		unsigned int first = round_of(slot, done);
		unsigned int last = round_of(slot, begun);

		for (unsigned int i = 0; i < MESSAGES_LENGTH; i++) {
			if (message[i] >= first && message[i] <= last)
				continue;
			snprintf(ret_what, 200,
				 "%lu writes were complete, %lu begun, and "
				 "byte %u of slot %lu is of round %u, not %u "
				 "to %u",
				 (unsigned long)done, (unsigned long)begun, i,
				 (unsigned long)slot, message[i], first, last);
			return false;
		}
	}
	return true;
}

bool messages_are_all(const unsigned char *bytes, uint64_t done, uint64_t begun)
{
	char what[200];

	if (messages_are_in(bytes, 0, MESSAGES_SLOTS, done, begun, what))
		return true;
	printf("not ok: %s\n", what);
	fflush(stdout);
	return false;
}

bool messages_read(const char *path, unsigned char *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, at = 0;

	while (fd >= 0 && at < (ssize_t)MESSAGES_SIZE &&
	       (n = read(fd, bytes + at, MESSAGES_SIZE - (size_t)at)) > 0)
		at += n;
	if (fd >= 0)
		close(fd);
	return at == (ssize_t)MESSAGES_SIZE;
}
