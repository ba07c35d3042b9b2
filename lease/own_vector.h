/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Buffers that the program named for a transfer, of which nothing is sure: they
 * and the list of them may lie anywhere or nowhere. All that is there is looked
 * at by system calls, which say EFAULT.
 */
#ifndef DAXMR_LEASE_OWN_VECTOR_H
#define DAXMR_LEASE_OWN_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* On the caller's stack, which may be a small one. */
#define OWN_VECTOR_SLICE 8

struct own_vector {
	const struct iovec *list; /* the program's; NULL: `rest` is all */
	unsigned int count;	  /* behind `rest` */
	struct iovec rest;	  /* of the one that is being moved */
};

/*
 * list NULL: `one` alone. Bytes in all, or -errno as readv(2): -EFAULT,
 * -EINVAL.
 */
ssize_t own_vector_init(struct own_vector *vector, const struct iovec *list,
			int count, const struct iovec *one);

/*
 * At most `length` bytes of what comes next: how many in *ret_count entries, 0
 * at the end, or -EFAULT.
 */
ssize_t own_vector_slice(struct own_vector *vector, size_t length,
			 struct iovec slice[OWN_VECTOR_SLICE],
			 unsigned int *ret_count);
void own_vector_cut(struct iovec *slice, unsigned int *count, size_t length);

/* So much of it is moved; no more than slices had. */
void own_vector_advance(struct own_vector *vector, size_t length);

/*
 * Between a slice and memory of our own. Bytes (fewer: a bad buffer follows),
 * or -EFAULT.
 */
ssize_t own_vector_move(const struct iovec *slice, unsigned int count,
			void *bytes, size_t length, bool from_slice);

#endif
