/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a shadow: fill.h.
 *
 * By a system call: a store into a mapping of the new memfd would be a page
 * fault for each page, and a page of zeroes made first. What is written is, if
 * the program's page tables have all of a chunk, the file's pages themselves,
 * else what another system call reads, through a slice that stays in the cache.
 * Either way a page that cannot be read is an error and no signal. A digest is
 * of what is in the shadow then, or of the slice: the file may still be changed
 * by a transfer that was in flight before.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fill.h"
#include "heap.h"
#include "raw.h"

/* Filled and let go at a time: a huge page. */
#define CHUNK (2UL << 20)
/* Read and written at a time. */
#define SLICE (64UL << 10)

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#endif

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

/* The file's last page is stored to beyond its end, and stays as long. */
static uint64_t length_in_file(const struct swap *swap)
{
	uint64_t offset = swap->extent->offset;
	struct stat st;

	if (raw_stat(swap->file_fd, &st) || (uint64_t)st.st_size < offset)
		return 0;
	return (uint64_t)st.st_size - offset;
}

int fill_init(struct filling *filling, const struct swap *swap)
{
	*filling = (struct filling){
		.swap = swap,
		.chunks = (swap->extent->length + CHUNK - 1) / CHUNK,
		.in_file = length_in_file(swap),
	};
	filling->is_done = heap_get(filling->chunks, sizeof(*filling->is_done));
	filling->slice = heap_get(1, SLICE);
	return filling->is_done && filling->slice ? 0 : -ENOMEM;
}

void fill_done(struct filling *filling)
{
	heap_put(filling->slice);
	heap_put(filling->is_done);
}

static int read_all(int fd, char *to, uint64_t offset, size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_pread64, fd, to, length, offset);

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

static int write_all(int fd, const char *from, uint64_t offset, size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_pwrite64, fd, from, length, offset);

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

/* With the digest of what is there, where nobody else has stored yet. */
static void set_filled(const struct filling *filling, uint64_t at,
		       const void *bytes, size_t length)
{
	struct extent *extent = filling->swap->extent;

	for (size_t i = 0; i < length; i += EXTENT_BLOCK)
		atomic_store_explicit(
			&extent->digests[(at + i) / EXTENT_BLOCK],
			extent_digest(extent, (const char *)bytes + i),
			memory_order_release);
}

static int fill_slice(struct filling *filling, uint64_t at, size_t length)
{
	const struct swap *swap = filling->swap;
	int r = read_all(swap->file_fd, filling->slice,
			 swap->extent->offset + at, length);

	if (r)
		return r;
	r = write_all(swap->shadow_fd, filling->slice, at, length);
	if (!r)
		set_filled(filling, at, filling->slice, length);
	return r;
}

static size_t slice_length(uint64_t at, uint64_t end)
{
	return end - at < SLICE ? end - at : SLICE;
}

/* Where the file's pages are, as the program has or had them; NULL: nowhere. */
static const char *pages_of(const struct filling *filling,
			    const struct swap_view *view)
{
	/* A key may keep us from what the program's threads can read. */
	if (!(view->state.mapping.protection & PROT_READ) || view->state.key)
		return NULL;
	if (filling->is_trapped)
		return view->pages;
	return filling->swap->is_alone ? (const char *)addr_of(view) : NULL;
}

/* Nothing that has to be looked for first, which takes longer than a read. */
static bool is_there(const struct filling *filling, const char *pages,
		     size_t length)
{
	size_t count = length / EXTENT_BLOCK;
	unsigned char *there = (unsigned char *)filling->slice;

	if (syscall(SYS_mincore, pages, length, there))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!(there[i] & 1))
			return false;
	return true;
}

/* [start, end) of the extent in the program's page tables; NULL: not all. */
static const char *find_pages(const struct filling *filling, uint64_t start,
			      uint64_t end)
{
	const struct swap *swap = filling->swap;

	/* What is beyond the end of the file is not zeroes there. */
	if (!swap->shadow_bytes || end > filling->in_file)
		return NULL;
	for (unsigned int i = 0; i < swap->count; i++) {
		const struct swap_view *view = &swap->views[i];
		const char *pages = pages_of(filling, view);
		uint64_t at = fill_offset(swap, view);

		if (pages && at <= start && at + length_of(view) >= end &&
		    is_there(filling, pages + (start - at), end - start))
			return pages + (start - at);
	}
	return NULL;
}

static int copy_pages(const struct filling *filling, const char *pages,
		      uint64_t start, size_t length)
{
	const struct swap *swap = filling->swap;
	uint8_t *bytes = swap->shadow_bytes + start;
	int r = write_all(swap->shadow_fd, pages, start, length);

	if (r)
		return r;
	/* In one step, and not for longer than it takes. */
	raw_madvise(bytes, length, MADV_POPULATE_READ);
	set_filled(filling, start, bytes, length);
	raw_madvise(bytes, length, MADV_DONTNEED);
	return 0;
}

static int copy_chunk(struct filling *filling, size_t chunk)
{
	uint64_t start = chunk * CHUNK, at;
	uint64_t end = start + chunk_length(filling, chunk);
	const char *pages = find_pages(filling, start, end);
	int r = 0;

	if (pages && !copy_pages(filling, pages, start, end - start))
		return 0;
	for (at = start; !r && at < end; at += SLICE)
		r = fill_slice(filling, at, slice_length(at, end));
	return r;
}

static int fill_chunk(struct filling *filling, size_t chunk)
{
	if (!filling->is_done[chunk]) {
		int r = copy_chunk(filling, chunk);

		if (r)
			return r;
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

static void take_back_slice(const struct filling *filling, uint64_t at,
			    size_t length)
{
	const struct swap *swap = filling->swap;

	if (!read_all(swap->shadow_fd, filling->slice, at, length))
		write_all(swap->file_fd, filling->slice,
			  swap->extent->offset + at, length);
}

void fill_take_back(const struct filling *filling)
{
	const struct swap *swap = filling->swap;
	uint64_t in_file = length_in_file(swap);

	for (unsigned int i = 0; i < swap->count; i++)
		if (!swap->views[i].shadow.addr)
			trap_freeze(addr_of(&swap->views[i]),
				    length_of(&swap->views[i]));
	for (size_t chunk = 0; chunk < filling->chunks; chunk++) {
		uint64_t at = chunk * CHUNK;
		uint64_t end = at + chunk_length(filling, chunk);

		if (end > in_file)
			end = in_file;
		for (; filling->is_done[chunk] && at < end; at += SLICE)
			take_back_slice(filling, at, slice_length(at, end));
	}
}
