/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages kept by a pipe: private_hold.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "private_hold.h"
#include "raw.h"

int hold_open(struct hold *ret)
{
	long page = sysconf(_SC_PAGESIZE);
	int size;

	if (syscall(SYS_pipe2, ret->ends, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	size = fcntl(ret->ends[1], F_SETPIPE_SZ, (int)HOLD_MAX);
	if (size < 0)
		size = fcntl(ret->ends[1], F_GETPIPE_SZ);
	/* Each page takes the room of one. */
	ret->size = size < page ? (size_t)page : (size_t)size;
	if (ret->size > HOLD_MAX)
		ret->size = HOLD_MAX;
	return 0;
}

void hold_close(struct hold *hold)
{
	raw_close(hold->ends[0]);
	raw_close(hold->ends[1]);
}

static void drop(const struct hold *hold)
{
	char bytes[4096];

	while (raw_read(hold->ends[0], bytes, sizeof(bytes)) > 0)
		;
}

int hold_keep(const struct hold *hold, uintptr_t addr, size_t length)
{
	size_t kept = 0;

	drop(hold);
	while (kept < length) {
		struct iovec rest = {(void *)(addr + kept), length - kept};
		ssize_t n = syscall(SYS_vmsplice, hold->ends[1], &rest, 1, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EFAULT;
		kept += (size_t)n;
	}
	return 0;
}

int hold_take(const struct hold *hold, char *ret, size_t length)
{
	while (length) {
		ssize_t n = raw_read(hold->ends[0], ret, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		ret += n;
		length -= (size_t)n;
	}
	return 0;
}
