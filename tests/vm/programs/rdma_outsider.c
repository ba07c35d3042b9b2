/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_outsider FILE LOOKS
 *
 * A peer writes numbered messages all over FILE, at odd offsets, while another
 * process opens and reads it LOOKS times, whenever the lease is back: each time
 * it must see every write whose completion came before its open. In the end the
 * file has to be mapped back, and to have what was written last in every place.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "messages.h"
#include "outside.h"

/* Between the two processes. */
struct board {
	_Atomic uint64_t done;	/* how many writes were complete */
	_Atomic uint32_t looks; /* how often it was looked */
	atomic_bool is_wrong;
};

static struct board *board;

static ino_t inode_of(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		die("%s is not there", path);
	return st.st_ino;
}

/* It was forked before there was anything: it has nothing of the file. */
static void look(const char *path, uint32_t looks)
{
	static unsigned char bytes[MESSAGES_SIZE];
	struct timespec pause = {.tv_nsec = 5000000};
	ino_t inode;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!atomic_load(&board->done))
		nanosleep(&pause, NULL);
	inode = inode_of(path);
	for (uint32_t i = 0; i < looks; i++) {
		double until = now() + 20;
		uint64_t done;

		while (!outside_is_leased(inode) && now() < until)
			nanosleep(&pause, NULL);
		done = atomic_load(&board->done);
		if (!outside_is_leased(inode) || !messages_read(path, bytes) ||
		    !messages_are_all(bytes, done,
				      atomic_load(&board->done) + 1))
			atomic_store(&board->is_wrong, true);
		atomic_fetch_add(&board->looks, 1);
		nanosleep(&pause, NULL);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	struct ibv_mr *mr, *buffer_mr;
	struct end server, peer;
	unsigned char *file, *after, *buffer;
	uint64_t number = 0;
	uint32_t looks;
	int status;
	pid_t pid;

	if (argc != 3)
		die("usage: rdma_outsider FILE LOOKS");
	looks = (uint32_t)atoi(argv[2]);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		die("no memory");
	pid = fork();
	if (!pid)
		look(argv[1], looks);
	file = map_file(argv[1], MESSAGES_SIZE);
	buffer = aligned_alloc(4096, 4096);
	after = malloc(MESSAGES_SIZE);
	if (pid < 0 || !buffer || !after)
		die("no memory");
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, file, MESSAGES_SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, 4096, REMOTE_ALL);

	while (atomic_load(&board->looks) < looks &&
	       !atomic_load(&board->is_wrong)) {
		enum ibv_wc_status result;
		uint64_t at;

		if (number == MESSAGES_MAX)
			continue;
		at = message_make(number++, buffer);
		result = end_rdma(&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer,
				  MESSAGES_LENGTH, (uintptr_t)(file + at),
				  mr->rkey);
		if (result != IBV_WC_SUCCESS)
			die("write %lu: %s", (unsigned long)number,
			    ibv_wc_status_str(result));
		atomic_store(&board->done, number);
	}
	if (waitpid(pid, &status, 0) != pid || status ||
	    atomic_load(&board->is_wrong))
		die("the outsider has not seen what it must");
	if (!messages_are_all(file, number, number))
		die("the mapping is not what it must be");
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	if (!outside_comes_back(inode_of(argv[1]), file))
		die("the file was not mapped back");
	if (!messages_are_all(file, number, number) ||
	    !messages_read(argv[1], after) ||
	    !messages_are_all(after, number, number) ||
	    memcmp(file, after, MESSAGES_SIZE))
		die("the file is not what it must be");
	if (ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&server);
	end_close(&peer);
	printf("%lu writes, looked at %u times\n", (unsigned long)number,
	       looks);
	return 0;
}
