/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program reads from and writes to a file by system calls while parts
 * of it have a shadow: one truth for calls, CPU and peers.
 *
 *   [offset, offset + length)  |---- file ----|-- shadow --|-- file --|
 *     the calling thread         preadv2        process_vm   preadv2
 *                                pwritev2
 *
 * The caller's thread moves the bytes itself, piece by piece, inside the file's
 * gate (own_gate.h): to and from the shadow by process_vm_readv() and
 * process_vm_writev() on itself and the engine's own view of the shadow, which
 * nothing ever traps. So a bad buffer is EFAULT and no crash, and a buffer that
 * is slow to be had (another userfaultfd of the program, a frozen file system,
 * the very mapping that has the shadow) holds up its caller alone. Where those
 * calls are forbidden (seccomp) the bytes are copied by the processor, and a
 * bad buffer is a crash.
 *
 * The file ends where the kernel says. What is written beyond that, in the last
 * block of an extent, goes to both: to the shadow, and by the real call, which
 * makes the file longer or says why not. Shadow first: the keeper carries no
 * more of it than the file is long. The block has no digest then
 * (extent_page.h), as if it were new.
 *
 * Writes past the shadows are announced to the keeper (KEEPER_OWN_WRITE), which
 * would take them for another's.
 *
 * What differs from the kernel's own: a read leaves the access time alone, a
 * write the others until the keeper flushes; O_DIRECT needs no alignment for
 * what is in a shadow; a process that shares the description is not kept from
 * its position in between.
 */
#ifndef DAXMR_LEASE_OWN_IO_H
#define DAXMR_LEASE_OWN_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "lease.h"

/* In place of an offset: where the description stands, which moves on. */
#define OWN_IO_POSITION (-1)

struct own_io {
	int fd;
	bool is_write;
	int status;	/* of the descriptor, F_GETFL; it fits the call */
	int64_t offset; /* not negative, or OWN_IO_POSITION */
	int flags;	/* RWF_*; those that are not known: -EOPNOTSUPP */
	/* As the program gave it, not looked at; of iov: one at `buffer`. */
	const struct iovec *vector;
	int count; /* 0 to IOV_MAX */
	struct iovec buffer;
};

struct own_io_done {
	ssize_t result;	 /* bytes, or -errno as read(2) and write(2) */
	uint64_t offset; /* where they are in the file */
	bool is_to_sync; /* what was written, before the program hears of it */
};

/*
 * After shadows_has_file() said yes. False: the file has none any more, the
 * call is to be made. Any thread, signal handlers; no cancellation point.
 * errno is kept.
 */
bool own_io(struct lease_engine *engine, dev_t dev, ino_t ino,
	    const struct own_io *io, struct own_io_done *ret);

/*
 * Between memory of our own and an address that the program named: 0, -EFAULT.
 */
int own_io_fetch(void *to, const void *from, size_t length);
int own_io_store(void *to, const void *from, size_t length);

#endif
