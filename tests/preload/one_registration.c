/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers a page of a file that the "kernel" refuses; says what came of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "standin.h"

int main(void)
{
	struct standin_control *device = standin_control();
	char path[] = "/tmp/daxmr-one-XXXXXX";
	int fd = mkstemp(path);
	struct ibv_mr *mr;
	void *addr;

	unlink(path);
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return 2;
	addr = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return 2;
	device->refuse_plain = EFAULT;
	device->has_odp = 1;
	mr = ibv_reg_mr(standin_pd(), addr, 4096, IBV_ACCESS_LOCAL_WRITE);
	if (mr)
		printf("registered, calls %u, access %#x\n",
		       device->seen.calls[STANDIN_REG_MR], device->seen.access);
	else
		printf("not registered: %s\n", strerror(errno));
	return 0;
}
