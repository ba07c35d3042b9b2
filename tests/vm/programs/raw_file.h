/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a file on persistent memory has, seen on its device: nobody opens the
 * file to look, so no lease is broken and nothing is flushed because of it.
 */
#ifndef DAXMR_TESTS_RAW_FILE_H
#define DAXMR_TESTS_RAW_FILE_H

#include <stddef.h>
#include <stdint.h>

#define RAW_EXTENTS 2048

struct raw_file {
	int device_fd;
	size_t size;
	unsigned int count;
	struct {
		uint64_t at, on_device, length;
	} extents[RAW_EXTENTS];
};

/* Opens the file once, to see where its blocks are: they must not move. */
void raw_file_open(struct raw_file *raw, const char *path, const char *device,
		   size_t size);
void raw_file_close(struct raw_file *raw);
/* To memory that is aligned to 4096 bytes. */
void raw_file_read(const struct raw_file *raw, unsigned char *bytes);

#endif
