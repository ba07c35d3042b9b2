/* SPDX-License-Identifier: BSD-2-Clause */
/* A file, a region in it, and what happens to it: README.rst. */
#include <daxmr.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s. %s\n", what, strerror(error),
		daxmr_errormsg());
	return 1;
}

int main(int argc, char **argv)
{
	struct ibv_device **devices = ibv_get_device_list(NULL);
	struct ibv_context *context =
		devices && *devices ? ibv_open_device(*devices) : NULL;
	struct ibv_pd *pd = context ? ibv_alloc_pd(context) : NULL;
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1, r;
	struct daxmr_options options = {.size = sizeof(options)};
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_region *region;
	struct daxmr_event *event;
	struct stat st;
	void *addr;

	if (!pd || fd < 0 || fstat(fd, &st) || !st.st_size)
		return fail("usage: register FILE, beside an RDMA device", 22);
	addr = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED || daxmr_channel_open(&options.channel))
		return fail(argv[1], 12);
	options.name = argv[1];
	r = daxmr_reg_mr(pd, addr, (size_t)st.st_size,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				 IBV_ACCESS_REMOTE_READ,
			 &options, &region);
	if (r)
		return fail(argv[1], -r);
	daxmr_region_info(region, &info);
	printf("%s: %zu bytes, rkey %#x\n", info.name, info.length, info.rkey);
	/* A peer that is told address and rkey can read and write the file. */
	while (!fflush(stdout) &&
	       !daxmr_event_get(options.channel, -1, &event)) {
		printf("%s, %llu blocks\n", daxmr_event_name(event->kind),
		       (unsigned long long)event->blocks);
		daxmr_event_ack(event);
	}
	return daxmr_dereg_mr(region) ? 1
				      : daxmr_channel_close(options.channel);
}
