/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_pattern FILE MODEL [ROUNDS]
 *
 * Maps FILE (made of 4 MiB and 17 bytes where it is empty), registers it as any
 * program would, and lets a peer write, read, send and do atomics on it at odd
 * offsets and lengths, with bytes that tell where they belong. What must be in
 * the file is kept beside it and written to MODEL in the end: compare the two,
 * after a umount too. Data that arrives at the peer is compared here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ends.h"

#define SIZE	((4UL << 20) + 17)
#define LONGEST 70000U

static struct end server, peer;
static unsigned char *file, *model, *buffer;
static struct ibv_mr *mr, *buffer_mr;
static uint64_t seed = 12345;

/* Repeatable; not rand(), whose sequence is the C library's business. */
static uint32_t pick(uint32_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 33) % below;
}

static void check_status(enum ibv_wc_status status, const char *what,
			 uint64_t offset, uint32_t length)
{
	if (status != IBV_WC_SUCCESS)
		die("%s of %u bytes at %lu: %s", what, length,
		    (unsigned long)offset, ibv_wc_status_str(status));
}

static void check_bytes(const unsigned char *got, const unsigned char *want,
			uint32_t length, const char *what, uint64_t offset)
{
	uint32_t i;

	for (i = 0; i < length; i++)
		if (got[i] != want[i])
			die("%s of %u bytes at %lu: byte %u is %#x, not %#x",
			    what, length, (unsigned long)offset, i, got[i],
			    want[i]);
}

static void write_to_file(uint64_t offset, uint32_t length, uint32_t round)
{
	fill_pattern(buffer, length, offset, round);
	check_status(end_rdma(&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer,
			      length, (uintptr_t)(file + offset), mr->rkey),
		     "RDMA write", offset, length);
	memcpy(model + offset, buffer, length);
}

static void read_from_file(uint64_t offset, uint32_t length)
{
	memset(buffer, 0xee, length);
	check_status(end_rdma(&peer, IBV_WR_RDMA_READ, buffer_mr, buffer,
			      length, (uintptr_t)(file + offset), mr->rkey),
		     "RDMA read", offset, length);
	check_bytes(buffer, model + offset, length, "RDMA read", offset);
}

static void send_into_file(uint64_t offset, uint32_t length, uint32_t round)
{
	end_post_recv(&server, mr, file + offset, length);
	fill_pattern(buffer, length, offset, round);
	check_status(
		end_rdma(&peer, IBV_WR_SEND, buffer_mr, buffer, length, 0, 0),
		"send", offset, length);
	check_status(end_wait(&server, 20), "receive", offset, length);
	memcpy(model + offset, buffer, length);
}

static void send_from_file(uint64_t offset, uint32_t length)
{
	memset(buffer, 0xee, length);
	end_post_recv(&peer, buffer_mr, buffer, length);
	check_status(
		end_rdma(&server, IBV_WR_SEND, mr, file + offset, length, 0, 0),
		"send from the file", offset, length);
	check_status(end_wait(&peer, 20), "its receive", offset, length);
	check_bytes(buffer, model + offset, length, "send from the file",
		    offset);
}

static void add_in_file(uint64_t offset, uint32_t round)
{
	uint64_t *result = (uint64_t *)buffer, *word, before;

	offset &= ~7UL;
	word = (uint64_t *)(model + offset);
	before = *word;
	check_status(end_atomic(&peer, IBV_WR_ATOMIC_FETCH_AND_ADD, buffer_mr,
				result, (uintptr_t)(file + offset), mr->rkey, 0,
				round + 1),
		     "fetch and add", offset, 8);
	if (*result != before)
		die("fetch and add at %lu returned %#lx, not %#lx",
		    (unsigned long)offset, (unsigned long)*result,
		    (unsigned long)before);
	*word += round + 1;
	before = *word;
	check_status(end_atomic(&peer, IBV_WR_ATOMIC_CMP_AND_SWP, buffer_mr,
				result, (uintptr_t)(file + offset), mr->rkey,
				before, ~before),
		     "compare and swap", offset, 8);
	*word = ~before;
}

static void save_model(const char *path)
{
	FILE *out = fopen(path, "w");

	if (!out || fwrite(model, SIZE, 1, out) != 1 || fclose(out))
		die("%s cannot be written", path);
}

int main(int argc, char **argv)
{
	uint32_t rounds = argc > 3 ? (uint32_t)atoi(argv[3]) : 400, round;
	uint64_t offset;
	uint32_t length;

	if (argc < 3)
		die("usage: rdma_pattern FILE MODEL [ROUNDS]");
	file = map_file(argv[1], SIZE);
	model = malloc(SIZE + 8);
	buffer = aligned_alloc(4096, (LONGEST + 4095) & ~4095U);
	if (!model || !buffer)
		die("no memory");
	memcpy(model, file, SIZE);
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, LONGEST, REMOTE_ALL);

	for (round = 0; round < rounds; round++) {
		length = 1 + pick(round % 4 ? 5000 : LONGEST - 1);
		offset = pick((uint32_t)(SIZE - length));
		switch (round % 5) {
		case 0:
		case 1:
			write_to_file(offset, length, round);
			break;
		case 2:
			read_from_file(offset, length);
			break;
		case 3:
			send_into_file(offset, length, round);
			send_from_file(pick((uint32_t)(SIZE - length)), length);
			break;
		default:
			add_in_file(pick((uint32_t)(SIZE - 8)), round);
		}
	}
	/* what the CPU of this process sees, and then what is in the file */
	if (memcmp(file, model, SIZE))
		die("the mapping is not what it must be");
	if (ibv_dereg_mr(mr) || ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&server);
	end_close(&peer);
	save_model(argv[2]);
	printf("%u operations, all as they must be\n", rounds);
	return 0;
}
