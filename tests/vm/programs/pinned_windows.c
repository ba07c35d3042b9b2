/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program's own memory windows on a pinned region.
 *
 *     pinned_windows FILE TYPE ROUNDS MOST_MS
 *
 * A peer writes into FILE by the key of a window of that type (1 or 2) which
 * the program has bound, while another process cuts the file off and lets it
 * grow again, ROUNDS times: each call of its takes MOST_MS at most. By a window
 * of type 1 the peer reaches what is there afterwards, with the key it has; of
 * type 2 it gets an error, once, and the program goes on with the window as
 * with a new one. In the end the program frees all it has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxmr.h"
#include "ends.h"

#define SIZE   (1UL << 20)
#define HALF   (SIZE / 2)
#define LENGTH 8192U
#define INSIDE (HALF - LENGTH)
#define BEYOND (SIZE - LENGTH)

static struct end here, there;
static unsigned char *file, *memory;
static struct ibv_mr *memory_mr;
static struct daxmr_region *region;
static struct ibv_mw *window;
static enum ibv_mw_type type;
static uint32_t rkey; /* that the peer knows */
static int fd;

static struct ibv_mr *region_mr(void)
{
	struct daxmr_info info = {.size = sizeof(info)};

	if (daxmr_region_info(region, &info))
		die("daxmr_region_info failed");
	return info.mr;
}

static void bind_window(uint64_t length)
{
	const struct ibv_mw_bind_info info = {
		.mr = region_mr(),
		.addr = (uintptr_t)file,
		.length = length,
		.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};
	struct ibv_mw_bind bind = {
		.wr_id = 7,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = info,
	};
	struct ibv_send_wr wr = {
		.wr_id = 7,
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_mw = {window, ibv_inc_rkey(window->rkey), info},
	};
	struct ibv_send_wr *bad_wr;
	enum ibv_wc_status status;
	int r;

	if (type == IBV_MW_TYPE_1)
		r = ibv_bind_mw(here.qp, window, &bind);
	else
		r = ibv_post_send(here.qp, &wr, &bad_wr);
	if (r)
		die("the bind is refused: %s", strerror(r));
	status = end_wait(&here, 60);
	if (status != IBV_WC_SUCCESS)
		die("the bind: %s", ibv_wc_status_str(status));
	if (type == IBV_MW_TYPE_2)
		window->rkey = wr.bind_mw.rkey;
	if (length)
		rkey = window->rkey;
}

/* One that fails costs the QPs. */
static enum ibv_wc_status write_by_peer(size_t offset, uint32_t round)
{
	enum ibv_wc_status status;

	fill_pattern(memory, LENGTH, offset, round);
	status = end_rdma(&there, IBV_WR_RDMA_WRITE, memory_mr, memory, LENGTH,
			  (uintptr_t)file + offset, rkey);
	if (status != IBV_WC_SUCCESS)
		ends_connect(&here, &there);
	return status;
}

static void check(size_t offset, uint32_t round)
{
	static unsigned char seen[LENGTH];

	if (pread(fd, seen, LENGTH, (off_t)offset) != (ssize_t)LENGTH)
		die("the file cannot be read at %zu: %m", offset);
	if (memcmp(seen, memory, LENGTH))
		die("round %u: what the peer wrote at %zu is not in the file",
		    round, offset);
}

/* By the key that it has; the file may not be back yet. */
static void write_until_done(size_t offset, uint32_t round)
{
	double deadline = now() + 60;
	enum ibv_wc_status status;

	while ((status = write_by_peer(offset, round)) != IBV_WC_SUCCESS) {
		if (now() > deadline)
			die("round %u: the peer does not reach %zu: %s", round,
			    offset, ibv_wc_status_str(status));
		usleep(10000);
	}
	check(offset, round);
}

static void must_fail(size_t offset, uint32_t round)
{
	if (write_by_peer(offset, round) == IBV_WC_SUCCESS)
		die("round %u: the peer still reaches %zu", round, offset);
}

static void cut_by_other(const char *path, off_t size, double most)
{
	double took = now();
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(truncate(path, size) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("truncate by another process failed");
	took = now() - took;
	printf("truncate to %ld: %.1f ms\n", (long)size, took * 1e3);
	if (took * 1e3 > most)
		die("truncate by another process took %.1f ms", took * 1e3);
}

/* What lies beyond the end of the file comes back with it. */
static void stays_reached(const char *path, uint32_t round, double most)
{
	write_until_done(BEYOND, round);
	cut_by_other(path, HALF, most);
	write_until_done(INSIDE, round);
	must_fail(BEYOND, round);
	cut_by_other(path, SIZE, most);
	write_until_done(BEYOND, round);
	write_until_done(INSIDE, round);
}

static void is_severed(const char *path, uint32_t round, double most)
{
	uint32_t before = rkey;

	if (round)
		bind_window(SIZE);
	if (write_by_peer(INSIDE, round) != IBV_WC_SUCCESS)
		die("round %u: the peer does not reach its window", round);
	check(INSIDE, round);
	cut_by_other(path, HALF, most);
	must_fail(INSIDE, round);
	cut_by_other(path, SIZE, most);
	must_fail(INSIDE, round);
	if (round && before == rkey)
		die("round %u: the window still has its key", round);
	/* a bind to what is not there would fail */
	for (double deadline = now() + 60; !region_mr()->rkey;) {
		if (now() > deadline)
			die("round %u: the region does not come back", round);
		usleep(1000);
	}
}

static void prepare(const char *path)
{
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
	};

	end_open(&here);
	end_open(&there);
	ends_connect(&here, &there);
	memory = malloc(LENGTH);
	if (!memory)
		die("no memory");
	memory_mr =
		end_register(&there, memory, LENGTH, IBV_ACCESS_LOCAL_WRITE);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, SIZE))
		die("%s: %m", path);
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		die("mmap: %m");
	memset(file, 1, SIZE); /* fs-dax is only pinned where it is there */
	/* before the region: it is known by its bind */
	window = ibv_alloc_mw(here.pd, type);
	if (!window)
		die("no window: %m");
	if (daxmr_reg_mr(here.pd, file, SIZE,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
				 IBV_ACCESS_MW_BIND,
			 &options, &region))
		die("daxmr_reg_mr: %s", daxmr_errormsg());
	bind_window(SIZE);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		die("usage: pinned_windows FILE TYPE ROUNDS MOST_MS");
	type = atoi(argv[2]) == 1 ? IBV_MW_TYPE_1 : IBV_MW_TYPE_2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	prepare(argv[1]);
	for (uint32_t round = 0; round < (uint32_t)atoi(argv[3]); round++)
		if (type == IBV_MW_TYPE_1)
			stays_reached(argv[1], round, atof(argv[4]));
		else
			is_severed(argv[1], round, atof(argv[4]));
	if (type == IBV_MW_TYPE_1) {
		if (rkey != window->rkey)
			die("the window has another key");
		bind_window(0);
		must_fail(INSIDE, 0);
	}
	if (ibv_dealloc_mw(window))
		die("the window cannot be freed");
	if (daxmr_dereg_mr(region))
		die("daxmr_dereg_mr: %s", daxmr_errormsg());
	if (ibv_dereg_mr(memory_mr))
		die("the peer's MR cannot be deregistered");
	end_close(&there);
	end_close(&here);
	puts("all is freed");
	return 0;
}
