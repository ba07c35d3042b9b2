/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_pinned_kinds FILE SECONDS
 *
 * All kinds of work (pinned_kinds.h) on one region of FILE at once, while
 * another process cuts FILE off and lets it grow again, twice a second. What
 * the program does by itself never fails; what a peer does by itself, into a
 * receive in the region, may fail and goes on with a new connection. Prints how
 * often what was done, and the longest that a cut took; fails where a kind has
 * stood still.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pinned_kinds.h"

#define SIZE (4UL << 20)
#define KEPT (2UL << 20)

static struct kind kinds[] = {
	{.name = "batches", .work = kind_batches},
	{.name = "chains", .work = kind_chains},
	{.name = "a shared CQ", .work = kind_shared_cq},
	{.name = "a peer with finite rnr_retry", .work = kind_shared_receives},
	{.name = "receives in the region", .work = kind_receives},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))
_Static_assert(KINDS *AREA <= KEPT, "each has an area that stays");

struct cuts {
	atomic_ulong count;
	_Atomic double longest; /* seconds */
};

static void *start(void *arg)
{
	struct kind *kind = arg;

	kind->work(kind);
	return NULL;
}

static void cut(const char *path, off_t size, struct cuts *cuts)
{
	double took = now();

	if (truncate(path, size))
		_exit(1);
	took = now() - took;
	if (took > cuts->longest)
		cuts->longest = took;
	cuts->count++;
}

/* Another process, which has none of the mappings; until it is killed. */
static pid_t start_cutting(const char *path, struct cuts *cuts, int *ret_go)
{
	int go[2];
	pid_t pid;
	char byte;

	if (pipe(go))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		close(go[1]);
		if (read(go[0], &byte, 1) != 1)
			_exit(0);
		for (;;) {
			cut(path, KEPT, cuts);
			usleep(500000);
			cut(path, SIZE, cuts);
			usleep(500000);
		}
	}
	close(go[0]);
	*ret_go = go[1];
	return pid;
}

static void stop_cutting(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != 0)
		die("truncate has failed");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	struct cuts *cuts = mmap(NULL, sizeof(*cuts), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned char *file;
	pthread_t threads[KINDS];
	bool stood = false;
	pid_t pid;
	int go;

	if (argc != 3 || cuts == MAP_FAILED)
		die("usage: rdma_pinned_kinds FILE SECONDS");
	pid = start_cutting(argv[1], cuts, &go);
	file = map_file(argv[1], SIZE);
	end_open(&kinds_local);
	end_open(&kinds_peer);
	kinds_region =
		end_register(&kinds_local, file, SIZE, IBV_ACCESS_LOCAL_WRITE);
	for (size_t i = 0; i < KINDS; i++) {
		kinds[i].area = file + i * AREA;
		if (pthread_create(&threads[i], NULL, start, &kinds[i]))
			die("no thread");
	}
	if (write(go, "", 1) != 1)
		die("nobody cuts");
	sleep((unsigned int)atoi(argv[2]));
	atomic_store(&kinds_are_over, true);
	for (size_t i = 0; i < KINDS; i++)
		pthread_join(threads[i], NULL);
	stop_cutting(pid);
	for (size_t i = 0; i < KINDS; i++) {
		printf("%s: %lu done, %lu failed\n", kinds[i].name,
		       kinds[i].done, kinds[i].failed);
		stood |= kinds[i].done < 10;
	}
	printf("%lu cuts, the longest took %.0f ms\n", cuts->count,
	       cuts->longest * 1e3);
	if (ibv_dereg_mr(kinds_region))
		die("ibv_dereg_mr failed");
	end_close(&kinds_local);
	end_close(&kinds_peer);
	return stood;
}
