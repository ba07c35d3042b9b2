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

/* Of a pass. What failed is tried again in the next one, what is done isn't. */
enum progress {
	TO_DO,
	FAILED,
	DONE
};

struct range {
	struct range *next;
	uint32_t id;
	uint64_t offset;
	uint64_t length;
	enum progress allocated, merged;
	struct flush *flush; /* NULL: no shadow, or of a file that is read */
	int shadow_fd; /* for the merge, which maps it while it runs; -1 none */
	struct extent *extent; /* of one that is read; the flush has its own */
};

static struct range **find(struct extents *extents, uint32_t id)
{
	struct range **at = &extents->first;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static const struct extent *extent_of(const struct range *range)
{
	return range->flush ? flush_extent(range->flush) : range->extent;
}

static void close_shadow(struct range *range)
{
	struct extent extent;

	if (extent_of(range)) {
		extent = *extent_of(range);
		extent_unmap(&extent);
	}
	if (range->flush)
		flush_close(range->flush);
	free(range->extent);
	if (range->shadow_fd >= 0)
		close(range->shadow_fd);
}

/* What was opened for reading is read: nothing is ever written to it. */
static bool is_read_only(int file_fd)
{
	return (fcntl(file_fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

/* The page may be another's by now: the caller says which it means. */
static int open_shadow(struct range *range, int file_fd, int shadow_fd,
		       const struct extent_place *page)
{
	struct extent extent;
	int r;

	range->shadow_fd = fcntl(shadow_fd, F_DUPFD_CLOEXEC, 0);
	if (range->shadow_fd < 0)
		return -errno;
	r = extent_map(page, &extent);
	if (r)
		return r;
	if (extent.offset != range->offset || extent.length != range->length) {
		r = -EPROTO;
	} else if (is_read_only(file_fd)) {
		range->extent = malloc(sizeof(extent));
		r = range->extent ? 0 : -ENOMEM;
	} else {
		r = flush_open(file_fd, shadow_fd, &extent, &range->flush);
	}
	if (r)
		extent_unmap(&extent);
	else if (range->extent)
		*range->extent = extent;
	return r;
}

int extents_add(struct extents *extents, uint32_t id, uint64_t offset,
		uint64_t length, int file_fd, int shadow_fd,
		const struct extent_place *page)
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
	range->id = id;
	range->offset = offset;
	range->length = length;
	range->shadow_fd = -1;
	if (shadow_fd >= 0)
		r = open_shadow(range, file_fd, shadow_fd, page);
	if (range->flush)
		flush_set_policy(range->flush, &extents->policy);
	if (r) {
		close_shadow(range);
		free(range);
		return r;
	}
	*at = range;
	extents->shadows += shadow_fd >= 0;
	/* It is the last: where all is done it is all that is not. */
	if (!extents->allocating)
		extents->allocating = range;
	if (!extents->merging)
		extents->merging = range;
	return 0;
}

/* What a pass has seen counts, also of one that is not ended. */
static void close_merge(struct extents *extents)
{
	struct merge_counts counts;

	if (!extents->merge)
		return;
	counts = merge_counts(extents->merge);
	extents->theirs += counts.theirs;
	extents->conflicts += counts.conflicts;
	/* Else it may be the program that has, and says so next. */
	if (!extents->policy.is_size_busy)
		extents->cut_off += counts.cut_off;
	merge_close(extents->merge);
	extents->merge = NULL;
}

/* What has failed in this pass stays known. */
static void stop_piece(struct extents *extents)
{
	close_merge(extents);
	extents->allocated = 0;
}

/* Those that are at other ranges go on. */
static void leave_passes(struct extents *extents, const struct range *range)
{
	if (extents->merging == range) {
		stop_piece(extents);
		extents->merging = range->next;
	}
	if (extents->allocating == range) {
		extents->allocated = 0;
		extents->allocating = range->next;
	}
	if (extents->flushing == range || extents->persisting == range)
		extents_restart_flush(extents);
}

void extents_remove(struct extents *extents, uint32_t id)
{
	struct range **at = find(extents, id), *range = *at;

	if (!range)
		return;
	*at = range->next;
	extents->shadows -= range->shadow_fd >= 0;
	leave_passes(extents, range);
	close_shadow(range);
	free(range);
}

int extents_let_go(struct extents *extents, uint32_t id, uint32_t ticket)
{
	const struct range *range = *find(extents, id);
	const struct extent *extent = range ? extent_of(range) : NULL;

	if (ticket && extent && !extent_end_leave(extent, ticket))
		return -ECANCELED;
	extents_remove(extents, id);
	return 0;
}

void extents_remove_all(struct extents *extents)
{
	while (extents->first)
		extents_remove(extents, extents->first->id);
}

bool extents_have_shadow(const struct extents *extents)
{
	return extents->shadows;
}

void extents_restart_merge(struct extents *extents)
{
	stop_piece(extents);
	extents->merge_error = 0;
	for (struct range *at = extents->first; at; at = at->next)
		at->allocated = at->merged = TO_DO;
	extents->allocating = extents->merging = extents->first;
}

static int end_merge(struct extents *extents)
{
	int r = extents->merge_error;

	stop_piece(extents);
	extents->merge_error = 0;
	if (!r)
		return 0;
	extents->allocating = extents->merging = extents->first;
	for (struct range *at = extents->first; at; at = at->next) {
		if (at->allocated == FAILED)
			at->allocated = TO_DO;
		if (at->merged == FAILED)
			at->merged = TO_DO;
	}
	return r;
}

/* The size is looked at before each piece. > 0 there is more. */
static int allocate_piece(struct extents *extents, const struct range *range,
			  int file_fd)
{
	uint64_t start = range->offset + extents->allocated;
	uint64_t end = range->offset + range->length;
	struct stat st;
	int r;

	if (fstat(file_fd, &st))
		return -errno;
	if (end > (uint64_t)st.st_size)
		end = (uint64_t)st.st_size;
	if (start >= end)
		return 0;
	if (end > start + ALLOCATE_PIECE)
		end = start + ALLOCATE_PIECE;
	r = allocate_range(file_fd, start, end - start);
	extents->allocated = end - range->offset;
	/* It has been cut off since: the next look tells where. */
	if (r == -ERANGE ||
	    (r && !fstat(file_fd, &st) && end > (uint64_t)st.st_size))
		return 1;
	return r ? r : 1;
}

static int merge_a_piece(struct extents *extents, const struct range *range,
			 int file_fd)
{
	int r = 0;

	if (!extents->merge)
		r = merge_open(file_fd, range->shadow_fd, extent_of(range),
			       range->flush ? extents->policy.on_conflict
					    : ON_CONFLICT_THEIRS,
			       &extents->merge);
	if (!r)
		r = merge_piece(extents->merge);
	if (r <= 0)
		close_merge(extents);
	return r;
}

/* More, or what became of a range: an error of one stops no other. */
static int progress_of(struct extents *extents, int r, enum progress *progress)
{
	if (r > 0)
		return r;
	if (r && !extents->merge_error)
		extents->merge_error = r;
	*progress = r ? FAILED : DONE;
	return 1;
}

/* All are allocated, then all that have a shadow are merged. */
int extents_merge(struct extents *extents, int file_fd, bool is_kept)
{
	struct range *range = is_kept ? extents->allocating : NULL;
	int r;

	while (range && range->allocated != TO_DO)
		range = range->next;
	if (is_kept)
		extents->allocating = range;
	if (range) {
		r = allocate_piece(extents, range, file_fd);
		if (r <= 0)
			extents->allocated = 0;
		return progress_of(extents, r, &range->allocated);
	}
	range = extents->merging;
	while (range && (range->shadow_fd < 0 || range->merged != TO_DO))
		range = range->next;
	extents->merging = range;
	if (!range)
		return end_merge(extents);
	r = merge_a_piece(extents, range, file_fd);
	return progress_of(extents, r, &range->merged);
}

static struct range *next_shadow(struct range *range)
{
	while (range && !range->flush)
		range = range->next;
	return range;
}

int extents_seal(struct extents *extents)
{
	int r = 0, error = 0;

	/* One that was interrupted has a writable mapping itself. */
	stop_piece(extents);
	for (const struct range *at = extents->first; at; at = at->next) {
		if (!at->flush ||
		    fcntl(at->shadow_fd, F_GET_SEALS) & F_SEAL_WRITE)
			continue;
		if (fcntl(at->shadow_fd, F_ADD_SEALS, F_SEAL_WRITE))
			error = -errno;
		else
			r = 1;
	}
	return error ? error : r;
}

void extents_own_size(struct extents *extents, uint64_t size)
{
	for (const struct range *at = extents->first; at; at = at->next)
		if (at->flush)
			flush_own_size(at->flush, size > at->offset
							  ? size - at->offset
							  : 0);
}

void extents_restart_flush(struct extents *extents)
{
	for (struct range *at = extents->first; at; at = at->next)
		if (at->flush)
			flush_restart(at->flush);
	extents->flushing = extents->persisting = NULL;
	extents->flush_error = 0;
	extents->has_met_others = false;
}

void extents_look_again(struct extents *extents)
{
	for (struct range *at = extents->first; at; at = at->next)
		if (at->flush)
			flush_look_again(at->flush);
}

static void add_beyond(struct extents *extents, struct flush_beyond beyond)
{
	extents->held += beyond.held;
	extents->dropped += beyond.dropped;
}

int extents_flush(struct extents *extents)
{
	struct range *range = extents->flushing;
	int r;

	/* Drops the part. */
	extents->persisting = NULL;
	if (!range) {
		range = extents->first;
		extents->flush_error = 0;
		extents->has_met_others = false;
	}
	range = next_shadow(range);
	if (range) {
		r = flush_piece(range->flush);
		extents->is_changed |= flush_has_stored(range->flush);
		if (r < 0 && !extents->flush_error)
			extents->flush_error = r;
		if (r <= 0) {
			add_beyond(extents, flush_beyond(range->flush));
			extents->has_met_others |=
				flush_has_met_others(range->flush);
			range = next_shadow(range->next);
		}
	}
	extents->flushing = range;
	return range ? 1 : extents->flush_error;
}

void extents_persist_part(struct extents *extents, uint64_t offset,
			  uint64_t end)
{
	if (extents->persisting)
		flush_end_part(extents->persisting->flush);
	extents->persisting = NULL;
	extents->persist_offset = offset;
	extents->persist_end = end;
}

static uint64_t in_range(const struct range *range, uint64_t at)
{
	return at <= range->offset		    ? 0
	       : at - range->offset > range->length ? range->length
						    : at - range->offset;
}

/* The first from there on that has something of the part. */
static void begin_part(struct extents *extents, struct range *range,
		       bool is_lent)
{
	uint64_t from, end;

	for (; range; range = range->next) {
		from = in_range(range, extents->persist_offset);
		end = in_range(range, extents->persist_end);
		if (range->flush && from < end)
			break;
	}
	extents->persisting = range;
	if (range)
		flush_begin_part(range->flush, from, end, is_lent);
}

int extents_persist(struct extents *extents, bool is_lent)
{
	struct range *range;
	int r;

	if (!extents->persisting) {
		extents->persist_error = 0;
		extents->part_has_met_others = false;
		begin_part(extents, extents->first, is_lent);
	}
	range = extents->persisting;
	if (!range)
		return 0;
	r = flush_part_piece(range->flush);
	extents->is_changed |= flush_has_stored(range->flush);
	if (r > 0)
		return r;
	if (r && !extents->persist_error)
		extents->persist_error = r;
	add_beyond(extents, flush_part_beyond(range->flush));
	extents->part_has_met_others |= flush_part_has_met_others(range->flush);
	begin_part(extents, range->next, is_lent);
	return extents->persisting ? 1 : extents->persist_error;
}

void extents_touch(struct extents *extents, int file_fd)
{
	/*
	 * Both times: of mtime alone inotify says IN_MODIFY, which our own
	 * watch takes for a change by somebody (fsnotify_change(),
	 * include/linux/fsnotify.h), and to who does not own the file it is
	 * forbidden.
	 */
	if (extents->is_changed)
		futimens(file_fd, NULL);
	extents->is_changed = false;
}
