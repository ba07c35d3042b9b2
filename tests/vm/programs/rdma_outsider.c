/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_outsider FILE LOOKS
 *
 * A peer writes numbered messages all over FILE, at odd offsets, while another
 * process opens and reads it LOOKS times, whenever the lease is back: each time
 * it must see every write whose completion came before its open. In the end the
 * file has to be mapped back, and to have what was written last in every place.
 */
#include <fcntl.h>
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

#define SIZE   (4UL << 20)
#define STRIDE 4111U /* messages lie across words, blocks and page borders */
#define SLOTS  1000U
#define LENGTH 77U
#define ROUNDS 250U /* each byte of a message is its round */

/* Between the two processes. */
struct board {
	_Atomic uint64_t done;	/* how many writes were complete */
	_Atomic uint32_t looks; /* how often it was looked */
	atomic_bool is_wrong;
};

static struct board *board;

/* How often a slot was written by the first `done` writes. */
static unsigned int round_of(uint64_t slot, uint64_t done)
{
	return (unsigned int)((done + SLOTS - 1 - slot) / SLOTS);
}

/*
 * False, with a sentence: a write that was complete is not in the bytes, or
 * one is that has not begun.
 */
static bool is_all_there(const unsigned char *bytes, uint64_t done,
			 uint64_t begun)
{
	for (uint64_t slot = 0; slot < SLOTS; slot++) {
		const unsigned char *message = bytes + slot * STRIDE;
		unsigned int first = round_of(slot, done);
		unsigned int last = round_of(slot, begun);

		for (unsigned int i = 0; i < LENGTH; i++) {
			if (message[i] >= first && message[i] <= last)
				continue;
			printf("not ok: %lu writes were complete, %lu begun, "
			       "and byte %u of slot %lu is of round %u, not "
			       "%u to %u\n",
			       (unsigned long)done, (unsigned long)begun, i,
			       (unsigned long)slot, message[i], first, last);
			return false;
		}
	}
	return true;
}

static bool read_all(const char *path, unsigned char *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, at = 0;

	while (fd >= 0 && at < (ssize_t)SIZE &&
	       (n = read(fd, bytes + at, SIZE - (size_t)at)) > 0)
		at += n;
	if (fd >= 0)
		close(fd);
	return at == (ssize_t)SIZE;
}

/* Does anybody have a lease on it that is not being broken? */
static bool is_leased(const char *path)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256], inode[32];
	struct stat st;
	bool found = false;

	if (!locks || stat(path, &st))
		die("leases cannot be seen");
	snprintf(inode, sizeof(inode), ":%lu ", (unsigned long)st.st_ino);
	while (fgets(line, sizeof(line), locks))
		found |= strstr(line, "LEASE  ACTIVE") && strstr(line, inode);
	fclose(locks);
	return found;
}

/* It was forked before there was anything: it has nothing of the file. */
static void look(const char *path, uint32_t looks)
{
	static unsigned char bytes[SIZE];
	struct timespec pause = {.tv_nsec = 5000000};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!atomic_load(&board->done))
		nanosleep(&pause, NULL);
	for (uint32_t i = 0; i < looks; i++) {
		double until = now() + 20;
		uint64_t done;

		while (!is_leased(path) && now() < until)
			nanosleep(&pause, NULL);
		done = atomic_load(&board->done);
		if (!is_leased(path) || !read_all(path, bytes) ||
		    !is_all_there(bytes, done, atomic_load(&board->done) + 1)) {
			fflush(stdout);
			atomic_store(&board->is_wrong, true);
		}
		atomic_fetch_add(&board->looks, 1);
		nanosleep(&pause, NULL);
	}
	_exit(0);
}

/* The program's own mapping shows the file, by its name. */
static bool is_mapped_back(const char *path, const void *addr)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[4096];
	bool found = false;

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 &&
		    start <= (unsigned long)addr && end > (unsigned long)addr)
			found = strstr(line, path) != NULL;
	if (maps)
		fclose(maps);
	return found;
}

/* Others may have had the file when the MR went: at most 20 s. */
static bool comes_back(const char *path, const void *addr)
{
	double until = now() + 20;
	struct timespec pause = {.tv_nsec = 1000000};

	while (!is_mapped_back(path, addr)) {
		if (now() > until)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
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
	file = map_file(argv[1], SIZE);
	buffer = aligned_alloc(4096, 4096);
	after = malloc(SIZE);
	if (pid < 0 || !buffer || !after)
		die("no memory");
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, 4096, REMOTE_ALL);

	while (atomic_load(&board->looks) < looks &&
	       !atomic_load(&board->is_wrong)) {
		uint64_t slot = number % SLOTS;
		enum ibv_wc_status result;

		if (number == (uint64_t)SLOTS * ROUNDS)
			continue;
		memset(buffer, (int)(number++ / SLOTS + 1), LENGTH);
		result = end_rdma(&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer,
				  LENGTH, (uintptr_t)(file + slot * STRIDE),
				  mr->rkey);
		if (result != IBV_WC_SUCCESS)
			die("write %lu: %s", (unsigned long)number,
			    ibv_wc_status_str(result));
		atomic_store(&board->done, number);
	}
	if (waitpid(pid, &status, 0) != pid || status ||
	    atomic_load(&board->is_wrong))
		die("the outsider has not seen what it must");
	if (!is_all_there(file, number, number))
		die("the mapping is not what it must be");
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	if (!comes_back(argv[1], file))
		die("the file was not mapped back");
	if (!is_all_there(file, number, number) || !read_all(argv[1], after) ||
	    !is_all_there(after, number, number) || memcmp(file, after, SIZE))
		die("the file is not what it must be");
	if (ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&server);
	end_close(&peer);
	printf("%lu writes, looked at %u times\n", (unsigned long)number,
	       looks);
	return 0;
}
