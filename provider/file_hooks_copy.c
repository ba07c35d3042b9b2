/* SPDX-License-Identifier: BSD-2-Clause */
/* The exported calls that copy between descriptors: as file_hooks_io.c. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/types.h>

#include "file_hooks.h"

typedef ssize_t sendfile_fn(int out, int in, off_t *offset, size_t length);
typedef ssize_t copy_file_range_fn(int in, off64_t *in_offset, int out,
				   off64_t *out_offset, size_t length,
				   unsigned int flags);
typedef ssize_t splice_fn(int in, off64_t *in_offset, int out,
			  off64_t *out_offset, size_t length,
			  unsigned int flags);

static __attribute__((noinline)) ssize_t sendfile_staged(enum file_call call,
							 int out, int in,
							 off_t *offset,
							 size_t length)
{
	const struct file_copy copy = {
		.in = in, .out = out, .in_offset = offset, .length = length};
	ssize_t n;

	if (file_engine->sendfile(&copy, &n))
		return file_result(n);
	return ((sendfile_fn *)file_real(call))(out, in, offset, length);
}

EXPORT ssize_t hook_sendfile(int out, int in, off_t *offset,
			     size_t length) __asm__("sendfile");

ssize_t hook_sendfile(int out, int in, off_t *offset, size_t length)
{
	if (!has_shadows())
		return ((sendfile_fn *)file_real(FILE_sendfile))(
			out, in, offset, length);
	return sendfile_staged(FILE_sendfile, out, in, offset, length);
}

EXPORT ssize_t hook_sendfile64(int out, int in, off_t *offset,
			       size_t length) __asm__("sendfile64");

ssize_t hook_sendfile64(int out, int in, off_t *offset, size_t length)
{
	if (!has_shadows())
		return ((sendfile_fn *)file_real(FILE_sendfile64))(
			out, in, offset, length);
	return sendfile_staged(FILE_sendfile64, out, in, offset, length);
}

static __attribute__((noinline)) ssize_t
copy_file_range_staged(const struct file_copy *copy, unsigned int flags)
{
	ssize_t n;

	pthread_testcancel();
	/* there are none yet: refused */
	if (!flags && file_engine->copy_range(copy, &n))
		return file_result(n);
	return ((copy_file_range_fn *)file_real(FILE_copy_file_range))(
		copy->in, copy->in_offset, copy->out, copy->out_offset,
		copy->length, flags);
}

EXPORT ssize_t hook_copy_file_range(
	int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length,
	unsigned int flags) __asm__("copy_file_range");

ssize_t hook_copy_file_range(int in, off64_t *in_offset, int out,
			     off64_t *out_offset, size_t length,
			     unsigned int flags)
{
	const struct file_copy copy = {in, out, in_offset, out_offset, length};

	if (!has_shadows())
		return ((copy_file_range_fn *)file_real(FILE_copy_file_range))(
			in, in_offset, out, out_offset, length, flags);
	return copy_file_range_staged(&copy, flags);
}

EXPORT ssize_t hook_splice(int in, off64_t *in_offset, int out,
			   off64_t *out_offset, size_t length,
			   unsigned int flags) __asm__("splice");

ssize_t hook_splice(int in, off64_t *in_offset, int out, off64_t *out_offset,
		    size_t length, unsigned int flags)
{
	const struct file_copy copy = {in, out, in_offset, out_offset, length};
	int r = has_shadows() ? file_engine->splice(&copy) : 0;

	if (r)
		return file_result(r);
	return ((splice_fn *)file_real(FILE_splice))(in, in_offset, out,
						     out_offset, length, flags);
}
