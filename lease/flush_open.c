/* SPDX-License-Identifier: BSD-2-Clause */
/* Beginning and end of a shadow's flushes: flush.h. */
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "extent_book.h"
#include "fault.h"
#include "flush_parts.h"
#include "reason.h"

static const struct shadow_policy defaults;

/* For who has the turn. */
static alignas(64) uint8_t copy[BLOCK];
static uint8_t theirs[BLOCK];

static int open_shadow(struct flush *flush, int fd)
{
	struct stat st;
	void *shadow;
	int r = extent_seal(fd);

	if (!r && fstat(fd, &st))
		r = -errno;
	if (!r && ((uint64_t)st.st_size < flush->extent.length ||
		   flush->extent.blocks > UINT32_MAX))
		return reason_set(
			-EPROTO,
			"a region's shadow has %lld bytes, its extent "
			"has %llu",
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

int flush_open(int file_fd, int shadow_fd, const struct extent *extent,
	       struct flush **ret)
{
	struct flush *flush = calloc(1, sizeof(*flush));
	int r;

	if (!flush)
		return reason_set(-ENOMEM, "no memory to write a region back");
	flush->policy = &defaults;
	flush->copy = copy;
	flush->theirs = theirs;
	flush->extent = *extent;
	r = fault_init();
	if (!r)
		r = open_shadow(flush, shadow_fd);
	if (!r)
		r = flush_file_open(&flush->file, file_fd, flush->extent.offset,
				    flush->extent.length);
	if (r) {
		flush_close(flush);
		return r;
	}
	/* Else another keeper has seen it before, and what came since is news.
	 */
	if (!atomic_load(&flush->extent.page->had))
		extent_sees_file(&flush->extent, flush->file.in_file, false);
	*ret = flush;
	return 0;
}

const struct extent *flush_extent(const struct flush *flush)
{
	return &flush->extent;
}

void flush_close(struct flush *flush)
{
	flush_file_close(&flush->file);
	if (flush->shadow)
		munmap((void *)flush->shadow, flush->extent.length);
	free(flush);
}

void flush_set_policy(struct flush *flush, const struct shadow_policy *policy)
{
	flush->policy = policy;
}
