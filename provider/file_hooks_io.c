/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exported calls that read and write by descriptors: the original, and as
 * soon as there are shadows those of file_io.h first. As file_hooks.c for all
 * else: without shadows one relaxed load and a jump, for these are also the
 * calls on sockets and pipes. Verbs' own calls, two or three for each message
 * of a program that sleeps until it comes, stay without (file_verbs.h).
 */
#include <pthread.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "file_hooks.h"
#include "file_verbs.h"

typedef ssize_t read_fn(int fd, void *buffer, size_t length);
typedef ssize_t pread_fn(int fd, void *buffer, size_t length, off_t offset);
typedef ssize_t readv_fn(int fd, const struct iovec *vector, int count);
typedef ssize_t preadv_fn(int fd, const struct iovec *vector, int count,
			  off_t offset);
typedef ssize_t preadv2_fn(int fd, const struct iovec *vector, int count,
			   off_t offset, int flags);
typedef ssize_t read_chk_fn(int fd, void *buffer, size_t length, size_t room);
typedef ssize_t pread_chk_fn(int fd, void *buffer, size_t length, off_t offset,
			     size_t room);
/* A write differs in a const alone. */
static ssize_t io_really(enum file_call call, const struct own_io *io)
{
	void *real = file_real(call);

	switch (call) {
	case FILE_read:
	case FILE_write:
		return ((read_fn *)real)(io->fd, io->buffer.iov_base,
					 io->buffer.iov_len);
	case FILE_readv:
	case FILE_writev:
		return ((readv_fn *)real)(io->fd, io->vector, io->count);
	case FILE_preadv:
	case FILE_preadv64:
	case FILE_pwritev:
	case FILE_pwritev64:
		return ((preadv_fn *)real)(io->fd, io->vector, io->count,
					   io->offset);
	case FILE_preadv2:
	case FILE_preadv64v2:
	case FILE_pwritev2:
	case FILE_pwritev64v2:
		return ((preadv2_fn *)real)(io->fd, io->vector, io->count,
					    io->offset, io->flags);
	default:
		return ((pread_fn *)real)(io->fd, io->buffer.iov_base,
					  io->buffer.iov_len, io->offset);
	}
}

/* All of them are cancellation points. */
static ssize_t io_staged(enum file_call call, struct own_io *io)
{
	ssize_t n;

	pthread_testcancel();
	return file_engine->io(io, &n) ? file_result(n) : io_really(call, io);
}

/* A negative offset is refused by the original, whichever it is. */
static int64_t offset_of(off_t offset)
{
	return offset < 0 ? -2 : offset;
}

static __attribute__((noinline)) ssize_t
buffer_staged(enum file_call call, bool is_write, int fd, const void *buffer,
	      size_t length, int64_t offset)
{
	struct own_io io = {
		.fd = fd,
		.is_write = is_write,
		.offset = offset,
		.buffer = {(void *)buffer, length},
	};

	return io_staged(call, &io);
}

/* A list that is NULL is the kernel's to refuse, or to find empty. */
static __attribute__((noinline)) ssize_t
vector_staged(enum file_call call, bool is_write, int fd,
	      const struct iovec *vector, int count, int64_t offset, int flags)
{
	struct own_io io = {
		.fd = fd,
		.is_write = is_write,
		.offset = offset,
		.flags = flags,
		.vector = vector,
		.count = count,
	};

	return vector ? io_staged(call, &io) : io_really(call, &io);
}

/* This one, whoever stands in front of us. */
ssize_t read_here(int fd, void *buffer, size_t length)
	__attribute__((visibility("hidden")));

static __attribute__((noinline)) ssize_t
read_staged(int fd, void *buffer, size_t length, const void *back)
{
	if (file_verbs_have_called((void *)read_here, back))
		return ((read_fn *)file_real(FILE_read))(fd, buffer, length);
	return buffer_staged(FILE_read, false, fd, buffer, length,
			     OWN_IO_POSITION);
}

ssize_t read_here(int fd, void *buffer, size_t length)
{
	if (!has_shadows())
		return ((read_fn *)file_real(FILE_read))(fd, buffer, length);
	return read_staged(fd, buffer, length, __builtin_return_address(0));
}

EXPORT ssize_t hook_read(int fd, void *buffer, size_t length) __asm__("read")
	__attribute__((alias("read_here")));

ssize_t write_here(int fd, const void *buffer, size_t length)
	__attribute__((visibility("hidden")));

