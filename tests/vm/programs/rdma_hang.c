/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_hang FILE
 *
 * What a pinned page does to a truncate: another process cuts off FILE under an
 * MR, and waits in the kernel for the pin, until the MR is gone and not a
 * moment sooner.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"

#define SIZE (4UL << 20)
#define KEPT (1UL << 20)
#define LONG 1 /* seconds; a truncate takes a fraction of a millisecond */

/* Where the kernel has the process waiting; "" where it runs. */
static const char *waits_in(pid_t pid)
{
	static char stack[4096];
	char path[64];
	size_t n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stack", (int)pid);
	file = fopen(path, "re");
	if (file) {
		n = fread(stack, 1, sizeof(stack) - 1, file);
		fclose(file);
	}
	stack[n] = '\0';
	return stack;
}

static bool has_ended(pid_t pid)
{
	int status;
	pid_t ended = waitpid(pid, &status, WNOHANG);

	if (ended == pid && status)
		die("truncate by another process failed");
	return ended == pid;
}

static off_t size_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		die("%s: %s", path, strerror(errno));
	return st.st_size;
}

/* xfs_break_dax_layouts(), ext4_break_layouts() */
static void wait_until_it_waits(pid_t pid)
{
	double deadline = now() + 20;

	while (!strstr(waits_in(pid), "break_dax_layouts") &&
	       !strstr(waits_in(pid), "ext4_break_layouts")) {
		if (has_ended(pid))
			die("the truncate did not wait for the pin");
		if (now() > deadline)
			die("the truncate is not where it waits for pins: %s",
			    waits_in(pid));
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	double deregistered, deadline = 0;
	struct ibv_mr *mr;
	struct end end;
	char *file;
	pid_t pid;

	if (argc != 2)
		die("usage: rdma_hang FILE");
	file = map_file(argv[1], SIZE);
	memset(file, 0x5a, SIZE);
	end_open(&end);
	mr = end_register(&end, file, SIZE, REMOTE_ALL);

	pid = fork();
	if (pid == 0)
		_exit(truncate(argv[1], KEPT) ? 1 : 0);
	if (pid < 0)
		die("fork: %s", strerror(errno));
	wait_until_it_waits(pid);
	for (deadline = now() + LONG; now() < deadline; usleep(10000))
		if (has_ended(pid))
			die("the truncate returned while the pages were "
			    "pinned");
	if (size_of(argv[1]) != (off_t)SIZE)
		die("the file is cut off while its pages are pinned");

	deregistered = now();
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	for (deadline = now() + 20; !has_ended(pid); usleep(1000))
		if (now() > deadline)
			die("the truncate still waits 20 s after the MR went: "
			    "%s",
			    waits_in(pid));
	printf("the truncate hung for %d s, and was through %.1f ms after the "
	       "MR went\n",
	       LONG, (now() - deregistered) * 1e3);
	if (size_of(argv[1]) != (off_t)KEPT)
		die("the file was not cut off");
	end_close(&end);
	return 0;
}
