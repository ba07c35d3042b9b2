/* SPDX-License-Identifier: BSD-2-Clause */
/* Buffers of the program: own_vector.h. */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "own_io.h"
#include "own_vector.h"
#include "raw.h"

/* Where it is forbidden, or not in the kernel. */
static ssize_t copy(const struct iovec *slice, unsigned int count, char *bytes,
		    size_t length, bool from_slice)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < length; i++) {
		size_t n = slice[i].iov_len;

		if (n > length - done)
			n = length - done;
		if (from_slice)
			memcpy(bytes + done, slice[i].iov_base, n);
		else
			memcpy(slice[i].iov_base, bytes + done, n);
		done += n;
	}
	return (ssize_t)done;
}

ssize_t own_vector_move(const struct iovec *slice, unsigned int count,
			void *bytes, size_t length, bool from_slice)
{
	struct iovec own = {bytes, length};
	long pid = syscall(SYS_getpid);
	ssize_t n;

	n = syscall(from_slice ? SYS_process_vm_writev : SYS_process_vm_readv,
		    pid, slice, count, &own, 1, 0);
	if (n >= 0)
		return n;
	return errno == EFAULT ? -EFAULT
			       : copy(slice, count, bytes, length, from_slice);
}

static int move_exactly(void *theirs, void *ours, size_t length,
			bool from_theirs)
{
	struct iovec slice = {theirs, length};

	return own_vector_move(&slice, 1, ours, length, from_theirs) ==
			       (ssize_t)length
		       ? 0
		       : -EFAULT;
}

int own_io_fetch(void *to, const void *from, size_t length)
{
	return move_exactly((void *)from, to, length, true);
}

int own_io_store(void *to, const void *from, size_t length)
{
	return move_exactly(to, (void *)from, length, false);
}

/* The kernel looks at all of them first, too. */
static ssize_t length_of(const struct iovec *list, unsigned int count)
{
	struct iovec some[OWN_VECTOR_SLICE];
	size_t length = 0;

	while (count) {
		unsigned int n =
			count < OWN_VECTOR_SLICE ? count : OWN_VECTOR_SLICE;

		if (own_io_fetch(some, list, n * sizeof(*list)))
			return -EFAULT;
		for (unsigned int i = 0; i < n; i++) {
			if (some[i].iov_len > SSIZE_MAX - length)
				return -EINVAL;
			length += some[i].iov_len;
		}
		list += n;
		count -= n;
	}
	return (ssize_t)length;
}

ssize_t own_vector_init(struct own_vector *vector, const struct iovec *list,
			int count, const struct iovec *one)
{
	*vector = (struct own_vector){.list = list};
	if (list) {
		vector->count = (unsigned int)count;
		return length_of(list, vector->count);
	}
	vector->rest = *one;
	return one->iov_len > SSIZE_MAX ? -EINVAL : (ssize_t)one->iov_len;
}

/* What is left has bytes, unless it was the last. */
static int skip_empty(struct own_vector *vector)
{
	while (!vector->rest.iov_len && vector->count) {
		if (own_io_fetch(&vector->rest, vector->list,
				 sizeof(vector->rest)))
			return -EFAULT;
		vector->list++;
		vector->count--;
	}
	return 0;
}

void own_vector_cut(struct iovec *slice, unsigned int *count, size_t length)
{
	unsigned int i = 0;

	while (i < *count && slice[i].iov_len <= length)
		length -= slice[i++].iov_len;
	if (i < *count && length)
		slice[i++].iov_len = length;
	*count = i;
}

ssize_t own_vector_slice(struct own_vector *vector, size_t length,
			 struct iovec slice[OWN_VECTOR_SLICE],
			 unsigned int *ret_count)
{
	unsigned int more;
	size_t done = 0;

	if (skip_empty(vector))
		return -EFAULT;
	more = vector->count < OWN_VECTOR_SLICE - 1 ? vector->count
						    : OWN_VECTOR_SLICE - 1;
	slice[0] = vector->rest;
	if (more &&
	    own_io_fetch(slice + 1, vector->list, more * sizeof(*slice)))
		return -EFAULT;
	*ret_count = more + 1;
	own_vector_cut(slice, ret_count, length);
	for (unsigned int i = 0; i < *ret_count; i++)
		done += slice[i].iov_len;
	return (ssize_t)done;
}

/* It has been fetched before: where it cannot be now, the next slice says so.
 */
void own_vector_advance(struct own_vector *vector, size_t length)
{
	while (length && !skip_empty(vector) && vector->rest.iov_len) {
		size_t n = vector->rest.iov_len < length ? vector->rest.iov_len
							 : length;

		vector->rest.iov_base = (char *)vector->rest.iov_base + n;
		vector->rest.iov_len -= n;
		length -= n;
	}
}
