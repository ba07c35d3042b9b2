/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_holes FILE
 *
 * A sparse file, registered without prefetch (DAXMR_PREFETCH=off): reading a
 * hole by RDMA gives zeroes, writing into it allocates; the same for a range
 * that another process punches under the region.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends.h"

#define SIZE (8UL << 20)
#define PART 100000U

static struct end server, peer;
static unsigned char *file, *buffer;
static struct ibv_mr *mr, *buffer_mr;
static int fd;

static unsigned long blocks(void)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("fstat failed");
	return (unsigned long)st.st_blocks;
}

static void transfer(enum ibv_wr_opcode opcode, uint64_t offset)
{
	enum ibv_wc_status status =
		end_rdma(&peer, opcode, buffer_mr, buffer, PART,
			 (uintptr_t)(file + offset), mr->rkey);

	if (status != IBV_WC_SUCCESS)
		die("transfer at %lu: %s", (unsigned long)offset,
		    ibv_wc_status_str(status));
}

static void read_zeroes(uint64_t offset, const char *where)
{
	uint32_t i;

	memset(buffer, 0xee, PART);
	transfer(IBV_WR_RDMA_READ, offset);
	for (i = 0; i < PART; i++)
		if (buffer[i])
			die("byte %u read from %s is %#x", i, where, buffer[i]);
}

static void write_and_look(uint64_t offset, uint32_t round, const char *where)
{
	unsigned char *seen = malloc(PART);
	unsigned long before = blocks();

	fill_pattern(buffer, PART, offset, round);
	transfer(IBV_WR_RDMA_WRITE, offset);
	if (!seen || pread(fd, seen, PART, (off_t)offset) != PART ||
	    memcmp(seen, buffer, PART))
		die("what was written into %s is not in the file", where);
	if (blocks() <= before)
		die("writing into %s allocated nothing (%lu blocks)", where,
		    before);
	free(seen);
}

int main(int argc, char **argv)
{
	uint64_t hole = 3 * 4096 + 77, data = SIZE / 2 + 4096 + 5;

	if (argc != 2)
		die("usage: rdma_holes FILE");
	file = map_file(argv[1], SIZE);
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	buffer = aligned_alloc(4096, (PART + 4095) & ~4095U);
	if (fd < 0 || !buffer)
		die("%s cannot be opened", argv[1]);
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, PART, REMOTE_ALL);

	if (blocks() > 16)
		die("registering allocated blocks: %lu", blocks());
	read_zeroes(hole, "a hole");
	write_and_look(hole, 1, "a hole");
	write_and_look(data, 2, "another hole");
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE) <
	    0)
		die("punching a hole failed");
	read_zeroes(hole, "a punched range");
	read_zeroes(data, "a punched range");
	write_and_look(data, 3, "a punched range");
	if (ibv_dereg_mr(mr) || ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	printf("holes and punched ranges are as they must be\n");
	return 0;
}
