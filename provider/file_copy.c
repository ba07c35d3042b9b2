/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies between descriptors of which one has a file with shadows: file_io.h.
 * Each piece is a read and a write of its own, in which what has no shadow is
 * the kernel's; nothing is held between them, and signals come as they do.
 */
#include <errno.h>
#include <fcntl.h>

#include "file_io.h"
#include "file_sync.h"
#include "raw.h"

/* On the caller's stack. */
#define PIECE	   8192U
#define LENGTH_MAX 0x7ffff000UL

static ssize_t move(int fd, bool is_write, int64_t offset, char *bytes,
		    size_t length)
{
	struct own_io io = {
		.fd = fd,
		.is_write = is_write,
		.offset = offset,
		.buffer = {bytes, length},
	};
	ssize_t n;

	if (file_io(&io, &n))
		return n;
	if (offset != OWN_IO_POSITION)
		n = syscall(is_write ? SYS_pwrite64 : SYS_pread64, fd, bytes,
			    length, offset);
	else
		n = syscall(is_write ? SYS_write : SYS_read, fd, bytes, length);
	return n < 0 ? -errno : n;
}

static bool is_open_for(int fd, bool is_write)
{
	int status = (int)syscall(SYS_fcntl, fd, F_GETFL);

	if (status < 0 || status & O_PATH)
		return false;
	return is_write ? (status & O_ACCMODE) != O_RDONLY &&
				  !(status & O_APPEND)
			: (status & O_ACCMODE) != O_WRONLY;
}

/* 0, or -errno: of the call. */
static int offset_of(int fd, const int64_t *offset, int64_t *ret)
{
	if (offset)
		return own_io_fetch(ret, offset, sizeof(*ret));
	*ret = syscall(SYS_lseek, fd, 0, SEEK_CUR);
	return *ret < 0 ? -errno : 0;
}

static int move_on(int fd, int64_t *offset, int64_t to)
{
	if (offset)
		return own_io_store(offset, &to, sizeof(to));
	syscall(SYS_lseek, fd, to, SEEK_SET);
	return 0;
}

/* in is where to begin; out is OWN_IO_POSITION where the kernel counts. */
static ssize_t copy_pieces(const struct file_copy *copy, int64_t in,
			   int64_t out)
{
	size_t left = copy->length < LENGTH_MAX ? copy->length : LENGTH_MAX;
	char bytes[PIECE];
	size_t done = 0;
	ssize_t n = 0;

	while (done < left) {
		size_t wanted = left - done < PIECE ? left - done : PIECE;
		ssize_t got = move(copy->in, false, in + (int64_t)done, bytes,
				   wanted);

		n = got;
		if (got <= 0)
			break;
		n = move(copy->out, true,
			 out == OWN_IO_POSITION ? out : out + (int64_t)done,
			 bytes, (size_t)got);
		if (n <= 0)
			break;
		done += (size_t)n;
		if (n < got)
			break;
	}
	return done ? (ssize_t)done : n;
}

/* What was copied counts, whatever becomes of the offsets' memory. */
static ssize_t copy_from(const struct file_copy *copy, int64_t in, int64_t out)
{
	ssize_t n = copy_pieces(copy, in, out);
	int r = 0;

	if (n <= 0)
		return n;
	r = move_on(copy->in, copy->in_offset, in + n);
	if (!r && copy->out_offset)
		r = move_on(copy->out, copy->out_offset, out + n);
	return r ? r : n;
}

/* A pipe or a socket cannot be sent from: the kernel says so. */
bool file_sendfile(const struct file_copy *copy, ssize_t *ret)
{
	int saved_errno = errno, r;
	struct stat st;
	int64_t in;
	bool is_ours;

	is_ours = (file_is_staged(copy->in, &st) ||
		   file_is_staged(copy->out, &st)) &&
		  is_open_for(copy->in, false) && is_open_for(copy->out, true);
	if (is_ours) {
		r = offset_of(copy->in, copy->in_offset, &in);
		is_ours = !r && in >= 0;
	}
	if (is_ours)
		*ret = copy_from(copy, in, OWN_IO_POSITION);
	errno = saved_errno;
	return is_ours;
}

static bool overlap(int64_t a, int64_t b, size_t length)
{
	uint64_t apart = a < b ? (uint64_t)(b - a) : (uint64_t)(a - b);

	return apart < length;
}

static bool can_copy(const struct file_copy *copy, int64_t *in, int64_t *out)
{
	struct stat from, to;

	if (!file_is_staged(copy->in, &from) && !file_is_staged(copy->out, &to))
		return false;
	if (raw_stat(copy->in, &from) || raw_stat(copy->out, &to) ||
	    !S_ISREG(from.st_mode) || !S_ISREG(to.st_mode) ||
	    !is_open_for(copy->in, false) || !is_open_for(copy->out, true) ||
	    offset_of(copy->in, copy->in_offset, in) ||
	    offset_of(copy->out, copy->out_offset, out) || *in < 0 || *out < 0)
		return false;
	return from.st_dev != to.st_dev || from.st_ino != to.st_ino ||
	       !overlap(*in, *out, copy->length);
}

bool file_copy_range(const struct file_copy *copy, ssize_t *ret)
{
	int saved_errno = errno;
	int64_t in, out;
	bool is_ours = can_copy(copy, &in, &out);

	if (is_ours)
		*ret = copy_from(copy, in,
				 copy->out_offset ? out : OWN_IO_POSITION);
	errno = saved_errno;
	return is_ours;
}

int file_splice(const struct file_copy *copy)
{
	int saved_errno = errno, r = 0;
	struct stat st;
	int64_t in;

	if (file_is_staged(copy->out, &st))
		return -EINVAL;
	if (file_is_staged(copy->in, &st) &&
	    !offset_of(copy->in, copy->in_offset, &in) && in >= 0 &&
	    sync_file(copy->in, (uint64_t)in, copy->length))
		r = -EINVAL;
	errno = saved_errno;
	return r;
}
