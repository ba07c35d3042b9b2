/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hook does for a read or write of the program's, once there are shadows
 * in this process: finds out by a look at the descriptor (fstat, raw) whether
 * it is one of a file that has some, and does the call if so (lease/own_io.h).
 *
 * What the kernel would refuse is left to the kernel: a descriptor that is not
 * open for that, a negative offset, too many buffers.
 *
 * No cancellation points; errno is kept; in signal handlers as well.
 */
#ifndef DAXMR_FILE_IO_H
#define DAXMR_FILE_IO_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "own_io.h"

/* Has the regular file that fd is open on shadows? Then *ret is what it is. */
bool file_is_staged(int fd, struct stat *ret);

/*
 * All but io->status is given. False: the call is to be made. Else *ret: bytes,
 * or -errno. What is to be synchronous (O_DSYNC, RWF_DSYNC) is durable, or it
 * is an error of sync_file()'s (file_sync.h) and in the shadow all the same.
 */
bool file_io(struct own_io *io, ssize_t *ret);

/*
 * sendfile() and copy_file_range(), where one of the two files has shadows:
 * through a buffer, piece by piece. Offsets as the calls have them: addresses
 * of the program's, NULL for the description's position. False, *ret: as above.
 */
struct file_copy {
	int in;
	int out;
	int64_t *in_offset;
	int64_t *out_offset;
	size_t length;
};
bool file_sendfile(const struct file_copy *copy, ssize_t *ret);
bool file_copy_range(const struct file_copy *copy, ssize_t *ret);

/*
 * Before splice(). 0: the call is to be made, what it reads has been written to
 * the file. -EINVAL: what a file says that cannot be spliced, on which callers
 * read and write: it is to be written to, or others have it now.
 */
int file_splice(const struct file_copy *copy);

#endif
