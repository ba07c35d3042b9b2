/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers a page of a file that the "kernel" refuses; says what came of it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "refused_file.h"
#include "standin.h"

int main(void)
{
	struct standin_control *device = standin_control();
	char path[64];
	void *addr = refused_file_map(4096, path);
	struct ibv_mr *mr;

	if (!addr)
		return 77;
	unlink(path);
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
