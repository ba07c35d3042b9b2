/* SPDX-License-Identifier: BSD-2-Clause */
/* Registered ranges in the keeper: extents.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocate.h"
#include "extents.h"
#include "flush.h"
#include "merge.h"

/* Allocated by one call, at most: some milliseconds where all is there. */
#define ALLOCATE_PIECE (16ULL << 20)
#define PAGE_MASK      4095ULL

struct range {
	struct range *next;
	uint32_t id;
	uint64_t offset;
	uint64_t length;
	struct flush *flush; /* NULL: no shadow */
	int shadow_fd;	     /* for the merge, which maps it while it runs */
	int page_fd;
};

static struct range **find(struct extents *extents, uint32_t id)
{
	struct range **at = &extents->first;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void close_shadow(struct range *range)
{
	if (range->flush)
		flush_close(range->flush);
	if (range->shadow_fd >= 0)
		close(range->shadow_fd);
	if (range->page_fd >= 0)
		close(range->page_fd);
}

static int open_shadow(struct range *range, int file_fd, int shadow_fd,
		       int page_fd)
{
	int r = 0;

	range->shadow_fd = fcntl(shadow_fd, F_DUPFD_CLOEXEC, 0);
	range->page_fd = fcntl(page_fd, F_DUPFD_CLOEXEC, 0);
	if (range->shadow_fd < 0 || range->page_fd < 0)
		r = -errno;
	else
		r = flush_open(file_fd, shadow_fd, page_fd, &range->flush);
	if (r)
		close_shadow(range);
	return r;
}

int extents_add(struct extents *extents, uint32_t id, uint64_t offset,
		uint64_t length, int file_fd, int shadow_fd, int page_fd)
{
	struct range **at = find(extents, id), *range;
	int r = 0;

	if (*at)
		return -EEXIST;
	if ((offset | length) & PAGE_MASK || offset + length < offset ||
	    offset + length > INT64_MAX)
		return -EINVAL;
	range = calloc(1, sizeof(*range));
	if (!range)
		return -ENOMEM;
	if (shadow_fd >= 0)
		r = open_shadow(range, file_fd, shadow_fd, page_fd);
	if (r) {
		free(range);
		return r;
	}
	range->id = id;
	range->offset = offset;
	range->length = length;
	*at = range;
	return 0;
}

void extents_remove(struct extents *extents, uint32_t id)
{
	struct range **at = find(extents, id), *range = *at;

	if (!range)
		return;
	*at = range->next;
	extents_restart_merge(extents);
	extents_restart_flush(extents);
	if (range->flush)
		close_shadow(range);
	free(range);
}

void extents_remove_all(struct extents *extents)
{
	while (extents->first)
		extents_remove(extents, extents->first->id);
}

bool extents_have_shadow(const struct extents *extents)
{
	for (const struct range *at = extents->first; at; at = at->next)
		if (at->flush)
			return true;
	return false;
}

void extents_restart_merge(struct extents *extents)
{
	if (extents->merge)
		merge_close(extents->merge);
	extents->merge = NULL;
	extents->allocating = extents->merging = NULL;
	extents->is_allocated = false;
	extents->merge_error = 0;
}

/* The size is looked at before each piece. > 0 there is more, 0 all is done. */
static int allocate(struct extents *extents, int file_fd)
{
	struct range *range = extents->allocating;
	uint64_t start, end, stop = 0;
	struct stat st;
	int r;

	if (!range) {
		range = extents->first;
		extents->allocated = 0;
	}
	if (!range)
		return 0;
	if (fstat(file_fd, &st))
		return -errno;
	start = range->offset + extents->allocated;
	end = range->offset + range->length;
	if (end > (uint64_t)st.st_size)
		end = (uint64_t)st.st_size;
	if (start < end) {
		stop = end - start > ALLOCATE_PIECE ? start + ALLOCATE_PIECE
						    : end;
		r = allocate_range(file_fd, start, stop - start);
		/* It has been cut off since: the next look tells where. */
		if (r && r != -ERANGE)
			return r;
		extents->allocated = stop - range->offset;
	}
	if (start >= end || stop == end) {
		range = range->next;
		extents->allocated = 0;
	}
	extents->allocating = range;
	return !!range;
}

static struct range *next_shadow(struct range *range)
{
	while (range && !range->flush)
		range = range->next;
	return range;
}

/* An error of one range keeps no other from being merged. */
static int merge(struct extents *extents, int file_fd)
{
	struct range *range = extents->merging;
	int r = 0;

	if (!range)
		range = next_shadow(extents->first);
	if (!range)
		return 0;
	if (!extents->merge)
		r = merge_open(file_fd, range->shadow_fd, range->page_fd,
			       MERGE_OURS, &extents->merge);
	if (!r)
		r = merge_piece(extents->merge);
	if (r < 0 && !extents->merge_error)
		extents->merge_error = r;
	if (r <= 0) {
		if (extents->merge)
			merge_close(extents->merge);
		extents->merge = NULL;
		range = next_shadow(range->next);
	}
	extents->merging = range;
	return range ? 1 : extents->merge_error;
}

int extents_merge(struct extents *extents, int file_fd)
{
	int r;

	if (!extents->is_allocated) {
		r = allocate(extents, file_fd);
		extents->is_allocated = !r;
		return r ? r : 1;
	}
	r = merge(extents, file_fd);
	if (r <= 0)
		extents_restart_merge(extents);
	return r;
}

void extents_restart_flush(struct extents *extents)
{
	for (struct range *at = extents->first; at; at = at->next)
		if (at->flush)
			flush_restart(at->flush);
	extents->flushing = NULL;
	extents->flush_error = 0;
}

int extents_flush(struct extents *extents)
{
	struct range *range = extents->flushing;
	int r;

	if (!range) {
		range = extents->first;
		extents->flush_error = 0;
	}
	range = next_shadow(range);
	if (range) {
		r = flush_piece(range->flush);
		if (r < 0 && !extents->flush_error)
			extents->flush_error = r;
		if (r <= 0)
			range = next_shadow(range->next);
	}
	extents->flushing = range;
	return range ? 1 : extents->flush_error;
}
