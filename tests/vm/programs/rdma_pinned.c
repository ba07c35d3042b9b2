/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_pinned FILE ROUNDS [REGIONS]
 *
 * A process works on FILE without pause: it sends, writes, reads and does
 * atomics from and into the region; the other end is another process's, with
 * memory of its own. All of that is local to the region's side, so nothing of
 * it may fail while another process cuts the file off and lets it grow again,
 * ROUNDS times. What lies beyond the cut is not touched. Prints what each round
 * took. REGIONS more of the same file are there as well.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"

#define SIZE  (8UL << 20)
#define KEPT  (4UL << 20)
#define BLOCK 65536U
#define MORE  64

/* The peer's memory: written, received, counted in. */
#define COUNTER	  (2UL * BLOCK)
#define PEER_SIZE (COUNTER + 4096)

struct peer_keys {
	uint32_t qp_num;
	uint32_t rkey;
};

static struct end local;
static unsigned char *file, *buffer;
static struct ibv_mr *mr;
static uint32_t peer_rkey;
static int to_peer[2], from_peer[2];
static atomic_ulong operations;
static atomic_bool stop;

static void must(enum ibv_wc_status status, const char *what, unsigned long n)
{
	if (status != IBV_WC_SUCCESS)
		die("%s %lu: %s", what, n, ibv_wc_status_str(status));
}

/* From the region to the peer, and back to its other half. */
static void write_and_read(unsigned long n, uint64_t offset)
{
	fill_pattern(file + offset, BLOCK, offset, (uint32_t)n);
	memset(buffer, 0, BLOCK);
	must(end_rdma(&local, IBV_WR_RDMA_WRITE, mr, file + offset, BLOCK,
		      (uintptr_t)buffer, peer_rkey),
	     "write", n);
	if (memcmp(buffer, file + offset, BLOCK))
		die("write %lu has not brought what is in the file", n);
	must(end_rdma(&local, IBV_WR_RDMA_READ, mr, file + KEPT / 2 + offset,
		      BLOCK, (uintptr_t)buffer, peer_rkey),
	     "read", n);
	if (memcmp(buffer, file + KEPT / 2 + offset, BLOCK))
		die("read %lu is not in the file", n);
}

/* Both say a byte: a receive is posted, it is done. */
static void hear_peer(void)
{
	char byte;

	if (read(from_peer[0], &byte, 1) != 1)
		die("the peer has ended");
}

static void send(unsigned long n, uint64_t offset)
{
	hear_peer();
	must(end_rdma(&local, IBV_WR_SEND, mr, file + offset, BLOCK, 0, 0),
	     "send", n);
	hear_peer();
	if (memcmp(buffer + BLOCK, file + offset, BLOCK))
		die("send %lu has not brought what is in the file", n);
}

static void count(unsigned long n)
{
	uint64_t *before = (uint64_t *)(file + KEPT - sizeof(*before));

	*before = UINT64_MAX;
	must(end_atomic(&local, IBV_WR_ATOMIC_FETCH_AND_ADD, mr, before,
			(uintptr_t)buffer + COUNTER, peer_rkey, 0, 1),
	     "atomic", n);
	if (*before != n)
		die("atomic %lu has brought %llu", n,
		    (unsigned long long)*before);
}

static void *work_without_pause(void *arg)
{
	unsigned long n = 0;
	uint64_t offset;

	while (!atomic_load(&stop)) {
		offset = (n * BLOCK) % (KEPT / 2);
		write_and_read(n, offset);
		send(n, offset);
		count(n);
		atomic_store(&operations, ++n);
	}
	return arg;
}

static void wait_for_operations(unsigned long more)
{
	unsigned long until = atomic_load(&operations) + more;
	double deadline = now() + 60;

	while (atomic_load(&operations) < until) {
		if (now() > deadline)
			die("the work stands still");
		usleep(1000);
	}
}

/* Another process, which is there already: what it takes is the call alone. */
static int orders[2], answers[2];

static void obey(const char *path)
{
	double took;
	off_t size;

	while (read(orders[0], &size, sizeof(size)) == sizeof(size)) {
		took = now();
		if (truncate(path, size))
			_exit(1);
		took = now() - took;
		if (write(answers[1], &took, sizeof(took)) != sizeof(took))
			_exit(1);
	}
	_exit(0);
}

static double cut_by_other(off_t size)
{
	double took;

	if (write(orders[1], &size, sizeof(size)) != sizeof(size) ||
	    read(answers[0], &took, sizeof(took)) != sizeof(took))
		die("truncate by another process failed");
	return took;
}

static off_t size_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		die("%s: %s", path, strerror(errno));
	return st.st_size;
}

