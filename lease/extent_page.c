/* SPDX-License-Identifier: BSD-2-Clause */
/* The page of an extent: extent_page.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block.h"
#include "extent_page.h"
#include "raw.h"
#include "reason.h"

_Static_assert(EXTENT_BLOCK == BLOCK_SIZE &&
		       EXTENT_SECRET_SIZE == BLOCK_SECRET_SIZE,
	       "as block.h has them");

static uint64_t page_size(uint64_t length)
{
	uint64_t blocks = length / EXTENT_BLOCK;

	return sizeof(struct extent_page) + blocks * sizeof(uint64_t) +
	       (blocks + 63) / 64 * sizeof(uint64_t);
}

static bool makes_sense(uint64_t offset, uint64_t length)
{
	return length && !(offset % EXTENT_BLOCK) && !(length % EXTENT_BLOCK) &&
	       offset <= INT64_MAX && length <= INT64_MAX - offset;
}

/* The page is mapped, its header is as the caller wants it. */
static void set_view(struct extent *extent, void *page, uint64_t offset,
		     uint64_t length)
{
	extent->page = page;
	extent->offset = offset;
	extent->length = length;
	extent->blocks = length / EXTENT_BLOCK;
	extent->size = page_size(length);
	extent->digests = (_Atomic uint64_t *)(extent->page + 1);
	extent->filled = extent->digests + extent->blocks;
	memcpy(extent->secret, extent->page->secret, sizeof(extent->secret));
}

int extent_seal(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && seals & F_SEAL_SHRINK)
		return 0;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) ? -errno : 0;
}

static void *map(int fd, uint64_t size)
{
	return raw_map(fd, size, PROT_READ | PROT_WRITE, 0);
}

int extent_new(uint64_t offset, uint64_t length, struct extent *ret,
	       int *ret_fd)
{
	struct extent_page *page = MAP_FAILED;
	uint64_t size = page_size(length);
	int fd, r;

	if (!makes_sense(offset, length))
		return reason_set(-EINVAL,
				  "%" PRIu64 " bytes from %" PRIu64
				  " on are no extent: whole pages are",
				  length, offset);
	fd = (int)syscall(SYS_memfd_create, "daxmr-extent",
			  MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || syscall(SYS_ftruncate, fd, size) ||
	    (page = map(fd, size)) == MAP_FAILED ||
	    getrandom(page->secret, sizeof(page->secret), 0) !=
		    sizeof(page->secret)) {
		r = -errno;
		if (page != MAP_FAILED)
			raw_unmap(page, size);
		if (fd >= 0)
			raw_close(fd);
		return reason_set(r,
				  "%" PRIu64
				  " bytes of shared memory for what is known "
				  "of a region cannot be had: %s",
				  size, strerrordesc_np(-r));
	}
	page->version = EXTENT_VERSION;
	page->block_size = EXTENT_BLOCK;
	page->offset = offset;
	page->length = length;
	set_view(ret, page, offset, length);
	*ret_fd = fd;
	return 0;
}

int extent_map(int fd, struct extent *ret)
{
	struct extent_page *page;
	uint64_t offset, length;
	struct stat st;
	int r;

	r = extent_seal(fd);
	if (!r && fstat(fd, &st))
		r = -errno;
	if (r)
		return reason_set(r,
				  "a region's page is no memfd that can be "
				  "sealed: %s",
				  strerrordesc_np(-r));
	if ((uint64_t)st.st_size < sizeof(*page))
		return reason_set(-EPROTO,
				  "a region's page has %" PRIu64
				  " bytes, its header alone has more",
				  (uint64_t)st.st_size);
	page = map(fd, (uint64_t)st.st_size);
	if (page == MAP_FAILED) {
		r = -errno;
		return reason_set(r, "a region's page cannot be mapped: %s",
				  strerrordesc_np(-r));
	}
	/* Once: it may change the next moment. */
	offset = *(volatile uint64_t *)&page->offset;
	length = *(volatile uint64_t *)&page->length;
	if (page->version != EXTENT_VERSION ||
	    page->block_size != EXTENT_BLOCK || !makes_sense(offset, length) ||
	    page_size(length) != (uint64_t)st.st_size) {
		raw_unmap(page, (uint64_t)st.st_size);
		return reason_set(-EPROTO,
				  "a region's page is of another version, or "
				  "its header makes no sense");
	}
	set_view(ret, page, offset, length);
	return 0;
}

void extent_unmap(struct extent *extent)
{
	raw_unmap(extent->page, extent->size);
}

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
