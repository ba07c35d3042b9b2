/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_keys FILE ROUNDS stay|change|library
 *
 * FILE is a pinned region; another process reads it, cuts it off to its half
 * and lets it grow again, ROUNDS times. stay: all that by one rkey, which never
 * shows as another, nor as 0. A peer's writes, reads and atomics succeed before
 * and after; while the file is away a write fails with a remote access error
 * and nothing else; beyond the cut it fails, and when the file has grown it
 * succeeds again. Another peer writes all the time, makes a new connection
 * where it was refused, and what was acknowledged to it is in the file.
 * library: the same, of a region that daxmr_reg_mr() was asked for.
 *
 * change: the rkey is another after each of these, and by the old one a peer
 * reaches nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxmr.h"
#include "ends.h"

#define HALF   (1UL << 20)
#define SIZE   (2 * HALF)
#define NOTE   5000U /* several packets */
#define BEYOND (HALF + 5 * 4096 + 123)
#define WORD   (HALF - 4096) /* for atomics */
#define SLOTS  32UL	     /* of NOTE, for who writes all the time */
#define SLOT   (HALF / 2)

static struct end server, peer, storm_server, storm;
static unsigned char *file, *buffer;
static struct ibv_mr *mr, *peer_mr, *storm_mr;
static uint64_t counted;
static atomic_bool stop, is_other_key;
static atomic_ulong written, refused;
static uint32_t acknowledged[SLOTS]; /* 0: none */

static uint32_t shown(void)
{
	return __atomic_load_n(&mr->rkey, __ATOMIC_RELAXED);
}

static void *watch_key(void *arg)
{
	uint32_t rkey = shown();

	while (!atomic_load(&stop)) {
		if (shown() != rkey)
			atomic_store(&is_other_key, true);
		usleep(100);
	}
	return arg;
}

static enum ibv_wc_status try_write(uint64_t offset, uint32_t round,
				    uint32_t rkey)
{
	enum ibv_wc_status status;

	fill_pattern(buffer, NOTE, offset, round);
	status = end_rdma(&peer, IBV_WR_RDMA_WRITE, peer_mr, buffer, NOTE,
			  (uintptr_t)file + offset, rkey);
	if (status != IBV_WC_SUCCESS)
		ends_connect(&server, &peer);
	else if (memcmp(file + offset, buffer, NOTE))
		die("what was written to %lu is not there",
		    (unsigned long)offset);
	return status;
}

static void must(enum ibv_wc_status status, enum ibv_wc_status wanted,
		 const char *what)
{
	if (status != wanted)
		die("%s: %s", what, ibv_wc_status_str(status));
}

/* Until the file is back, or as long again; how many were refused. */
static unsigned long write_until_it_is_there(uint64_t offset, uint32_t round,
					     uint32_t rkey)
{
	double deadline = now() + 60;
	enum ibv_wc_status status;
	unsigned long n = 0;

	while ((status = try_write(offset, round, rkey))) {
		must(status, IBV_WC_REM_ACCESS_ERR, "while it is away");
		if (now() > deadline)
			die("it does not come back");
		n++;
		usleep(1000);
	}
	return n;
}

static void do_all(uint32_t round, uint32_t rkey)
{
	uint64_t *before = (uint64_t *)buffer;

	for (uint64_t at = 1001; at < SLOT - NOTE; at += SLOT / 4)
		must(try_write(at, round, rkey), IBV_WC_SUCCESS, "a write");
	memset(buffer, 0, NOTE);
	must(end_rdma(&peer, IBV_WR_RDMA_READ, peer_mr, buffer, NOTE,
		      (uintptr_t)file + 1001, rkey),
	     IBV_WC_SUCCESS, "a read");
	if (memcmp(file + 1001, buffer, NOTE))
		die("a read brings something else");
	must(end_atomic(&peer, IBV_WR_ATOMIC_FETCH_AND_ADD, peer_mr, before,
			(uintptr_t)file + WORD, rkey, 0, 1),
	     IBV_WC_SUCCESS, "an atomic");
	if (*before != counted++)
		die("an atomic brings %llu", (unsigned long long)*before);
}

static void *write_all_the_time(void *arg)
{
	unsigned char *note = buffer + 8192;
	uint32_t rkey = shown();
	enum ibv_wc_status status;
	uint64_t offset;

	for (uint32_t n = 1; !atomic_load(&stop); n++) {
		offset = SLOT + (n % SLOTS) * NOTE;
		fill_pattern(note, NOTE, offset, n);
		status = end_rdma(&storm, IBV_WR_RDMA_WRITE, storm_mr, note,
				  NOTE, (uintptr_t)file + offset, rkey);
		acknowledged[n % SLOTS] = status ? 0 : n;
		if (status) {
			must(status, IBV_WC_REM_ACCESS_ERR, "who writes on");
			ends_connect(&storm_server, &storm);
			usleep(1000);
		}
		atomic_fetch_add(status ? &refused : &written, 1);
	}
	return arg;
}

/* What was not acknowledged may be there, or in part. */
static void check_acknowledged(int fd)
{
	static unsigned char seen[NOTE], wanted[NOTE];

	for (uint64_t i = 0; i < SLOTS; i++) {
		if (!acknowledged[i])
			continue;
		fill_pattern(wanted, NOTE, SLOT + i * NOTE, acknowledged[i]);
		if (pread(fd, seen, NOTE, (off_t)(SLOT + i * NOTE)) != NOTE ||
		    memcmp(seen, wanted, NOTE))
			die("write %u is not in the file", acknowledged[i]);
	}
}

static bool is_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char byte;
	bool is_good = fd >= 0 && read(fd, &byte, 1) == 1;

	close(fd);
	return is_good;
}