static __attribute__((noinline)) ssize_t
write_staged(int fd, const void *buffer, size_t length, const void *back)
{
	if (file_verbs_have_called((void *)write_here, back))
		return ((read_fn *)file_real(FILE_write))(fd, (void *)buffer,
							  length);
	return buffer_staged(FILE_write, true, fd, buffer, length,
			     OWN_IO_POSITION);
}

ssize_t write_here(int fd, const void *buffer, size_t length)
{
	if (!has_shadows())
		return ((read_fn *)file_real(FILE_write))(fd, (void *)buffer,
							  length);
	return write_staged(fd, buffer, length, __builtin_return_address(0));
}

EXPORT ssize_t hook_write(int fd, const void *buffer,
			  size_t length) __asm__("write")
	__attribute__((alias("write_here")));

EXPORT ssize_t hook_pread(int fd, void *buffer, size_t length,
			  off_t offset) __asm__("pread");

ssize_t hook_pread(int fd, void *buffer, size_t length, off_t offset)
{
	if (!has_shadows())
		return ((pread_fn *)file_real(FILE_pread))(fd, buffer, length,
							   offset);
	return buffer_staged(FILE_pread, false, fd, buffer, length,
			     offset_of(offset));
}

EXPORT ssize_t hook_pread64(int fd, void *buffer, size_t length,
			    off_t offset) __asm__("pread64");

ssize_t hook_pread64(int fd, void *buffer, size_t length, off_t offset)
{
	if (!has_shadows())
		return ((pread_fn *)file_real(FILE_pread64))(fd, buffer, length,
							     offset);
	return buffer_staged(FILE_pread64, false, fd, buffer, length,
			     offset_of(offset));
}

EXPORT ssize_t hook_pwrite(int fd, const void *buffer, size_t length,
			   off_t offset) __asm__("pwrite");

ssize_t hook_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	if (!has_shadows())
		return ((pread_fn *)file_real(FILE_pwrite))(fd, (void *)buffer,
							    length, offset);
	return buffer_staged(FILE_pwrite, true, fd, buffer, length,
			     offset_of(offset));
}

EXPORT ssize_t hook_pwrite64(int fd, const void *buffer, size_t length,
			     off_t offset) __asm__("pwrite64");

ssize_t hook_pwrite64(int fd, const void *buffer, size_t length, off_t offset)
{
	if (!has_shadows())
		return ((pread_fn *)file_real(FILE_pwrite64))(
			fd, (void *)buffer, length, offset);
	return buffer_staged(FILE_pwrite64, true, fd, buffer, length,
			     offset_of(offset));
}

EXPORT ssize_t hook_readv(int fd, const struct iovec *vector,
			  int count) __asm__("readv");

ssize_t hook_readv(int fd, const struct iovec *vector, int count)
{
	if (!has_shadows())
		return ((readv_fn *)file_real(FILE_readv))(fd, vector, count);
	return vector_staged(FILE_readv, false, fd, vector, count,
			     OWN_IO_POSITION, 0);
}

EXPORT ssize_t hook_writev(int fd, const struct iovec *vector,
			   int count) __asm__("writev");

ssize_t hook_writev(int fd, const struct iovec *vector, int count)
{
	if (!has_shadows())
		return ((readv_fn *)file_real(FILE_writev))(fd, vector, count);
	return vector_staged(FILE_writev, true, fd, vector, count,
			     OWN_IO_POSITION, 0);
}

EXPORT ssize_t hook_preadv(int fd, const struct iovec *vector, int count,
			   off_t offset) __asm__("preadv");

ssize_t hook_preadv(int fd, const struct iovec *vector, int count, off_t offset)
{
	if (!has_shadows())
		return ((preadv_fn *)file_real(FILE_preadv))(fd, vector, count,
							     offset);
	return vector_staged(FILE_preadv, false, fd, vector, count,
			     offset_of(offset), 0);
}

EXPORT ssize_t hook_preadv64(int fd, const struct iovec *vector, int count,
			     off_t offset) __asm__("preadv64");

ssize_t hook_preadv64(int fd, const struct iovec *vector, int count,
		      off_t offset)
{
	if (!has_shadows())
		return ((preadv_fn *)file_real(FILE_preadv64))(fd, vector,
							       count, offset);
	return vector_staged(FILE_preadv64, false, fd, vector, count,
			     offset_of(offset), 0);
}

EXPORT ssize_t hook_pwritev(int fd, const struct iovec *vector, int count,
			    off_t offset) __asm__("pwritev");

