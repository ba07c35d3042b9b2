/* SPDX-License-Identifier: BSD-2-Clause */
/* The page of an extent: extent_page.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.h"
#include "extent_page.h"

uint64_t extent_digest(const struct extent *extent, const void *block)
{
	uint64_t digest = block_code()->digest(block, extent->secret);

	return digest > EXTENT_IN_CONFLICT ? digest : EXTENT_IN_CONFLICT + 1;
}

uint64_t extent_sees_file(const struct extent *extent, uint64_t in_file,
			  bool is_own)
{
	struct extent_page *page = extent->page;
	uint64_t before = atomic_load(&page->in_file);

	if (in_file > extent->length)
		in_file = extent->length;
	atomic_store(&page->in_file, in_file);
	if (is_own || atomic_load(&page->had) < in_file)
		atomic_store(&page->had, in_file);
	if (is_own || before <= in_file || before > extent->length)
		return 0;
	return (before + EXTENT_BLOCK - 1) / EXTENT_BLOCK -
	       in_file / EXTENT_BLOCK;
}

bool extent_has_conflict(const struct extent *extent, uint64_t offset,
			 uint64_t end)
{
	uint64_t at = offset > extent->offset ? offset - extent->offset : 0;
	uint64_t stop = end > extent->offset ? end - extent->offset : 0;

	if (stop > extent->length)
		stop = extent->length;
	for (at -= at % EXTENT_BLOCK; at < stop; at += EXTENT_BLOCK)
		if (atomic_load_explicit(&extent->digests[at / EXTENT_BLOCK],
					 memory_order_relaxed) ==
		    EXTENT_IN_CONFLICT)
			return true;
	return false;
}

/*
 * A shared mapping of a descriptor that may write counts as one that does, and
 * the seal would be refused.
 */
void *extent_map_shadow(int fd, uint64_t length)
{
	char path[64];
	void *shadow;
	int read_only, error;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	if (read_only < 0)
		return MAP_FAILED;
	shadow = mmap(NULL, length, PROT_READ, MAP_SHARED, read_only, 0);
	error = errno;
	close(read_only);
	errno = error;
	return shadow;
}
