/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_ordinary COUNT
 *
 * Registers and deregisters a page of anonymous memory COUNT times, for strace
 * to count what that costs, and prints in which library the functions of the
 * data path lie: what a program calls for each post and each poll.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ends.h"

static void print_library(const char *name, const void *function)
{
	const char *base;
	Dl_info info;

	if (!dladdr(function, &info))
		die("%s is in no library", name);
	base = strrchr(info.dli_fname, '/');
	printf("%s %s+%#lx\n", name, base ? base + 1 : info.dli_fname,
	       (unsigned long)((const char *)function -
			       (const char *)info.dli_fbase));
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, i;
	struct end end;
	void *page;

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("no memory");
	end_open(&end);
	for (i = 0; i < count; i++)
		if (ibv_dereg_mr(end_register(&end, page, 4096, REMOTE_ALL)))
			die("ibv_dereg_mr failed");
	print_library("post_send", (void *)end.context->ops.post_send);
	print_library("post_recv", (void *)end.context->ops.post_recv);
	print_library("poll_cq", (void *)end.context->ops.poll_cq);
	end_close(&end);
	return 0;
}
