/* SPDX-License-Identifier: BSD-2-Clause */
/* Registered ranges in the keeper: extents.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "allocate.h"
#include "extents.h"
#include "flush.h"

/* Allocated by one call, at most: some milliseconds where all is there. */
#define ALLOCATE_PIECE (16ULL << 20)
#define PAGE_MASK      4095ULL

struct extent {
	struct extent *next;
	uint32_t id;
	uint64_t offset;
	uint64_t length;
	struct flush *flush; /* NULL: no shadow */
};

static struct extent **find(struct extents *extents, uint32_t id)
{
	struct extent **at = &extents->first;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

int extents_add(struct extents *extents, uint32_t id, uint64_t offset,
		uint64_t length, int file_fd, int shadow_fd, int page_fd)
{
	struct extent **at = find(extents, id), *extent;
	int r = 0;

	if (*at)
		return -EEXIST;
	if ((offset | length) & PAGE_MASK || offset + length < offset ||
	    offset + length > INT64_MAX)
		return -EINVAL;
	extent = calloc(1, sizeof(*extent));
	if (!extent)
		return -ENOMEM;
	if (shadow_fd >= 0)
		r = flush_open(file_fd, shadow_fd, page_fd, &extent->flush);
	if (r) {
		free(extent);
		return r;
	}
	extent->id = id;
	extent->offset = offset;
	extent->length = length;
	*at = extent;
	return 0;
}

void extents_remove(struct extents *extents, uint32_t id)
{
	struct extent **at = find(extents, id), *extent = *at;

	if (!extent)
		return;
	*at = extent->next;
	extents_restart_allocate(extents);
	extents_restart_flush(extents);
	if (extent->flush)
		flush_close(extent->flush);
	free(extent);
}

void extents_remove_all(struct extents *extents)
{
	while (extents->first)
		extents_remove(extents, extents->first->id);
}

bool extents_have_shadow(const struct extents *extents)
{
	for (const struct extent *at = extents->first; at; at = at->next)
		if (at->flush)
			return true;
	return false;
}

void extents_restart_allocate(struct extents *extents)
{
	extents->allocating = NULL;
}

int extents_allocate(struct extents *extents, int file_fd)
{
	struct extent *extent = extents->allocating;
	uint64_t start, end, stop;
	struct stat st;
	int r;

	if (!extent) {
		extent = extents->first;
		extents->allocated = 0;
	}
	if (!extent)
		return 0;
	if (fstat(file_fd, &st))
		return -errno;
	start = extent->offset + extents->allocated;
	end = extent->offset + extent->length;
	if (end > (uint64_t)st.st_size)
		end = (uint64_t)st.st_size;
	if (start < end) {
		stop = end - start > ALLOCATE_PIECE ? start + ALLOCATE_PIECE
						    : end;
		r = allocate_range(file_fd, start, stop - start);
		/* It has been cut off since: the next look tells where. */
		if (r && r != -ERANGE)
			return r;
		extents->allocated = stop - extent->offset;
	}
	if (start >= end || stop == end) {
		extent = extent->next;
		extents->allocated = 0;
	}
	extents->allocating = extent;
	return !!extent;
}

void extents_restart_flush(struct extents *extents)
{
	for (struct extent *at = extents->first; at; at = at->next)
		if (at->flush)
			flush_restart(at->flush);
	extents->flushing = NULL;
	extents->flush_error = 0;
}

int extents_flush(struct extents *extents)
{
	struct extent *extent = extents->flushing;
	int r;

	if (!extent) {
		extent = extents->first;
		extents->flush_error = 0;
	}
	while (extent && !extent->flush)
		extent = extent->next;
	if (extent) {
		r = flush_piece(extent->flush);
		if (r < 0 && !extents->flush_error)
			extents->flush_error = r;
		if (r <= 0)
			extent = extent->next;
	}
	while (extent && !extent->flush)
		extent = extent->next;
	extents->flushing = extent;
	return extent ? 1 : extents->flush_error;
}
