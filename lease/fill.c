/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a shadow: fill.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fill.h"
#include "raw.h"

/* Filled and let go at a time: a huge page. */
#define CHUNK (2UL << 20)

static uintptr_t addr_of(const struct swap_view *view)
{
	return view->state.mapping.start;
}

static size_t length_of(const struct swap_view *view)
{
	return view->state.mapping.end - view->state.mapping.start;
}

uint64_t fill_offset(const struct swap *swap, const struct swap_view *view)
{
	return view->state.mapping.offset - swap->extent->offset;
}

int fill_init(struct filling *filling, const struct swap *swap)
{
	*filling = (struct filling){
		.swap = swap,
		.chunks = (swap->extent->length + CHUNK - 1) / CHUNK,
	};
	filling->is_done = calloc(filling->chunks, sizeof(*filling->is_done));
	filling->shadow = raw_map(swap->shadow_fd, swap->extent->length,
				  PROT_READ | PROT_WRITE, 0);
	return filling->is_done && filling->shadow != MAP_FAILED ? 0 : -ENOMEM;
}

void fill_unmap(struct filling *filling)
{
	if (filling->shadow != MAP_FAILED)
		raw_unmap(filling->shadow, filling->swap->extent->length);
	filling->shadow = MAP_FAILED;
}

void fill_done(struct filling *filling)
{
	fill_unmap(filling);
	free(filling->is_done);
}

static int read_file(const struct swap *swap, char *to, uint64_t offset,
		     size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_pread64, swap->file_fd, to, length,
				    swap->extent->offset + offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* Beyond the end; a page must be there to be let go. */
		if (n == 0) {
			memset(to, 0, length);
			return 0;
		}
		to += n;
		offset += (size_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int write_file(const struct swap *swap, const char *from,
		      uint64_t offset, size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_pwrite64, swap->file_fd, from, length,
				    swap->extent->offset + offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		offset += (size_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static size_t chunk_length(const struct filling *filling, size_t chunk)
{
	uint64_t left = filling->swap->extent->length - chunk * CHUNK;

	return left < CHUNK ? left : CHUNK;
}

/* The part of each view that lies in the chunk. */
static int let_go(const struct filling *filling, size_t chunk)
{
	uint64_t start = chunk * CHUNK;
	uint64_t end = start + chunk_length(filling, chunk);

	for (unsigned int i = 0; i < filling->swap->count; i++) {
		const struct swap_view *view = &filling->swap->views[i];
		uint64_t at = fill_offset(filling->swap, view);
		uint64_t from = at > start ? at : start;
		uint64_t to =
			at + length_of(view) < end ? at + length_of(view) : end;
		int r = from < to ? trap_let_go(&filling->trap,
						addr_of(view) + (from - at),
						to - from)
				  : 0;

		if (r)
			return r;
	}
	return 0;
}

/* The chunk that a fault at this address waits for; `next` where it's none. */
static size_t chunk_of(const struct filling *filling, uintptr_t addr)
{
	for (unsigned int i = 0; i < filling->swap->count; i++) {
		const struct swap_view *view = &filling->swap->views[i];

		if (addr >= addr_of(view) &&
		    addr - addr_of(view) < length_of(view))
			return (addr - addr_of(view) +
				fill_offset(filling->swap, view)) /
			       CHUNK;
	}
	return filling->next;
}

/* Nobody else has stored there yet: what was read is what digests are of. */
static void set_digests(const struct filling *filling, size_t chunk)
{
	struct extent *extent = filling->swap->extent;
	uint64_t block = chunk * CHUNK / EXTENT_BLOCK;
	uint64_t end = block + chunk_length(filling, chunk) / EXTENT_BLOCK;

	for (; block < end; block++) {
		uint64_t digest = extent_digest(
			extent, filling->shadow + block * EXTENT_BLOCK);

		atomic_store_explicit(&extent->digests[block], digest,
				      memory_order_relaxed);
		extent_set_filled(extent, block);
	}
}

static int fill_chunk(struct filling *filling, size_t chunk)
{
	if (!filling->is_done[chunk]) {
		int r = read_file(filling->swap,
				  filling->shadow + chunk * CHUNK,
				  chunk * CHUNK, chunk_length(filling, chunk));

		if (r)
			return r;
		set_digests(filling, chunk);
	}
	/* From here on it may be stored to. */
	filling->is_done[chunk] = true;
	return filling->is_trapped ? let_go(filling, chunk) : 0;
}

int fill_all(struct filling *filling)
{
	int r = 0;

	while (!r) {
		size_t chunk;
		uintptr_t addr;

		while (filling->next < filling->chunks &&
		       filling->is_done[filling->next])
			filling->next++;
		if (filling->next == filling->chunks)
			return 0;
		chunk = filling->next;
		if (filling->is_trapped &&
		    trap_read(&filling->trap, 0, &addr) == TRAP_FAULT)
			chunk = chunk_of(filling, addr);
		r = fill_chunk(filling, chunk);
	}
	return r;
}

void fill_take_back(const struct filling *filling)
{
	const struct swap *swap = filling->swap;

	for (unsigned int i = 0; i < swap->count; i++)
		if (!swap->views[i].shadow.addr)
			trap_freeze(addr_of(&swap->views[i]),
				    length_of(&swap->views[i]));
	for (size_t chunk = 0; chunk < filling->chunks; chunk++)
		if (filling->is_done[chunk])
			write_file(swap, filling->shadow + chunk * CHUNK,
				   chunk * CHUNK, chunk_length(filling, chunk));
}
