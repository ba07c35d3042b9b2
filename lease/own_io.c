/* SPDX-License-Identifier: BSD-2-Clause */
/* Transfers between the program, a file and its shadows: own_io.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "own_desk.h"
#include "own_io.h"
#include "own_vector.h"
#include "raw.h"
#include "staged_parts.h"

/* As much as the kernel moves by one call. */
#define LENGTH_MAX 0x7ffff000UL

#ifndef RWF_NOAPPEND /* Linux 6.9 */
#define RWF_NOAPPEND 0x20
#endif
#define FLAGS_KNOWN                                                            \
	(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND |          \
	 RWF_NOAPPEND)

/* One call under way. */
struct transfer {
	struct lease_engine *engine;
	const struct own_io *io;
	struct own_gate *gate;
	struct own_vector vector;
	uint64_t start;
	uint64_t at;   /* in the file */
	uint64_t left; /* of the program's buffers */
	uint64_t size; /* of the file */
	uint64_t limit;
	struct own own;
	bool is_announced;
	bool has_stored; /* in a shadow */
};

static bool is_appending(const struct own_io *io)
{
	return io->is_write && !(io->flags & RWF_NOAPPEND) &&
	       (io->status & O_APPEND || io->flags & RWF_APPEND);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The extent that `at` lies in; else *ret_end is where the next one begins. */
static struct staged *extent_at(const struct transfer *transfer,
				uint64_t *ret_end)
{
	struct staged *staged = transfer->gate->lease->staged;

	while (staged && staged->end <= transfer->at)
		staged = staged->next;
	if (staged && staged->offset <= transfer->at) {
		*ret_end = staged->end;
		return staged;
	}
	*ret_end = staged ? staged->offset : UINT64_MAX;
	return NULL;
}

static uint8_t *shadow_at(const struct staged *staged, uint64_t at)
{
	return staged->bytes + (at - staged->offset);
}

static void announce(struct transfer *transfer)
{
	const struct lease *lease = transfer->gate->lease;

	if (transfer->is_announced)
		return;
	transfer->is_announced = true;
	own_begin(transfer->engine, lease->dev, lease->ino, KEEPER_OWN_WRITE,
		  &transfer->own);
}

/* The kernel's f_pos is not ours to move with each piece. */
static ssize_t call_kernel(struct transfer *transfer, const struct iovec *slice,
			   unsigned int count)
{
	const struct own_io *io = transfer->io;
	ssize_t n;

	if (io->is_write)
		announce(transfer);
	/* the second half of the offset is for 32-bit machines */
	n = syscall(io->is_write ? SYS_pwritev2 : SYS_preadv2, io->fd, slice,
		    count, transfer->at, 0, io->flags & ~RWF_APPEND);
	return n < 0 ? -errno : n;
}

/* The shadow has what the file has not come to have: nothing is there. */
static void take_back(const struct staged *staged, uint64_t at, uint64_t end)
{
	memset(shadow_at(staged, at), 0, end - at);
}

/* The block is as one that has just come: the keeper's next pass marks it. */
static void drop_digests(const struct staged *staged, uint64_t at, uint64_t end)
{
	uint64_t block = (at - staged->offset) / EXTENT_BLOCK;

	for (; block * EXTENT_BLOCK < end - staged->offset; block++)
		atomic_store(&staged->extent.digests[block], EXTENT_NO_DIGEST);
}

static ssize_t extend(struct transfer *transfer, struct staged *staged,
		      const struct iovec *slice, unsigned int count,
		      ssize_t stored)
{
	uint64_t at = transfer->at, end = at + (uint64_t)stored;
	ssize_t n;

	n = call_kernel(transfer, slice, count);
	if (n < stored)
		take_back(staged, n > 0 ? at + (uint64_t)n : at, end);
	if (n > 0) {
		drop_digests(staged, at, at + (uint64_t)n);
		transfer->size = at + (uint64_t)n;
	}
	return n;
}

/*
 * The keeper carries nothing to a file that is leased for reading: it goes
 * there at once, and then to the shadow, to be seen by who reads.
 */
static ssize_t write_both(struct transfer *transfer,
			  const struct staged *staged, struct iovec *slice,
			  unsigned int count)
{
	ssize_t n = call_kernel(transfer, slice, count);

	if (n <= 0)
		return n;
	own_vector_cut(slice, &count, (size_t)n);
	own_vector_move(slice, count, shadow_at(staged, transfer->at),
			(size_t)n, true);
	return n;
}

/* One piece, of one kind, as far as a slice goes. */
static ssize_t move_piece(struct transfer *transfer)
{
	const struct own_io *io = transfer->io;
	struct iovec slice[OWN_VECTOR_SLICE];
	struct staged *staged;
	uint64_t end, length;
	unsigned int count;
	bool extends;
	ssize_t n;

	staged = extent_at(transfer, &end);
	/* The kernel says so, with its signal. */
	if (io->is_write && transfer->at >= transfer->limit)
		staged = NULL;
	extends = staged && transfer->at >= transfer->size;
	if (staged && !extends)
		end = smaller(end, transfer->size);
	if (io->is_write && transfer->at < transfer->limit)
		end = smaller(end, transfer->limit);
	length = smaller(end - transfer->at, transfer->left);
	n = own_vector_slice(&transfer->vector, length, slice, &count);
	if (n < 0)
		return n;
	if (!staged)
		return call_kernel(transfer, slice, count);
	if (io->is_write && transfer->gate->lease->type == F_RDLCK)
		return write_both(transfer, staged, slice, count);
	/* Before the keeper can see it beyond the end. */
	if (extends)
		announce(transfer);
	transfer->has_stored = io->is_write;
	n = own_vector_move(slice, count, shadow_at(staged, transfer->at),
			    (size_t)n, io->is_write);
	if (n <= 0 || !extends)
		return n;
	own_vector_cut(slice, &count, (size_t)n);
	return extend(transfer, staged, slice, count, n);
}

/* Bytes, or -errno where there are none. */
static ssize_t move_all(struct transfer *transfer)
{
	ssize_t n = 0;

	while (transfer->left) {
		/* A part of it fits: nothing is said of the rest. */
		if (transfer->at > transfer->start &&
		    transfer->at >= transfer->limit)
			break;
		n = move_piece(transfer);
		if (n <= 0)
			break;
		transfer->at += (uint64_t)n;
		transfer->left -= (uint64_t)n;
		own_vector_advance(&transfer->vector, (size_t)n);
	}
	return transfer->at > transfer->start
		       ? (ssize_t)(transfer->at - transfer->start)
		       : n;
}

static int look_at_file(struct transfer *transfer)
{
	struct rlimit limit;
	struct stat st;

	if (raw_stat(transfer->io->fd, &st))
		return -errno;
	transfer->size = (uint64_t)st.st_size;
	transfer->limit = UINT64_MAX;
	if (transfer->io->is_write &&
	    !syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) &&
	    limit.rlim_cur != RLIM_INFINITY)
		transfer->limit = limit.rlim_cur;
	return 0;
}

