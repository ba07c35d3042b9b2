/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_devdax DEVICE
 *
 * Maps the beginning of a device-dax device, registers it, and lets a peer
 * write into it and read from it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ends.h"

#define SIZE (4UL << 20)
#define PART 100001U

int main(int argc, char **argv)
{
	uint64_t at = (2UL << 20) - 33333; /* over the border of two pages */
	unsigned char *device, *buffer;
	struct ibv_mr *mr, *buffer_mr;
	struct end server, peer;
	enum ibv_wc_status status;
	int fd;

	if (argc != 2)
		die("usage: rdma_devdax DEVICE");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", argv[1], strerror(errno));
	device = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	buffer = aligned_alloc(4096, (PART + 4095) & ~4095U);
	if (device == MAP_FAILED || !buffer)
		die("mmap %s: %s", argv[1], strerror(errno));
	close(fd);
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, device, SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, PART, REMOTE_ALL);

	fill_pattern(buffer, PART, at, 1);
	status = end_rdma(&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer, PART,
			  (uintptr_t)device + at, mr->rkey);
	if (status || memcmp(device + at, buffer, PART))
		die("a write by a peer: %s",
		    status ? ibv_wc_status_str(status) : "wrong bytes");
	memset(buffer, 0xee, PART);
	status = end_rdma(&peer, IBV_WR_RDMA_READ, buffer_mr, buffer, PART,
			  (uintptr_t)device + at, mr->rkey);
	if (status || memcmp(device + at, buffer, PART))
		die("a read by a peer: %s",
		    status ? ibv_wc_status_str(status) : "wrong bytes");
	if (ibv_dereg_mr(mr) || ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&server);
	end_close(&peer);
	printf("device-dax holds what a peer wrote\n");
	return 0;
}
