/* SPDX-License-Identifier: BSD-2-Clause */
/* Merging a file and its shadow: merge.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "extent_book.h"
#include "fault.h"
#include "flush_file.h"
#include "merge.h"
#include "reason.h"

#define BLOCK EXTENT_BLOCK
#define WORDS (BLOCK / sizeof(uint64_t))

struct merge {
	struct flush_file file;
	struct extent extent;
	_Atomic uint64_t *shadow;
	bool is_sealed; /* mapped for reading only */
	enum on_conflict on_conflict;
	struct merge_counts counts;
	/* In memory before each access that may fail: fault.h. */
	uint64_t next;
	uint64_t end;
	uint64_t *
		theirs; /* a block each, of all merges: nothing is kept there */
	uint64_t *ours;
};

/* For who has the turn. */
static alignas(64) uint64_t theirs_now[WORDS];
static alignas(64) uint64_t ours_now[WORDS];

static int map_shadow(struct merge *merge, int fd)
{
	void *shadow;
	struct stat st;
	int r = extent_seal(fd);

	if (!r && fstat(fd, &st))
		r = -errno;
	if (!r && (uint64_t)st.st_size < merge->extent.length)
		r = -EPROTO;
	if (r)
		return r;
	merge->is_sealed = fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE;
	shadow = merge->is_sealed
			 ? extent_map_shadow(fd, merge->extent.length)
			 : mmap(NULL, merge->extent.length,
				PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shadow == MAP_FAILED)
		return -errno;
	merge->shadow = shadow;
	return 0;
}

int merge_open(int file_fd, int shadow_fd, const struct extent *extent,
	       enum on_conflict on_conflict, struct merge **ret)
{
	struct merge *merge = calloc(1, sizeof(*merge));
	int r;

	if (!merge)
		return reason_set(-ENOMEM, "no memory to merge a region");
	merge->theirs = theirs_now;
	merge->ours = ours_now;
	merge->extent = *extent;
	merge->on_conflict = on_conflict;
	r = fault_init();
	if (r)
		reason_set(r, "SIGBUS cannot be handled: %s",
			   strerrordesc_np(-r));
	if (!r) {
		r = map_shadow(merge, shadow_fd);
		if (r)
			reason_set(r,
				   "a region's shadow cannot be mapped to "
				   "merge it: %s",
				   strerrordesc_np(-r));
	}
	if (!r)
		r = flush_file_open(&merge->file, file_fd, merge->extent.offset,
				    merge->extent.length);
	if (r) {
		merge_close(merge);
		return r;
	}
	*ret = merge;
	return 0;
}

void merge_close(struct merge *merge)
{
	flush_file_close(&merge->file);
	if (merge->shadow)
		munmap((void *)merge->shadow, merge->extent.length);
	free(merge);
}

struct merge_counts merge_counts(const struct merge *merge)
{
	return merge->counts;
}

/* So many bytes of the block are the file's, or were once. */
static size_t had(const struct merge *merge, uint64_t at)
{
	uint64_t had = atomic_load(&merge->extent.page->had);

	if (had < merge->file.in_file)
		had = merge->file.in_file;
	if (had <= at)
		return 0;
	return had - at < BLOCK ? (size_t)(had - at) : BLOCK;
}

/* Copies, which stand still. */
static void take_theirs(struct merge *merge)
{
	uint64_t at = merge->next * BLOCK;
	size_t length = flush_file_has(&merge->file, at, BLOCK);

	memcpy(merge->theirs, merge->file.bytes + at, length);
	memset((char *)merge->theirs + length, 0, BLOCK - length);
}

static void take_ours(struct merge *merge)
{
	size_t length = had(merge, merge->next * BLOCK);
	const _Atomic uint64_t *shadow = merge->shadow + merge->next * WORDS;

	for (unsigned int i = 0; i < WORDS; i++)
		merge->ours[i] =
			atomic_load_explicit(&shadow[i], memory_order_relaxed);
	memset((char *)merge->ours + length, 0, BLOCK - length);
}

/* False: nobody can, so it is as if it were not filled. */
static bool put_theirs(struct merge *merge)
{
	_Atomic uint64_t *shadow = merge->shadow + merge->next * WORDS;

	if (merge->is_sealed) {
		extent_clear_filled(&merge->extent, merge->next);
		return false;
	}
	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t word = merge->ours[i];

		if (word != merge->theirs[i])
			atomic_compare_exchange_strong(&shadow[i], &word,
						       merge->theirs[i]);
	}
	return true;
}

static void merge_block(struct merge *merge)
{
	const struct extent *extent = &merge->extent;
	uint64_t base = atomic_load_explicit(&extent->digests[merge->next],
					     memory_order_relaxed);
	uint64_t theirs;

	take_theirs(merge);
	theirs = extent_digest(extent, merge->theirs);
	/* They left it alone: whatever we have is the next flush's. */
	if (base == theirs)
		return;
	take_ours(merge);
	if (base == EXTENT_IN_CONFLICT) {
		if (!memcmp(merge->ours, merge->theirs, BLOCK))
			extent_set_digest(extent, merge->next, theirs);
		return;
	}
	if (memcmp(merge->ours, merge->theirs, BLOCK) != 0) {
		bool is_ours = base == EXTENT_NO_DIGEST ||
			       extent_digest(extent, merge->ours) != base;

		merge->counts.theirs += !is_ours;
		merge->counts.conflicts += is_ours;
		if (is_ours && merge->on_conflict == ON_CONFLICT_ERROR) {
			extent_set_digest(extent, merge->next,
					  EXTENT_IN_CONFLICT);
			return;
		}
		if ((!is_ours || merge->on_conflict == ON_CONFLICT_THEIRS) &&
		    !put_theirs(merge))
			return;
	}
	extent_set_digest(extent, merge->next, theirs);
}

static void merge_blocks(void *arg)
{
	struct merge *merge = arg;

	for (; merge->next < merge->end; merge->next++) {
		atomic_signal_fence(memory_order_seq_cst);
		if (extent_is_filled(&merge->extent, merge->next))
			merge_block(merge);
	}
}

static bool is_any_filled(const struct merge *merge)
{
	uint64_t block = merge->next;

	while (block < merge->end && !extent_is_filled(&merge->extent, block))
		block++;
	return block < merge->end;
}

/*
 * It is mapped anew for each merge. What cannot be had the reading tells. While
 * a shadow waits for being filled, nothing of its file is looked at: that would
 * only be in the way of who fills it.
 */
static void populate(const struct merge *merge)
{
	if (!is_any_filled(merge))
		return;
	madvise(merge->file.bytes + merge->next * BLOCK,
		(merge->end - merge->next) * BLOCK, MADV_POPULATE_READ);
}

int merge_piece(struct merge *merge)
{
	int r;

	if (merge->next == merge->extent.blocks)
		merge->next = 0;
	if (merge->next == 0)
		merge->counts = (struct merge_counts){0};
	r = flush_file_look(&merge->file);
	if (r)
		return r;
	merge->counts.cut_off +=
		extent_sees_file(&merge->extent, merge->file.in_file, false);
	merge->end = merge->next + MERGE_PIECE / BLOCK;
	if (merge->end > merge->extent.blocks)
		merge->end = merge->extent.blocks;
	populate(merge);
	while (!fault_try(merge_blocks, merge)) {
		merge->counts.failed++;
		merge->next++;
	}
	if (merge->next < merge->extent.blocks)
		return 1;
	return merge->counts.failed ? -EIO : 0;
}