static ssize_t move_from(struct transfer *transfer, uint64_t at)
{
	transfer->start = transfer->at = at;
	if (!transfer->io->is_write)
		transfer->left =
			smaller(transfer->left,
				at < transfer->size ? transfer->size - at : 0);
	else if (transfer->left > INT64_MAX - at)
		transfer->left = INT64_MAX - at;
	return move_all(transfer);
}

/* With the file's position, or at its end: one thread after the other. */
static ssize_t move_in_order(struct transfer *transfer)
{
	const struct own_io *io = transfer->io;
	bool has_position = io->offset == OWN_IO_POSITION;
	int64_t at = 0;
	ssize_t n = 0;

	pthread_mutex_lock(&transfer->gate->order);
	if (has_position) {
		at = syscall(SYS_lseek, io->fd, 0, SEEK_CUR);
		n = at < 0 ? -errno : 0;
	}
	if (!n)
		n = look_at_file(transfer);
	if (!n)
		n = move_from(transfer,
			      is_appending(io) ? transfer->size : (uint64_t)at);
	if (n > 0 && has_position)
		syscall(SYS_lseek, io->fd, transfer->at, SEEK_SET);
	pthread_mutex_unlock(&transfer->gate->order);
	return n;
}

static ssize_t move_inside(struct transfer *transfer)
{
	const struct own_io *io = transfer->io;
	ssize_t n;

	if (io->flags & ~FLAGS_KNOWN)
		return -EOPNOTSUPP;
	n = own_vector_init(&transfer->vector, io->vector, io->count,
			    &io->buffer);
	if (n < 0)
		return n;
	transfer->left = smaller((uint64_t)n, LENGTH_MAX);
	if (io->offset == OWN_IO_POSITION || is_appending(io))
		return move_in_order(transfer);
	n = look_at_file(transfer);
	return n ? n : move_from(transfer, (uint64_t)io->offset);
}

/* O_SYNC has O_DSYNC in it. The kernel's part is durable already. */
static bool is_to_sync(const struct transfer *transfer)
{
	const struct own_io *io = transfer->io;

	return transfer->has_stored &&
	       (io->status & O_DSYNC || io->flags & (RWF_DSYNC | RWF_SYNC));
}

bool own_io(struct lease_engine *engine, dev_t dev, ino_t ino,
	    const struct own_io *io, struct own_io_done *ret)
{
	struct transfer transfer = {.engine = engine, .io = io};
	int saved_errno = errno, cancel_state;
	sigset_t all, before;
	ssize_t n;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	r = own_gate_enter(engine, dev, ino, !(io->flags & RWF_NOWAIT),
			   &transfer.gate);
	n = r;
	if (!r) {
		n = move_inside(&transfer);
		if (transfer.is_announced)
			own_end(&transfer.own);
		own_gate_leave(engine, transfer.gate);
	}
	pthread_setcancelstate(cancel_state, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved_errno;
	if (r == -ENOENT)
		return false;
	*ret = (struct own_io_done){
		.result = n,
		.offset = transfer.start,
		.is_to_sync = n > 0 && is_to_sync(&transfer),
	};
	return true;
}