static pid_t start_other(const char *path)
{
	pid_t pid;

	if (pipe(orders) || pipe(answers))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		close(orders[1]);
		close(answers[0]);
		obey(path);
	}
	if (pid < 0)
		die("fork: %s", strerror(errno));
	close(orders[0]);
	close(answers[1]);
	return pid;
}

/* Not end_wait(), which would take a processor from who works. */
static bool peer_has_received(struct end *end)
{
	double deadline = now() + 60;
	struct ibv_wc wc;
	int n;

	while (!(n = ibv_poll_cq(end->cq, 1, &wc)) && now() < deadline)
		usleep(200);
	return n == 1 && wc.status == IBV_WC_SUCCESS;
}

/* The other end, until it is left alone. */
static void be_peer(void)
{
	struct end end;
	struct ibv_mr *memory;
	struct peer_keys keys;
	uint32_t other;

	end_open(&end);
	end_make_qp(&end);
	memory = end_register(&end, buffer, PEER_SIZE, REMOTE_ALL);
	keys = (struct peer_keys){end.qp->qp_num, memory->rkey};
	if (write(from_peer[1], &keys, sizeof(keys)) != sizeof(keys) ||
	    read(to_peer[0], &other, sizeof(other)) != sizeof(other))
		_exit(1);
	end_connect(&end, other);
	for (;;) {
		end_post_recv(&end, memory, buffer + BLOCK, BLOCK);
		if (write(from_peer[1], "", 1) != 1)
			break;
		if (!peer_has_received(&end) || write(from_peer[1], "", 1) != 1)
			break;
	}
	_exit(1);
}

/* Ends with this process at the latest: the pipe breaks. */
static pid_t start_peer(void)
{
	pid_t pid;

	buffer = mmap(NULL, PEER_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED)
		die("no memory");
	if (pipe(to_peer) || pipe(from_peer))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		close(to_peer[1]);
		close(from_peer[0]);
		close(orders[1]);
		close(answers[0]);
		be_peer();
	}
	if (pid < 0)
		die("fork: %s", strerror(errno));
	close(to_peer[0]);
	close(from_peer[1]);
	return pid;
}

static void connect_to_peer(void)
{
	struct peer_keys keys;

	if (read(from_peer[0], &keys, sizeof(keys)) != sizeof(keys))
		die("the peer has ended");
	peer_rkey = keys.rkey;
	end_make_qp(&local);
	if (write(to_peer[1], &local.qp->qp_num, sizeof(uint32_t)) !=
	    sizeof(uint32_t))
		die("the peer has ended");
	end_connect(&local, keys.qp_num);
}

static struct ibv_mr *more[MORE];

static void register_more(size_t count)
{
	if (count > MORE)
		die("at most %d regions more", MORE);
	for (size_t i = 0; i < count; i++)
		more[i] = end_register(&local, file + i * BLOCK, BLOCK,
				       IBV_ACCESS_LOCAL_WRITE);
}

static void deregister_more(void)
{
	for (size_t i = 0; i < MORE; i++)
		if (more[i] && ibv_dereg_mr(more[i]))
			die("ibv_dereg_mr failed");
}

int main(int argc, char **argv)
{
	unsigned long rounds, i;
	double shrunk, grown;
	pthread_t thread;
	pid_t pid, peer;
	int status;

	if (argc != 3 && argc != 4)
		die("usage: rdma_pinned FILE ROUNDS [REGIONS]");
	rounds = strtoul(argv[2], NULL, 10);
	/* before the file is mapped: whoever has a mapping is in the way */
	pid = start_other(argv[1]);
	peer = start_peer();
	file = map_file(argv[1], SIZE);
	end_open(&local);
	connect_to_peer();
	mr = end_register(&local, file, SIZE,
			  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	register_more(argc == 4 ? strtoul(argv[3], NULL, 10) : 0);
	if (pthread_create(&thread, NULL, work_without_pause, NULL))
		die("no thread");

	for (i = 0; i < rounds; i++) {
		wait_for_operations(2);
		shrunk = cut_by_other(KEPT);
		if (size_of(argv[1]) != (off_t)KEPT)
			die("the file was not cut off");
		wait_for_operations(2);
		grown = cut_by_other(SIZE);
		if (size_of(argv[1]) != (off_t)SIZE)
			die("the file has not grown");
		printf("round %lu: cut in %.0f us, grown in %.0f us\n", i,
		       shrunk * 1e6, grown * 1e6);
	}
	wait_for_operations(2);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	close(orders[1]);
	if (waitpid(pid, &status, 0) != pid || status)
		die("the other process has failed");
	deregister_more();
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	end_close(&local);
	printf("%lu rounds, %lu times written, read, sent and counted\n",
	       rounds, atomic_load(&operations));
	return 0;
}
