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

#include "clock.h"
#include "extent_page.h"
#include "fault.h"
#include "flush.h"
#include "flush_file.h"
#include "reason.h"

#define BLOCK	     EXTENT_BLOCK
#define PIECE_BLOCKS (FLUSH_PIECE / BLOCK)
#define AHEAD	     32 /* lanes of is_same() */

enum phase {
	AT_REST,
	COPYING,
	SYNCING
};

struct flush {
	struct flush_file file;
	struct extent extent;
	const uint8_t *shadow;
	enum phase phase;
	int error; /* the first of this pass */
	bool must_store_again;
	bool has_met_others; /* in this pass */

	/* For who comes out of a fault: set_place(). */
	uint64_t next; /* the block that is looked at */
	uint64_t look_end;
	uint64_t compared;
	uint64_t found[PIECE_BLOCKS];
	unsigned int founds;
	unsigned int prepared;
	unsigned int stored;
	bool is_taken; /* `copy` is whole */

	alignas(64) uint8_t copy[BLOCK];
};

static void count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* What is known of where we are has to be in memory before the next access. */
static void set_place(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static int open_shadow(struct flush *flush, int fd)
{
	struct stat st;
	void *shadow;
	int r = extent_seal(fd);

	if (!r && fstat(fd, &st))
		r = -errno;
	if (!r && (uint64_t)st.st_size < flush->extent.length)
		return reason_set(-EPROTO,
				  "a region's shadow has %lld bytes, its page "
				  "says %llu",
				  (long long)st.st_size,
				  (unsigned long long)flush->extent.length);
	if (!r) {
		shadow = extent_map_shadow(fd, flush->extent.length);
		if (shadow == MAP_FAILED)
			r = -errno;
	}
	if (r)
		return reason_set(r,
				  "a region's shadow is no memfd that can be "
				  "sealed and mapped: %s",
				  strerrordesc_np(-r));
	flush->shadow = shadow;
	return 0;
}

int flush_open(int file_fd, int shadow_fd, int page_fd, struct flush **ret)
{
	struct flush *flush = aligned_alloc(64, sizeof(*flush));
	int r;

	if (!flush)
		return reason_set(-ENOMEM, "no memory to write a region back");
	memset(flush, 0, sizeof(*flush));
	r = fault_init();
	if (!r)
		r = extent_map(page_fd, &flush->extent);
	if (!r)
		r = open_shadow(flush, shadow_fd);
	if (!r)
		r = flush_file_open(&flush->file, file_fd, flush->extent.offset,
				    flush->extent.length);
	if (r) {
		flush_close(flush);
		return r;
	}
	*ret = flush;
	return 0;
}

void flush_close(struct flush *flush)
{
	flush_file_close(&flush->file);
	if (flush->shadow)
		munmap((void *)flush->shadow, flush->extent.length);
	if (flush->extent.page)
		extent_unmap(&flush->extent);
	free(flush);
}

static uint64_t blocks_in_file(const struct flush *flush)
{
	uint64_t blocks = (flush->file.in_file + BLOCK - 1) / BLOCK;

	return blocks < flush->extent.blocks ? blocks : flush->extent.blocks;
}

static void failed(struct flush *flush, int error)
{
	if (!flush->error)
		flush->error = error;
}

/*
 * Not memcmp(): what it says of memory that changes while it reads is nobody's
 * promise (glibc's for SSE2 crashed on it once).
 */
static bool is_same(const uint8_t *a, const uint8_t *b)
{
	typedef uint64_t lane
		__attribute__((vector_size(16), aligned(16), may_alias));
	const lane *x = (const lane *)a, *y = (const lane *)b;

	for (size_t i = 0; i < BLOCK / sizeof(lane); i += 8) {
		lane differ = x[i] ^ y[i];

		/* Two streams of whole pages: hardware stops at each end. */
		for (size_t j = AHEAD; j < AHEAD + 8; j += 4) {
			__builtin_prefetch(&x[i + j]);
			__builtin_prefetch(&y[i + j]);
		}
		for (size_t j = 1; j < 8; j++)
			differ |= x[i + j] ^ y[i + j];
		if (differ[0] | differ[1])
			return false;
	}
	return true;
}

static void take(struct flush *flush, const uint8_t *from, size_t length)
{
	memcpy(flush->copy, from, length);
	memset(flush->copy + length, 0, BLOCK - length);
}

static void set_digest(struct flush *flush, uint64_t block, uint64_t digest)
{
	atomic_store_explicit(&flush->extent.digests[block], digest,
			      memory_order_relaxed);
}

static bool has_digest(struct flush *flush, uint64_t block)
{
	return atomic_load_explicit(&flush->extent.digests[block],
				    memory_order_relaxed) != 0;
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
		if (!is_same(flush->shadow + at, file))
			return true;
	} else {
		take(flush, flush->shadow + at, length);
		if (memcmp(flush->copy, file, length) != 0)
			return true;
	}
	if (!has_digest(flush, block)) {
		/* The file's bytes stand still, the shadow's may not. */
		take(flush, file, length);
		set_digest(flush, block,
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
				flush->found[flush->founds++] = flush->next;
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

	flush->found[flush->founds++] = block;
	if (!flush_file_look(&flush->file) &&
	    flush_file_has(&flush->file, block * BLOCK, BLOCK))
		set_digest(flush, block, 0);
}

static void prepare(void *arg)
{
	struct flush *flush = arg;

	while (flush->prepared < flush->founds) {
		uint64_t block = flush->found[flush->prepared++];

		set_place();
		flush_file_prepare(&flush->file, block * BLOCK);
	}
}

static void look_for_more(struct flush *flush)
{
	flush->look_end = blocks_in_file(flush);
	if (flush->look_end > flush->next + FLUSH_COMPARE / BLOCK)
		flush->look_end = flush->next + FLUSH_COMPARE / BLOCK;
	flush->founds = flush->prepared = flush->stored = 0;
	flush->compared = 0;
	while (!fault_try(look, flush))
		not_readable(flush);
	count(&flush->extent.page->compared, flush->compared);
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
	return digest == atomic_load_explicit(&flush->extent.digests[block],
					      memory_order_relaxed) &&
	       !(flush->must_store_again && is_unsynced(flush, block));
}

static void store(void *arg)
{
	struct flush *flush = arg;

	for (; flush->stored < flush->founds; flush->stored++) {
		uint64_t block = flush->found[flush->stored];
		uint64_t at = block * BLOCK;
		size_t length = flush_file_has(&flush->file, at, BLOCK);
		uint64_t digest;

		flush->is_taken = false;
		set_place();
		if (!length)
			continue;
		take(flush, flush->shadow + at, length);
		digest = extent_digest(&flush->extent, flush->copy);
		if (is_theirs(flush, block, digest)) {
			flush->has_met_others = true;
			continue;
		}
		set_digest(flush, block, 0);
		flush->is_taken = true;
		set_place();
		flush_file_store(&flush->file, at, flush->copy, length);
		set_place();
		set_digest(flush, block, digest);
		count(&flush->extent.page->copied, 1);
	}
	set_place();
}

/* The block that the store could not do, in another way or not at all. */
static void store_otherwise(struct flush *flush)
{
	uint64_t block = flush->found[flush->stored++];
	uint64_t at = block * BLOCK;
	size_t length;
	int r = flush->is_taken ? flush_file_look(&flush->file) : -EIO;

	/* Shorter than it was: that is no error. */
	length = flush_file_has(&flush->file, at, BLOCK);
	if (!r && !length)
		return;
	if (!r) {
		memset(flush->copy + length, 0, BLOCK - length);
		r = flush_file_write(&flush->file, at, flush->copy, length);
	}
	if (r) {
		count(&flush->extent.page->failed, 1);
		failed(flush, r);
		return;
	}
	set_digest(flush, block, extent_digest(&flush->extent, flush->copy));
	count(&flush->extent.page->copied, 1);
}

static void begin(struct flush *flush)
{
	flush->phase = COPYING;
	flush->error = 0;
	flush->has_met_others = false;
	flush->next = 0;
	flush->founds = flush->stored = 0;
	flush->file.syncing = 0;
	count(&flush->extent.page->generation, 1);
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
	count(&page->passes, 1);
	atomic_store(&page->complete_ns, clock_now_ns());
	atomic_store(&page->complete, atomic_load(&page->generation));
	atomic_store(&page->state, EXTENT_IDLE);
	return 0;
}

/* The file may show again what it had before: nobody's doing. */
static void forget_unsynced(struct flush *flush)
{
	uint64_t end = (flush->file.unsynced_end + BLOCK - 1) / BLOCK;

	for (uint64_t i = flush->file.unsynced / BLOCK; i < end; i++)
		set_digest(flush, i, 0);
}

static int sync_piece(struct flush *flush)
{
	int r = flush_file_sync(&flush->file);

	if (r > 0)
		return r;
	flush->must_store_again = r < 0;
	if (r < 0) {
		forget_unsynced(flush);
		failed(flush, r);
	}
	return end(flush);
}

bool flush_has_met_others(const struct flush *flush)
{
	return flush->has_met_others;
}

int flush_piece(struct flush *flush)
{
	int r;

	if (flush->phase == SYNCING)
		return sync_piece(flush);
	if (flush->phase == AT_REST)
		begin(flush);
	r = flush_file_look(&flush->file);
	if (r) {
		failed(flush, r);
		return end(flush);
	}
	while (!fault_try(store, flush))
		store_otherwise(flush);
	look_for_more(flush);
	if (!flush->founds && flush->next >= blocks_in_file(flush))
		flush->phase = SYNCING;
	return 1;
}

void flush_restart(struct flush *flush)
{
	flush->phase = AT_REST;
}
