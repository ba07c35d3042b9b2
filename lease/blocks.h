/* SPDX-License-Identifier: BSD-2-Clause */
/* Which blocks a range of a file has, as its file system says. */
#ifndef DAXMR_LEASE_BLOCKS_H
#define DAXMR_LEASE_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

struct blocks {
	uint64_t holes; /* bytes that have no block */
	bool has_unwritten;
	bool has_shared; /* with another file */
};

/* Of [offset, end). 0, or -errno of FS_IOC_FIEMAP. */
int blocks_look(int fd, uint64_t offset, uint64_t end, struct blocks *ret);

#endif
