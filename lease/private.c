/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private copies of private mappings: private.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "private.h"
#include "heap.h"
#include "private_hold.h"
#include "raw.h"
#include "reason.h"
#include "staged_parts.h"
#include "swap.h"
#include "trap.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Mappings come and go while they are looked at. */
#define TRIES 8

/* A part of one mapping, which is replaced chunk by chunk. */
struct copying {
	const struct staged_mover *mover;
	struct mapping_state part;
	bool is_still;	/* nobody stores there */
	enum uffd uffd; /* else */
	struct trap trap;
	struct hold hold;
	int memory; /* what this process sees, where it is still */
	char *bytes;
	size_t chunk;
};

static size_t length_of(const struct mapping *mapping)
{
	return mapping->end - mapping->start;
}

static int advise(uintptr_t addr, size_t length, int advice)
{
	return raw_madvise((void *)addr, length, advice) ? -errno : 0;
}

/* As far as it lies in [start, end). */
static void cut(struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	if (mapping->start < start) {
		mapping->offset += start - mapping->start;
		mapping->start = start;
	}
	if (mapping->end > end)
		mapping->end = end;
}

static struct mapping_state chunk_at(const struct copying *copying,
				     uintptr_t addr)
{
	struct mapping_state chunk = copying->part;

	cut(&chunk.mapping, addr, addr + copying->chunk);
	return chunk;
}

/* Empty, and whoever touches it once it is in its place waits. */
static int make_trapped(const struct copying *copying,
			const struct mapping_state *chunk, struct twin *ret)
{
	size_t length = length_of(&chunk->mapping);
	uintptr_t addr;
	int r = twin_make(TWIN_OF_NOTHING, -1, 0, chunk, ret);

	if (r)
		return r;
	addr = (uintptr_t)ret->addr;
	r = advise(addr, length, MADV_DONTFORK);
	if (!r)
		r = trap_set_private(&copying->trap, addr, length);
	/* mlockall(MCL_FUTURE) has filled it with zeroes already. */
	return r ? r : trap_freeze(addr, length);
}

static int move_and_fill(const struct copying *copying, struct swap_view *view)
{
	const struct staged_mover *mover = copying->mover;
	const struct swap_ops ops = {
		.move = mover->move,
		.moved = mover->moved,
		.arg = mover->arg,
	};
	const struct mapping *place = &view->state.mapping;
	struct trap trap = copying->trap;
	int r = swap_move_told(&ops, &trap, view);

	if (r)
		return r;
	/* The old mapping is gone: what the pipe has is all there is. */
	r = hold_take(&copying->hold, copying->bytes, length_of(place));
	return r ? r
		 : trap_copy(&trap, place->start, copying->bytes,
			     length_of(place));
}

static int replace_trapped(const struct copying *copying,
			   const struct mapping_state *chunk)
{
	const struct mapping *place = &chunk->mapping;
	struct swap_view view = {.state = *chunk};
	int r = advise(place->start, length_of(place), MADV_POPULATE_WRITE);

	if (!r)
		r = hold_keep(&copying->hold, place->start, length_of(place));
	if (!r)
		r = make_trapped(copying, chunk, &view.shadow);
	if (!r)
		r = move_and_fill(copying, &view);
	twin_drop(&view.shadow);
	return r;
}

/* Past protection: what cannot be read by the program is copied as well. */
static int read_memory(const struct copying *copying, uintptr_t addr,
		       size_t length)
{
	size_t filled = 0;

	while (filled < length) {
		ssize_t n = syscall(SYS_pread64, copying->memory,
				    copying->bytes + filled, length - filled,
				    addr + filled);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EFAULT;
		filled += (size_t)n;
	}
	return 0;
}

static int protect(const struct mapping *place, int protection)
{
	return syscall(SYS_mprotect, place->start, length_of(place), protection)
		       ? -errno
		       : 0;
}

/*
 * A kernel may read past protection for a debugger alone (Linux 6.12,
 * CONFIG_PROC_MEM_FORCE_PTRACE; Debian's 7.3 is such a one). What cannot be
 * read is made readable then, for as long as that takes.
 */
static int read_place(const struct copying *copying,
		      const struct mapping *place)
{
	int r = read_memory(copying, place->start, length_of(place));

	if (!r || place->protection & PROT_READ ||
	    protect(place, place->protection | PROT_READ))
		return r;
	r = read_memory(copying, place->start, length_of(place));
	return protect(place, place->protection) ? -EFAULT : r;
}

/* Made writable, filled, and then given the protection it is to have. */
static int make_filled(const struct copying *copying,
		       const struct mapping_state *chunk, struct twin *ret)
{
	struct mapping_state writable = *chunk;
	int protection = chunk->mapping.protection, r;

	writable.mapping.protection = PROT_READ | PROT_WRITE;
	writable.key = 0;
	r = twin_make(TWIN_OF_NOTHING, -1, 0, &writable, ret);
	if (r)
		return r;
	ret->state = chunk;
	ret->place = chunk->mapping;
	memcpy(ret->addr, copying->bytes, length_of(&chunk->mapping));
	return twin_protect(ret, protection);
}

static int replace_still(const struct copying *copying,
			 const struct mapping_state *chunk)
{
	const struct mapping *place = &chunk->mapping;
	struct twin twin = {.state = chunk};
	int r = read_place(copying, place);

	if (!r)
		r = make_filled(copying, chunk, &twin);
	if (!r)
		r = twin_put(&twin);
	twin_drop(&twin);
	return r > 0 ? -EAGAIN : r;
}

