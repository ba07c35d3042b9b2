/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pass over a part of an extent, beside one over all that waits meanwhile:
 * flush.h.
 */
#include <errno.h>

#include "flush_parts.h"

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What that has found is looked at again: it may be stored by then. */
void flush_begin_part(struct flush *flush, uint64_t offset, uint64_t end,
		      bool is_lent)
{
	struct flush_part *part = &flush->part;

	flush_end_part(flush);
	flush_look_again(flush);
	*part = (struct flush_part){
		.is_begun = true,
		.is_lent = is_lent,
		.first = min(offset / BLOCK, flush->extent.blocks),
		.end = min(end / BLOCK + !!(end % BLOCK), flush->extent.blocks),
		.phase = flush->phase,
		.error = flush->error,
		.has_met_others = flush->has_met_others,
		.is_full = flush->is_full,
		.next = flush->next,
		.beyond = flush->beyond,
	};
	part->synced = part->first * BLOCK;
	flush->phase = COPYING;
	flush->error = 0;
	flush->has_met_others = flush->is_full = false;
	flush->beyond = (struct flush_beyond){0};
	flush->next = part->first;
	/* What is stored before the place where it was is made durable, too. */
	flush->file.syncing = 0;
}

void flush_end_part(struct flush *flush)
{
	struct flush_part *part = &flush->part;

	if (!part->is_begun)
		return;
	part->ended_beyond = flush->beyond;
	part->ended_has_met_others = flush->has_met_others;
	flush->beyond = part->beyond;
	flush->phase = part->phase;
	flush->error = part->error;
	flush->has_met_others = part->has_met_others;
	flush->is_full = part->is_full;
	flush->next = part->next;
	flush->founds = flush->stored = 0;
	part->is_begun = part->is_lent = false;
}

struct flush_beyond flush_part_beyond(const struct flush *flush)
{
	return flush->part.ended_beyond;
}

bool flush_part_has_met_others(const struct flush *flush)
{
	return flush->part.ended_has_met_others;
}

static int end(struct flush *flush)
{
	int error = flush->error;

	if (!error && flush->part.has_been_touched)
		error = -EBUSY;
	flush_end_part(flush);
	return error;
}

int flush_part_piece(struct flush *flush)
{
	struct flush_part *part = &flush->part;
	int r;

	if (flush->phase == COPYING)
		return flush_copy_piece(flush) < 0 ? end(flush) : 1;
	r = flush_file_sync_part(&flush->file, &part->synced,
				 part->end * BLOCK);
	if (r > 0)
		return r;
	if (r < 0)
		flush_sync_failed(flush, r);
	return end(flush);
}
