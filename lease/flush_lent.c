/* SPDX-License-Identifier: BSD-2-Clause */
/* What is stored in a shadow while others have the file: flush.h. */
#include <errno.h>

#include "flush_parts.h"

/* A part of what is to be stored is not there any more. */
static bool is_cut_off(const struct flush *flush)
{
	uint64_t was = atomic_load(&flush->extent.page->in_file);
	uint64_t end = flush->part.end * BLOCK;

	return flush->file.in_file < (was < end ? was : end);
}

void flush_lent_look(struct flush *flush)
{
	flush->part.has_been_touched |= is_cut_off(flush);
}

void flush_lent_failed(struct flush *flush)
{
	if (!flush_look(flush) && is_cut_off(flush))
		flush->part.has_been_touched = true;
	else
		flush_failed(flush, -EIO);
}

static bool is_untouched(const struct flush *flush, uint64_t digest)
{
	return extent_digest(&flush->extent, flush->theirs) == digest;
}

static void store_block(struct flush *flush, uint64_t block)
{
	uint64_t at = block * BLOCK, base = flush_digest_of(flush, block);
	size_t length = flush_in_file(flush, block);
	bool is_whole;

	if (base == EXTENT_IN_CONFLICT)
		return;
	flush_take(flush, flush->shadow + at, flush_had(flush, block));
	flush->part.has_been_touched |= flush_hold_beyond(flush, block);
	if (extent_digest(&flush->extent, flush->copy) == base)
		return; /* it is the others who have changed it */
	memcpy(flush->theirs, flush->file.bytes + at, length);
	memset(flush->theirs + length, 0, BLOCK - length);
	if (!is_untouched(flush, base)) {
		flush->part.has_been_touched = true;
		return;
	}
	if (!flush_set_digest(flush, block, EXTENT_NO_DIGEST))
		return;
	atomic_signal_fence(memory_order_seq_cst);
	is_whole = flush_file_exchange(&flush->file, at, flush->theirs,
				       flush->copy, length);
	atomic_signal_fence(memory_order_seq_cst);
	/* Whatever else is in the file now they have changed since. */
	flush_set_digest(flush, block,
			 extent_digest(&flush->extent, flush->theirs));
	flush->part.has_been_touched |= !is_whole;
	flush_count(&flush->extent.page->copied, 1);
}

void flush_lent_store(void *arg)
{
	struct flush *flush = arg;

	for (; flush->stored < flush->founds; flush->stored++) {
		atomic_signal_fence(memory_order_seq_cst);
		store_block(flush, flush->found[flush->stored]);
	}
}
