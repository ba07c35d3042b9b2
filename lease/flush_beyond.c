/* SPDX-License-Identifier: BSD-2-Clause */
/* What is stored in a shadow where the file was cut off: flush.h. */
#include "flush_parts.h"

int flush_look(struct flush *flush)
{
	uint64_t had = atomic_load(&flush->extent.page->had);
	int r = flush_file_look(&flush->file);

	if (had > flush->extent.length)
		had = flush->extent.length;
	flush->had = had;
	if (flush->had < flush->file.in_file)
		flush->had = flush->file.in_file;
	/* Cut off since the last merge, which has to see it first. */
	if (flush->file.in_file < atomic_load(&flush->extent.page->in_file)) {
		flush->had = flush->file.in_file;
		flush->has_met_others |= !flush->policy->is_size_busy;
	}
	return r;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return !length || (!bytes[0] && !memcmp(bytes, bytes + 1, length - 1));
}

bool flush_take_beyond(struct flush *flush, uint64_t block)
{
	size_t length = flush_in_file(flush, block);
	size_t all = flush_had(flush, block);

	flush_take(flush, flush->shadow + block * BLOCK, all);
	return all > length && !is_zero(flush->copy + length, all - length) &&
	       !flush->policy->is_size_busy &&
	       flush_digest_of(flush, block) != EXTENT_IN_CONFLICT &&
	       flush_digest_of(flush, block) !=
		       extent_digest(&flush->extent, flush->copy);
}

bool flush_leave_beyond(struct flush *flush, uint64_t block, uint64_t *digest)
{
	size_t length = flush_in_file(flush, block);

	if (is_zero(flush->copy + length, BLOCK - length))
		return !length;
	if (flush->policy->on_shrink == ON_SHRINK_EXTEND ||
	    flush->policy->is_size_busy) {
		memset(flush->copy + length, 0, BLOCK - length);
		*digest = extent_digest(&flush->extent, flush->copy);
		return !length;
	}
	flush->beyond.dropped++;
	if (!length)
		flush_set_digest(flush, block, *digest);
	return !length;
}

bool flush_hold_beyond(struct flush *flush, uint64_t block)
{
	size_t length = flush_in_file(flush, block);
	bool is_wanted = flush->policy->on_shrink == ON_SHRINK_EXTEND &&
			 !flush->policy->is_size_busy &&
			 !is_zero(flush->copy + length, BLOCK - length);

	memset(flush->copy + length, 0, BLOCK - length);
	return is_wanted;
}

/* To the end of the last block that needs it. */
static void grow(struct flush *flush)
{
	uint64_t end = 0, held = 0;
	int r;

	if (flush->policy->on_shrink != ON_SHRINK_EXTEND)
		return;
	for (unsigned int i = 0; i < flush->founds; i++) {
		uint64_t block = flush->found[i];

		if (flush_in_file(flush, block) == flush_had(flush, block) ||
		    !flush_take_beyond(flush, block))
			continue;
		end = block * BLOCK + flush_had(flush, block);
		held++;
	}
	if (!held)
		return;
	r = flush_file_grow(&flush->file, end);
	if (r) {
		flush_count(&flush->extent.page->failed, held);
		flush_failed(flush, r);
		return;
	}
	flush->beyond.held += held;
	extent_sees_file(&flush->extent, flush->file.in_file, false);
}

/*
 * What the program has grown by itself, no merge may have seen yet. From here
 * on it is in the file, and others can take it away.
 */
void flush_own_growth(struct flush *flush)
{
	if (!flush->policy->is_size_busy &&
	    flush->file.in_file > atomic_load(&flush->extent.page->in_file))
		extent_sees_file(&flush->extent, flush->file.in_file, false);
	grow(flush);
}

void flush_own_size(struct flush *flush, uint64_t in_file)
{
	extent_sees_file(&flush->extent, in_file, true);
}

struct flush_beyond flush_beyond(const struct flush *flush)
{
	return flush->beyond;
}
