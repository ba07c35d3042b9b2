/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_ordinary COUNT [FILE]
 *
 * Registers and deregisters a page of anonymous memory COUNT times, for strace
 * to count what that costs, and prints in which library the functions of the
 * data path lie: what a program calls for each post and each poll. With FILE
 * while that is registered, after a peer has written to it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

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

static struct ibv_mr *register_file(struct end *end, const char *path)
{
	struct ibv_mr *mr, *buffer_mr;
	static char buffer[64];
	struct end peer;
	struct stat st;
	void *file;

	if (stat(path, &st))
		die("%s is not there", path);
	file = map_file(path, (size_t)st.st_size);
	end_open(&peer);
	ends_connect(end, &peer);
	mr = end_register(end, file, (size_t)st.st_size, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, sizeof(buffer), 0);
	if (end_rdma(&peer, IBV_WR_RDMA_WRITE, buffer_mr, buffer,
		     sizeof(buffer), (uintptr_t)file, mr->rkey))
		die("the peer cannot write to %s", path);
	if (ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&peer);
	return mr;
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, i;
	struct ibv_mr *mr = NULL;
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
	if (argc > 2)
		mr = register_file(&end, argv[2]);
	print_library("post_send", (void *)end.context->ops.post_send);
	print_library("post_recv", (void *)end.context->ops.post_recv);
	print_library("poll_cq", (void *)end.context->ops.poll_cq);
	print_library("post_srq_recv", (void *)end.context->ops.post_srq_recv);
	print_library("req_notify_cq", (void *)end.context->ops.req_notify_cq);
	if (mr && ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	end_close(&end);
	return 0;
}