static int replace_all(const struct copying *copying)
{
	const struct mapping *part = &copying->part.mapping;
	int r = 0;

	for (uintptr_t at = part->start; !r && at < part->end;
	     at += copying->chunk) {
		struct mapping_state chunk = chunk_at(copying, at);

		r = copying->is_still ? replace_still(copying, &chunk)
				      : replace_trapped(copying, &chunk);
	}
	return r;
}

/* Children inherit the range again, and it is locked as it was. */
static void finish(const struct copying *copying)
{
	const struct twin all = {.state = &copying->part};
	const struct mapping *part = &copying->part.mapping;

	if (!mapping_has(&copying->part, "dc"))
		advise(part->start, length_of(part), MADV_DOFORK);
	twin_lock(&all);
}

static int copy_still(struct copying *copying)
{
	int r;

	copying->chunk = HOLD_MAX;
	copying->memory = raw_open(AT_FDCWD, "/proc/thread-self/mem", O_RDONLY);
	if (copying->memory < 0)
		return -errno;
	r = replace_all(copying);
	raw_close(copying->memory);
	finish(copying);
	return r;
}

static int copy_trapped(struct copying *copying)
{
	const struct mapping *part = &copying->part.mapping;
	int r = hold_open(&copying->hold);

	if (r)
		return r;
	copying->chunk = copying->hold.size;
	r = trap_open(copying->uffd, &copying->trap);
	if (!r) {
		r = advise(part->start, length_of(part), MADV_DONTFORK);
		if (!r)
			r = replace_all(copying);
		finish(copying);
		trap_close(&copying->trap);
	}
	hold_close(&copying->hold);
	return r;
}

static int refuse(int r, const struct mapping *part)
{
	switch (r) {
	case -EPERM:
	case -ENOSYS:
	case -EOPNOTSUPP:
	case -EAGAIN:
		return r; /* has its sentence, or is tried again */
	case -EFAULT:
		return reason_set(r,
				  "the private mapping at 0x%" PRIxPTR
				  " cannot be copied: a part of it cannot be "
				  "read, as beyond the end of the file; "
				  "register what the file has",
				  part->start);
	case -EBUSY:
		return reason_set(r,
				  "the private mapping at 0x%" PRIxPTR
				  " cannot be copied: another userfaultfd of "
				  "this program watches a part of it; "
				  "unregister that before",
				  part->start);
	default:
		return reason_set(r,
				  "no private copy of %zu bytes can take the "
				  "place of the mapping at 0x%" PRIxPTR ": %s",
				  length_of(part), part->start,
				  strerrordesc_np(-r));
	}
}

static int copy_part(const struct lease_table *table,
		     const struct staged_mover *mover,
		     const struct mapping_state *part)
{
	struct copying copying = {
		.mover = mover,
		.part = *part,
		.is_still = !(part->mapping.protection & PROT_WRITE) ||
			    staged_is_alone(table),
		.uffd = table->config->uffd,
	};
	int r = twin_check(part);

	if (r)
		return r;
	copying.bytes = raw_map_memory(HOLD_MAX, 0);
	if (copying.bytes == MAP_FAILED)
		return reason_set(-ENOMEM, "no memory for a private copy");
	r = copying.is_still ? copy_still(&copying) : copy_trapped(&copying);
	raw_unmap(copying.bytes, HOLD_MAX);
	return refuse(r, &part->mapping);
}

/*
 * All private mappings of the file, as far as they lie in [start, end); at
 * start there was one a moment ago.
 */
static int copy_parts(const struct lease_table *table,
		      const struct staged_mover *mover,
		      const struct mapping *file, uintptr_t start,
		      uintptr_t end)
{
	struct mapping_state *states;
	bool is_there = false;
	size_t count;
	int r = mapping_all(file->dev, file->ino, &states, &count);

	if (r)
		return mapping_refuse(r);
	for (size_t i = 0; !r && i < count; i++) {
		struct mapping *part = &states[i].mapping;

		if (part->is_shared || part->start >= end || part->end <= start)
			continue;
		is_there |= part->start <= start;
		cut(part, start, end);
		r = copy_part(table, mover, &states[i]);
	}
	heap_put(states);
	return r || is_there ? r : -EAGAIN;
}

/* Of the file that is mapped at addr, if any; *ret_next is where that ends. */
static int make_at(const struct lease_table *table, uintptr_t addr,
		   uintptr_t end, const struct staged_mover *mover,
		   uintptr_t *ret_next)
{
	struct mapping mapping;
	int r = mapping_at(addr, &mapping, NULL);

	if (r)
		return reason_set(r,
				  "at 0x%" PRIxPTR " nothing is mapped, or "
				  "/proc cannot be read",
				  addr);
	*ret_next = mapping.end;
	if (!mapping.ino || mapping.is_shared)
		return 0;
	return copy_parts(table, mover, &mapping, addr, end);
}

int private_make(const struct lease_table *table, uintptr_t addr, size_t length,
		 const struct staged_mover *mover)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t end = (addr + length + page - 1) & ~(page - 1);
	uintptr_t at = addr & ~(page - 1), next = at;
	int saved_errno = errno, tries = 0, r = 0;

	while (!r && at < end) {
		r = make_at(table, at, end, mover, &next);
		if (r == -EAGAIN && ++tries < TRIES)
			r = 0;
		else
			at = next;
	}
	errno = saved_errno;
	if (r == -EAGAIN)
		return reason_set(r, "other threads map and unmap the file all "
				     "the time while a private copy is to take "
				     "its place; register it while they "
				     "don't");
	return r;
}