ssize_t hook_pwritev(int fd, const struct iovec *vector, int count,
		     off_t offset)
{
	if (!has_shadows())
		return ((preadv_fn *)file_real(FILE_pwritev))(fd, vector, count,
							      offset);
	return vector_staged(FILE_pwritev, true, fd, vector, count,
			     offset_of(offset), 0);
}

EXPORT ssize_t hook_pwritev64(int fd, const struct iovec *vector, int count,
			      off_t offset) __asm__("pwritev64");

ssize_t hook_pwritev64(int fd, const struct iovec *vector, int count,
		       off_t offset)
{
	if (!has_shadows())
		return ((preadv_fn *)file_real(FILE_pwritev64))(fd, vector,
								count, offset);
	return vector_staged(FILE_pwritev64, true, fd, vector, count,
			     offset_of(offset), 0);
}

/* Of these -1 is where the description stands. */
EXPORT ssize_t hook_preadv2(int fd, const struct iovec *vector, int count,
			    off_t offset, int flags) __asm__("preadv2");

ssize_t hook_preadv2(int fd, const struct iovec *vector, int count,
		     off_t offset, int flags)
{
	if (!has_shadows())
		return ((preadv2_fn *)file_real(FILE_preadv2))(
			fd, vector, count, offset, flags);
	return vector_staged(FILE_preadv2, false, fd, vector, count, offset,
			     flags);
}

EXPORT ssize_t hook_preadv64v2(int fd, const struct iovec *vector, int count,
			       off_t offset, int flags) __asm__("preadv64v2");

ssize_t hook_preadv64v2(int fd, const struct iovec *vector, int count,
			off_t offset, int flags)
{
	if (!has_shadows())
		return ((preadv2_fn *)file_real(FILE_preadv64v2))(
			fd, vector, count, offset, flags);
	return vector_staged(FILE_preadv64v2, false, fd, vector, count, offset,
			     flags);
}

EXPORT ssize_t hook_pwritev2(int fd, const struct iovec *vector, int count,
			     off_t offset, int flags) __asm__("pwritev2");

ssize_t hook_pwritev2(int fd, const struct iovec *vector, int count,
		      off_t offset, int flags)
{
	if (!has_shadows())
		return ((preadv2_fn *)file_real(FILE_pwritev2))(
			fd, vector, count, offset, flags);
	return vector_staged(FILE_pwritev2, true, fd, vector, count, offset,
			     flags);
}

EXPORT ssize_t hook_pwritev64v2(int fd, const struct iovec *vector, int count,
				off_t offset, int flags) __asm__("pwritev64v2");

ssize_t hook_pwritev64v2(int fd, const struct iovec *vector, int count,
			 off_t offset, int flags)
{
	if (!has_shadows())
		return ((preadv2_fn *)file_real(FILE_pwritev64v2))(
			fd, vector, count, offset, flags);
	return vector_staged(FILE_pwritev64v2, true, fd, vector, count, offset,
			     flags);
}

/* More than there is room for ends the program, by the original. */
EXPORT ssize_t hook___read_chk(int fd, void *buffer, size_t length,
			       size_t room) __asm__("__read_chk");

ssize_t hook___read_chk(int fd, void *buffer, size_t length, size_t room)
{
	if (!has_shadows() || length > room)
		return ((read_chk_fn *)file_real(FILE___read_chk))(
			fd, buffer, length, room);
	return buffer_staged(FILE_read, false, fd, buffer, length,
			     OWN_IO_POSITION);
}

EXPORT ssize_t hook___pread_chk(int fd, void *buffer, size_t length,
				off_t offset,
				size_t room) __asm__("__pread_chk");

ssize_t hook___pread_chk(int fd, void *buffer, size_t length, off_t offset,
			 size_t room)
{
	if (!has_shadows() || length > room)
		return ((pread_chk_fn *)file_real(FILE___pread_chk))(
			fd, buffer, length, offset, room);
	return buffer_staged(FILE_pread, false, fd, buffer, length,
			     offset_of(offset));
}

EXPORT ssize_t hook___pread64_chk(int fd, void *buffer, size_t length,
				  off_t offset,
				  size_t room) __asm__("__pread64_chk");

ssize_t hook___pread64_chk(int fd, void *buffer, size_t length, off_t offset,
			   size_t room)
{
	if (!has_shadows() || length > room)
		return ((pread_chk_fn *)file_real(FILE___pread64_chk))(
			fd, buffer, length, offset, room);
	return buffer_staged(FILE_pread64, false, fd, buffer, length,
			     offset_of(offset));
}
