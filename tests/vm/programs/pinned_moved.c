/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pinned region that ibv_rereg_mr() moves.
 *
 *     pinned_moved FILE OTHER change|stay
 *
 * From one half of FILE to the other, to OTHER, to ordinary memory and back.
 * Each time a peer does not reach what it was moved from, by no key it knows,
 * and reaches all of what it was moved to: by a key that is another (change),
 * or by the first one always (stay). While it is in OTHER another process cuts
 * off both: of FILE it is free, and OTHER is a recall, after which peer and
 * program go on. Every byte is looked at each time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"

#define HALF (256UL << 10)
#define SIZE (2 * HALF)

/* Memory, and what has to be in it. */
struct place {
	const char *path; /* NULL: no file's */
	unsigned char *at;
	unsigned char *expected;
	size_t size; /* of the file, now */
};

static struct end server, peer;
static struct place file, other, ordinary;
static unsigned char *buffer; /* the peer's */
static struct ibv_mr *mr, *peer_mr;
static bool stays;
static uint32_t round_number;

static void *memory(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("no memory");
	return at;
}

static void prepare(struct place *place, const char *path)
{
	place->path = path;
	place->at = path ? map_file(path, SIZE) : memory(SIZE);
	place->expected = memory(SIZE);
	place->size = SIZE;
	/* fs-dax is only pinned where it is there */
	memset(place->at, 1, SIZE);
	memset(place->expected, 1, SIZE);
}

static void check(const struct place *place, const char *when)
{
	if (memcmp(place->at, place->expected, place->size))
		die("%s: what is in %s is not what was written", when,
		    place->path ? place->path : "memory");
}

static void check_all(const char *when)
{
	check(&file, when);
	check(&other, when);
	check(&ordinary, when);
}

static uint32_t shown(void)
{
	return __atomic_load_n(&mr->rkey, __ATOMIC_RELAXED);
}

static enum ibv_wc_status peer_writes(struct place *place, size_t offset,
				      size_t length, uint32_t rkey)
{
	enum ibv_wc_status status;

	fill_pattern(buffer, length, offset, ++round_number);
	status =
		end_rdma(&peer, IBV_WR_RDMA_WRITE, peer_mr, buffer,
			 (uint32_t)length, (uintptr_t)place->at + offset, rkey);
	if (status == IBV_WC_SUCCESS)
		memcpy(place->expected + offset, buffer, length);
	else
		ends_connect(&server, &peer);
	return status;
}

static void peer_must_not(struct place *place, size_t offset, size_t length,
			  uint32_t rkey, const char *when)
{
	enum ibv_wc_status status = peer_writes(place, offset, length, rkey);

	if (status != IBV_WC_REM_ACCESS_ERR)
		die("%s: a peer's write by a key that has ended: %s", when,
		    ibv_wc_status_str(status));
}

/* Waits for the file where others have it. */
static void program_must(const struct place *place, size_t offset,
			 size_t length, const char *when)
{
	enum ibv_wc_status status;

	memset(buffer, 0, length);
	status = end_rdma(&server, IBV_WR_RDMA_WRITE, mr, place->at + offset,
			  (uint32_t)length, (uintptr_t)buffer, peer_mr->rkey);
	if (status != IBV_WC_SUCCESS)
		die("%s: the program's own write: %s", when,
		    ibv_wc_status_str(status));
	if (memcmp(buffer, place->expected + offset, length))
		die("%s: what the program has sent is not what was there",
		    when);
}

/* All of the region, by both, with the key that it has now. */
static void must_reach(struct place *place, size_t offset, size_t length,
		       const char *when)
{
	enum ibv_wc_status status;

	program_must(place, offset, length, when);
	status = peer_writes(place, offset, length, shown());
	if (status != IBV_WC_SUCCESS)
		die("%s: a peer's write: %s", when, ibv_wc_status_str(status));
	check_all(when);
	program_must(place, offset, length, when);
}

static void check_key(uint32_t before, const char *when)
{
	if (!shown() || (shown() == before) != stays)
		die("%s: rkey %#x, and was %#x", when, shown(), before);
}

static void move_to(struct place *place, size_t offset, struct place *from,
		    size_t from_offset, const char *when)
{
	uint32_t before = shown();
	int r = ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL,
			     place->at + offset, HALF, 0);

	if (r)
		die("%s: ibv_rereg_mr: %d (%m)", when, r);
	if (mr->addr != place->at + offset || mr->length != HALF)
		die("%s: the region is elsewhere", when);
	check_key(before, when);
	must_reach(place, offset, HALF, when);
	peer_must_not(from, from_offset, HALF, before, when);
	peer_must_not(from, from_offset, HALF, shown(), when);
	check_all(when);
	must_reach(place, offset, HALF, when);
}

/* Another process. */
static double cut(struct place *place, size_t size)
{
	double start = now();
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(truncate(place->path, (off_t)size) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("truncate by another process failed");
	if (size < place->size)
		memset(place->expected + size, 0, place->size - size);
	place->size = size;
	return (now() - start) * 1e3;
}

int main(int argc, char **argv)
{
	double free_took, recall_took;
	uint32_t before;

	if (argc != 4)
		die("usage: pinned_moved FILE OTHER change|stay");
	stays = !strcmp(argv[3], "stay");
	prepare(&file, argv[1]);
	prepare(&other, argv[2]);
	prepare(&ordinary, NULL);
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	buffer = memory(SIZE);
	peer_mr = end_register(&peer, buffer, SIZE, REMOTE_ALL);
	mr = end_register(&server, file.at, HALF, REMOTE_ALL);
	must_reach(&file, 0, HALF, "at first");

	move_to(&file, HALF, &file, 0, "to its other half");
	move_to(&other, 0, &file, HALF, "to the other file");
	before = shown();
	free_took = cut(&file, HALF);
	if (shown() != before)
		die("what it was moved from is cut off, and the rkey is "
		    "another");
	must_reach(&other, 0, HALF, "after the first file was cut off");
	cut(&file, SIZE);

	recall_took = cut(&other, HALF / 2);
	program_must(&other, 0, HALF / 2, "after a recall");
	check_key(before, "after a recall");
	must_reach(&other, 0, HALF / 2, "after a recall");
	if (peer_writes(&other, HALF / 2, HALF / 2, shown()) == IBV_WC_SUCCESS)
		die("a peer has written beyond the end");
	cut(&other, SIZE);
	must_reach(&other, 0, HALF / 2, "after it has grown");
	must_reach(&other, HALF / 2, HALF / 2, "after it has grown");

	move_to(&ordinary, HALF, &other, 0, "to ordinary memory");
	before = shown();
	cut(&other, HALF);
	cut(&other, SIZE);
	if (shown() != before)
		die("no file's, and others wanted one");
	must_reach(&ordinary, HALF, HALF, "in ordinary memory");
	move_to(&other, HALF, &ordinary, HALF, "back to a file");

	if (ibv_dereg_mr(mr) || ibv_dereg_mr(peer_mr))
		die("ibv_dereg_mr: %m");
	check_all("at last");
	end_close(&peer);
	end_close(&server);
	printf("rkey %s: cut off were the file that it was moved from in %.1f "
	       "ms, the one that it is in, in %.1f ms\n",
	       stays ? "stays" : "changes", free_took, recall_took);
	return 0;
}
