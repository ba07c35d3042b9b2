/* SPDX-License-Identifier: BSD-2-Clause */
/* Flushing a shadow: flush.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"
#include "fault.h"
#include "flush_parts.h"

/* What is known of where we are has to be in memory before the next access. */
static void set_place(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

uint64_t flush_blocks_to_look_at(const struct flush *flush)
{
	uint64_t blocks = (flush->had + BLOCK - 1) / BLOCK;
	uint64_t end =
		flush->part.is_begun ? flush->part.end : flush->extent.blocks;

	return blocks < end ? blocks : end;
}

static bool has_digest(const struct flush *flush, uint64_t block)
{
	return flush_digest_of(flush, block) > EXTENT_IN_CONFLICT;
}

static bool is_unsynced(const struct flush *flush, uint64_t block)
{
	uint64_t at = block * BLOCK;

	return at + BLOCK > flush->file.unsynced &&
	       at < flush->file.unsynced_end;
}

static bool is_to_be_stored(struct flush *flush, uint64_t block)
{
	uint64_t at = block * BLOCK;
	const uint8_t *file = flush->file.bytes + at;
	size_t length = flush_file_has(&flush->file, at, BLOCK);

	if (flush->must_store_again && is_unsynced(flush, block))
		return true;
	if (length == BLOCK) {
		if (!block_code()->is_same(flush->shadow + at, file))
			return true;
	} else if (flush_take_beyond(flush, block) ||
		   memcmp(flush->copy, file, length) != 0) {
		return true;
	}
	/* Of what others have the same bytes prove nothing. */
	if (length && !has_digest(flush, block) && !flush->part.is_lent) {
		/* The file's bytes stand still, the shadow's may not. */
		flush_take(flush, file, length);
		flush_set_digest(flush, block,
				 extent_digest(&flush->extent, flush->copy));
	}
	return false;
}

static void look(void *arg)
{
	struct flush *flush = arg;

	while (flush->next < flush->look_end && flush->founds < PIECE_BLOCKS) {
		if (extent_is_filled(&flush->extent, flush->next)) {
			flush->compared++;
			set_place();
			if (is_to_be_stored(flush, flush->next))
				flush->found[flush->founds++] =
					(uint32_t)flush->next;
		}
		flush->next++;
	}
	set_place();
}

/*
 * For the store to say why. Where it is no end of the file, what the file had
 * there is gone: all that there is is ours.
 */
static void not_readable(struct flush *flush)
{
	uint64_t block = flush->next++;

	if (flush->part.is_lent) {
		flush_lent_failed(flush);
		return;
	}
	flush->found[flush->founds++] = (uint32_t)block;
	if (!flush_look(flush) &&
	    flush_file_has(&flush->file, block * BLOCK, BLOCK))
		flush_set_digest(flush, block, EXTENT_NO_DIGEST);
}

/*
 * Room was looked for in this pass already, which takes a full file system some
 * milliseconds: not for each block, somebody may be waiting for the file.
 */
static bool lacks_room(const struct flush *flush, uint64_t block)
{
	return flush->is_full &&
	       flush_file_needs_room(&flush->file, block * BLOCK);
}

static void prepare(void *arg)
{
	struct flush *flush = arg;

	while (flush->prepared < flush->founds) {
		uint64_t block = flush->found[flush->prepared++];

		set_place();
		if (flush_in_file(flush, block) && !lacks_room(flush, block))
			flush_file_prepare(&flush->file, block * BLOCK);
		if (!flush->part.is_lent &&
		    flush->policy->on_shrink == ON_SHRINK_EXTEND &&
		    flush_in_file(flush, block) < flush_had(flush, block) &&
		    flush_take_beyond(flush, block))
			flush_file_reserve(&flush->file,
					   block * BLOCK +
						   flush_had(flush, block));
	}
}

static void look_for_more(struct flush *flush)
{
	flush->look_end = flush_blocks_to_look_at(flush);
	if (flush->look_end > flush->next + FLUSH_COMPARE / BLOCK)
		flush->look_end = flush->next + FLUSH_COMPARE / BLOCK;
	flush->founds = flush->prepared = flush->stored = 0;
	flush->compared = 0;
	while (!fault_try(look, flush))
		not_readable(flush);
	flush_count(&flush->extent.page->compared, flush->compared);
	/* Where that fails the store will tell why. */
	while (!fault_try(prepare, flush))
		;
}

/*
 * What stands in `copy` is what the block had when shadow and file were last
 * the same: then it is the file that was changed since, and not by us.
 */
static bool is_theirs(struct flush *flush, uint64_t block, uint64_t digest)
{
	return digest == flush_digest_of(flush, block) &&
	       !(flush->must_store_again && is_unsynced(flush, block));
}

/* Has the file's side changed too, and is it not for us to write over that? */
static bool is_both(struct flush *flush, uint64_t block)
{
	size_t length = flush_in_file(flush, block);

	if (flush->policy->on_conflict == ON_CONFLICT_OURS ||
	    !has_digest(flush, block) ||
	    (flush->must_store_again && is_unsynced(flush, block)))
		return false;
	memcpy(flush->theirs, flush->file.bytes + block * BLOCK, length);
	memset(flush->theirs + length, 0, BLOCK - length);
	return extent_digest(&flush->extent, flush->theirs) !=
	       flush_digest_of(flush, block);
}

static void store(void *arg)
{
	struct flush *flush = arg;

	for (; flush->stored < flush->founds; flush->stored++) {
		uint64_t block = flush->found[flush->stored];
		uint64_t at = block * BLOCK;
		size_t length = flush_in_file(flush, block);
		uint64_t digest;

		flush->is_taken = false;
		set_place();
		digest = flush_digest_of(flush, block);
		/* The program may have taken it back since it was looked at. */
		if (digest == EXTENT_IN_CONFLICT || digest == EXTENT_NOT_FILLED)
			continue;
		flush_take(flush, flush->shadow + at, flush_had(flush, block));
		digest = extent_digest(&flush->extent, flush->copy);
		if (is_theirs(flush, block, digest) || is_both(flush, block)) {
			flush->has_met_others |= length != 0;
			continue;
		}
		if (flush_leave_beyond(flush, block, &digest))
			continue;
		if (length && lacks_room(flush, block)) {
			flush_count(&flush->extent.page->failed, 1);
			continue;
		}
		flush->base = flush_digest_of(flush, block);
		if (!flush_set_digest(flush, block, EXTENT_NO_DIGEST))
			continue;
		flush->is_taken = true;
		set_place();
		flush_file_store(&flush->file, at, flush->copy, length);
		set_place();
		flush_set_digest(flush, block, digest);
		flush_count(&flush->extent.page->copied, 1);
	}
	set_place();
}

/* The block that the store could not do, in another way or not at all. */
static void store_otherwise(struct flush *flush)
{
	uint64_t block = flush->found[flush->stored++];
	uint64_t at = block * BLOCK;
	size_t length;
	int r = flush->is_taken ? flush_look(flush) : -EIO;

	if (flush->part.is_lent) {
		flush_lent_failed(flush);
		return;
	}
	/* Shorter than it was: that is no error. */
	length = flush_file_has(&flush->file, at, BLOCK);
	if (!r && !length)
		return;
	if (!r) {
		memset(flush->copy + length, 0, BLOCK - length);
		r = flush_file_write(&flush->file, at, flush->copy, length);
	}
	if (r) {
		/* Nothing was written: others have not changed the block. */
		if (r == -ENOSPC || r == -EDQUOT) {
			flush->is_full = true;
			flush_set_digest(flush, block, flush->base);
		}
		flush_count(&flush->extent.page->failed, 1);
		flush_failed(flush, r);
		return;
	}
	flush_set_digest(flush, block,
			 extent_digest(&flush->extent, flush->copy));
	flush_count(&flush->extent.page->copied, 1);
}

static void begin(struct flush *flush)
{
	flush->phase = COPYING;
	flush->error = 0;
	flush->has_met_others = flush->is_full = false;
	flush->beyond = (struct flush_beyond){0};
	flush->next = 0;
	flush->founds = flush->stored = 0;
	flush->file.syncing = 0;
	atomic_store(&flush->extent.page->state, EXTENT_FLUSHING);
}

static int end(struct flush *flush)
{
	struct extent_page *page = flush->extent.page;

	flush->phase = AT_REST;
	if (flush->error) {
		atomic_store(&page->state, EXTENT_FAILED);
		return flush->error;
	}
	flush_count(&page->passes, 1);
	atomic_store(&page->state, EXTENT_IDLE);
	return 0;
}

/* The file may show again what it had before: nobody's doing. */
static void forget_unsynced(struct flush *flush)
{
	uint64_t end = (flush->file.unsynced_end + BLOCK - 1) / BLOCK;

	for (uint64_t i = flush->file.unsynced / BLOCK; i < end; i++)
		if (has_digest(flush, i))
			flush_set_digest(flush, i, EXTENT_NO_DIGEST);
}

void flush_sync_failed(struct flush *flush, int error)
{
	flush->must_store_again = true;
	forget_unsynced(flush);
	flush_failed(flush, error);
}

static int sync_piece(struct flush *flush)
{
	int r = flush_file_sync(&flush->file);

	if (r > 0)
		return r;
	flush->must_store_again = false;
	if (r < 0)
		flush_sync_failed(flush, r);
	return end(flush);
}

bool flush_has_stored(struct flush *flush)
{
	bool has_stored = flush->file.is_changed;

	flush->file.is_changed = false;
	return has_stored;
}

bool flush_has_met_others(const struct flush *flush)
{
	return flush->has_met_others;
}

int flush_copy_piece(struct flush *flush)
{
	void (*store_all)(void *arg) =
		flush->part.is_lent ? flush_lent_store : store;
	int r = flush_look(flush);

	if (r) {
		flush_failed(flush, r);
		return r;
	}
	if (flush->part.is_lent)
		flush_lent_look(flush);
	else
		flush_own_growth(flush);
	while (!fault_try(store_all, flush))
		store_otherwise(flush);
	look_for_more(flush);
	if (!flush->founds && flush->next >= flush_blocks_to_look_at(flush))
		flush->phase = SYNCING;
	return 1;
}

int flush_piece(struct flush *flush)
{
	flush_end_part(flush);
	if (flush->phase == SYNCING)
		return sync_piece(flush);
	if (flush->phase == AT_REST)
		begin(flush);
	return flush_copy_piece(flush) < 0 ? end(flush) : 1;
}

void flush_restart(struct flush *flush)
{
	flush_end_part(flush);
	flush->phase = AT_REST;
}

void flush_look_again(struct flush *flush)
{
	if (flush->stored < flush->founds)
		flush->next = flush->found[flush->stored];
	flush->founds = flush->stored = 0;
}