/* Another process, without the file open but for the moment of the call. */
static pid_t start_other(const char *path, int *ret_socket)
{
	off_t size;
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends))
		die("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	close(ends[!pid]);
	*ret_socket = ends[!!pid];
	while (!pid && recv(ends[0], &size, sizeof(size), 0) > 0)
		if ((size ? truncate(path, size) != 0 : !is_read(path)) ||
		    send(ends[0], "", 1, 0) != 1)
			_exit(1);
	if (!pid)
		_exit(0);
	return pid;
}

/* Size 0: it is only opened, and read. */
static void order(int other, off_t size)
{
	char answer;

	if (send(other, &size, sizeof(size), 0) != sizeof(size) ||
	    recv(other, &answer, 1, 0) != 1)
		die("the other process has failed");
}

static void by_one_key(int other, uint32_t round)
{
	uint32_t rkey = shown();
	unsigned long opened, cut, grown;

	do_all(round, rkey);
	order(other, 0);
	opened = write_until_it_is_there(BEYOND, round, rkey);
	do_all(round, rkey);
	order(other, (off_t)HALF);
	cut = write_until_it_is_there(0, round, rkey);
	must(try_write(BEYOND, round, rkey), IBV_WC_REM_ACCESS_ERR,
	     "beyond the end");
	do_all(round, rkey);
	order(other, (off_t)SIZE);
	grown = write_until_it_is_there(BEYOND, round, rkey);
	do_all(round, rkey);
	printf("round %u: rkey %#x, refused %lu times while others read it, "
	       "%lu while they cut it off, %lu while they let it grow\n",
	       round, rkey, opened, cut, grown);
}

static void by_another_key(int other, uint32_t round, off_t size)
{
	uint32_t rkey = shown(), next;
	double deadline = now() + 60;

	do_all(round, rkey);
	order(other, size);
	while ((next = shown()) == 0 || next == rkey) {
		if (now() > deadline)
			die("there is no other rkey");
		usleep(1000);
	}
	must(try_write(0, round, rkey), IBV_WC_REM_ACCESS_ERR,
	     "by the old key");
	do_all(round, next);
	printf("round %u: rkey %#x, then %#x\n", round, rkey, next);
}

/* A window is bound only where the kernel lets a device write. */
static void must_refuse_read_only(int fd)
{
	void *at = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	errno = 0;
	if (ibv_reg_mr(server.pd, at, SIZE, IBV_ACCESS_REMOTE_READ) ||
	    errno != EFAULT || !strstr(daxmr_errormsg(), "map it PROT_WRITE"))
		die("a mapping for reading only: %s, %s", strerror(errno),
		    daxmr_errormsg());
	munmap(at, SIZE);
}

static struct ibv_mr *register_by_library(void)
{
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
		.keys = DAXMR_KEYS_WINDOW,
	};
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_region *region;

	if (daxmr_reg_mr(server.pd, file, SIZE, REMOTE_ALL, &options, &region))
		die("daxmr_reg_mr: %s", daxmr_errormsg());
	if (daxmr_region_info(region, &info))
		die("daxmr_region_info failed");
	return info.mr;
}

static void open_ends(void)
{
	buffer = aligned_alloc(4096, 16384);
	if (!buffer)
		die("no memory");
	end_open(&server);
	end_open(&peer);
	end_open(&storm);
	/* its QPs are in the PD of the region */
	storm_server = server;
	ends_connect(&server, &peer);
	ends_connect(&storm_server, &storm);
}

static void register_all(bool by_library)
{
	mr = by_library ? register_by_library()
			: end_register(&server, file, SIZE, REMOTE_ALL);
	peer_mr = end_register(&peer, buffer, 8192, IBV_ACCESS_LOCAL_WRITE);
	storm_mr = end_register(&storm, buffer + 8192, 8192,
				IBV_ACCESS_LOCAL_WRITE);
}

int main(int argc, char **argv)
{
	pthread_t writer, watcher;
	bool stays;
	uint32_t rounds;
	int fd, other, status;
	pid_t pid;

	if (argc != 4)
		die("usage: rdma_keys FILE ROUNDS stay|change|library");
	rounds = (uint32_t)strtoul(argv[2], NULL, 10);
	stays = strcmp(argv[3], "change") != 0;
	pid = start_other(argv[1], &other);
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)SIZE))
		die("%s: %s", argv[1], strerror(errno));
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	memset(file, 0, SIZE);
	open_ends();
	if (strcmp(argv[3], "stay") == 0)
		must_refuse_read_only(fd);
	register_all(strcmp(argv[3], "library") == 0);
	if (stays && (pthread_create(&watcher, NULL, watch_key, NULL) ||
		      pthread_create(&writer, NULL, write_all_the_time, NULL)))
		die("no thread");
	for (uint32_t i = 0; i < rounds && stays; i++)
		by_one_key(other, i + 1);
	for (uint32_t i = 0; i < rounds && !stays; i++) {
		by_another_key(other, i + 1, 0);
		by_another_key(other, i + 1, (off_t)HALF);
		by_another_key(other, i + 1, (off_t)SIZE);
	}
	atomic_store(&stop, true);
	if (stays) {
		pthread_join(watcher, NULL);
		pthread_join(writer, NULL);
		check_acknowledged(fd);
	}
	if (is_other_key)
		die("the rkey has shown as another");
	close(other);
	if (waitpid(pid, &status, 0) != pid || status)
		die("the other process has failed");
	printf("%u rounds, %llu atomics; all the time %lu written, %lu "
	       "refused\n",
	       rounds, (unsigned long long)counted, atomic_load(&written),
	       atomic_load(&refused));
	return 0;
}
