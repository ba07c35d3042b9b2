/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_truncate FILE
 *
 * Another process truncates FILE under a registered region that a peer writes
 * into without pause: it must return at once, writes to what is left go on, a
 * write beyond the end fails with a remote access error, and after the file has
 * grown again the same rkey works.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"

#define SIZE  (16UL << 20)
#define KEPT  (4UL << 20)
#define BLOCK 65536U

static struct end server, writer, peer;
static unsigned char *file, *buffer;
static struct ibv_mr *mr, *writer_mr, *peer_mr;
static atomic_ulong written;
static atomic_bool stop;
static struct end writer_server;

/* Writes all over what is left, without pause. */
static void *write_without_pause(void *arg)
{
	unsigned long n = 0;
	uint64_t offset;

	while (!atomic_load(&stop)) {
		enum ibv_wc_status status;

		offset = (n * BLOCK) % KEPT;
		fill_pattern(buffer, BLOCK, offset, (uint32_t)n);
		status = end_rdma(&writer, IBV_WR_RDMA_WRITE, writer_mr, buffer,
				  BLOCK, (uintptr_t)(file + offset), mr->rkey);
		if (status != IBV_WC_SUCCESS)
			die("write %lu at %lu, inside the file: %s", n,
			    (unsigned long)offset, ibv_wc_status_str(status));
		if (memcmp(file + offset, buffer, BLOCK))
			die("write %lu at %lu is not in the file", n,
			    (unsigned long)offset);
		atomic_store(&written, ++n);
	}
	return arg;
}

/* By another process, as an administrator would; returns seconds. */
static double truncate_by_other(const char *path, off_t size)
{
	double start = now();
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(truncate(path, size) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("truncate by another process failed");
	return now() - start;
}

static void wait_for_writes(unsigned long more)
{
	unsigned long until = atomic_load(&written) + more;
	double deadline = now() + 20;

	while (atomic_load(&written) < until) {
		if (now() > deadline)
			die("the writer stands still");
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	enum ibv_wc_status status;
	double shrunk, grown;
	pthread_t thread;
	uint64_t beyond;
	struct stat st;
	unsigned int i;
	int fd;

	if (argc != 2)
		die("usage: rdma_truncate FILE");
	file = map_file(argv[1], SIZE);
	buffer = aligned_alloc(4096, 2 * BLOCK);
	if (!buffer)
		die("no memory");
	/* two pairs of QPs into one PD: one for each story */
	end_open(&server);
	writer_server = server;
	end_open(&writer);
	end_open(&peer);
	ends_connect(&server, &peer);
	ends_connect(&writer_server, &writer);
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	writer_mr = end_register(&writer, buffer, BLOCK, REMOTE_ALL);
	peer_mr = end_register(&peer, buffer + BLOCK, BLOCK, REMOTE_ALL);

	if (pthread_create(&thread, NULL, write_without_pause, NULL))
		die("no thread");
	wait_for_writes(20);
	beyond = (uintptr_t)(file + KEPT + 12345);
	memset(buffer + BLOCK, 0x42, BLOCK);
	status = end_rdma(&peer, IBV_WR_RDMA_WRITE, peer_mr, buffer + BLOCK,
			  5000, beyond, mr->rkey);
	if (status != IBV_WC_SUCCESS)
		die("a write into the whole file: %s",
		    ibv_wc_status_str(status));

	shrunk = truncate_by_other(argv[1], KEPT);
	wait_for_writes(20);
	status = end_rdma(&peer, IBV_WR_RDMA_WRITE, peer_mr, buffer + BLOCK,
			  5000, beyond, mr->rkey);
	if (status != IBV_WC_REM_ACCESS_ERR)
		die("a write beyond the end: %s, not a remote access error",
		    ibv_wc_status_str(status));
	if (end_state(&peer) != IBV_QPS_ERR)
		die("after it the QP is not in ERR");
	wait_for_writes(20);
	if (stat(argv[1], &st) < 0 || st.st_size != (off_t)KEPT)
		die("the file is not as long as it was cut");

	grown = truncate_by_other(argv[1], SIZE);
	ends_connect(&server, &peer);
	status = end_rdma(&peer, IBV_WR_RDMA_WRITE, peer_mr, buffer + BLOCK,
			  5000, beyond, mr->rkey);
	if (status != IBV_WC_SUCCESS)
		die("a write into the file grown again, same rkey: %s",
		    ibv_wc_status_str(status));
	wait_for_writes(20);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);

	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, buffer, 5000, KEPT + 12345) != 5000 ||
	    memcmp(buffer, buffer + BLOCK, 5000))
		die("what was written after growing is not in the file");
	if (pread(fd, buffer, 12345, KEPT) != 12345)
		die("read of the regrown part failed");
	for (i = 0; i < 12345; i++)
		if (buffer[i])
			die("byte %u behind the cut is not zero", i);
	printf("truncate under load: %.1f ms, growing: %.1f ms, %lu writes\n",
	       shrunk * 1e3, grown * 1e3, atomic_load(&written));
	if (shrunk > 1)
		die("truncate took %.1f s", shrunk);
	return 0;
}
