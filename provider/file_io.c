/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads and writes of files with shadows: file_io.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "file_io.h"
#include "file_sync.h"
#include "leases.h"
#include "raw.h"
#include "shadows.h"
#include "window/window.h"

bool file_is_staged(int fd, struct stat *ret)
{
	struct lease_engine *engine = leases_engine();
	int saved_errno = errno;
	bool is_there = engine && !raw_stat(fd, ret);

	errno = saved_errno;
	return is_there && S_ISREG(ret->st_mode) &&
	       shadows_has_file(engine, ret->st_dev, ret->st_ino);
}

/* -1: not open in this way. */
static int status_of(int fd, bool is_write)
{
	int saved_errno = errno;
	int status = (int)syscall(SYS_fcntl, fd, F_GETFL);

	errno = saved_errno;
	return status < 0 || status & O_PATH ||
			       (status & O_ACCMODE) ==
				       (is_write ? O_RDONLY : O_WRONLY)
		       ? -1
		       : status;
}

bool file_io(struct own_io *io, ssize_t *ret)
{
	struct own_io_done done;
	struct stat st;
	int r;

	if (io->offset < OWN_IO_POSITION || io->count < 0 ||
	    io->count > IOV_MAX || !file_is_staged(io->fd, &st))
		return false;
	io->status = status_of(io->fd, io->is_write);
	if (io->status < 0 ||
	    !own_io(leases_engine(), st.st_dev, st.st_ino, io, &done))
		return false;
	*ret = done.result;
	/* It may be longer now: peers reach that from here on. */
	if (io->is_write && done.result > 0 &&
	    done.offset + (uint64_t)done.result > (uint64_t)st.st_size)
		window_own_end(st.st_dev, st.st_ino);
	if (!done.is_to_sync)
		return true;
	r = sync_file(io->fd, done.offset, (uint64_t)done.result);
	if (r)
		*ret = r;
	return true;
}
