/* SPDX-License-Identifier: BSD-2-Clause */
/* A range of a file as the keeper writes it: flush_file.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpmem2.h>

#include "blocks.h"
#include "flush_file.h"
#include "raw.h"
#include "reason.h"

/* Between two looks at the lease; some milliseconds on most devices. */
#define SYNC_PIECE (4UL << 20)

static pmem2_memcpy_fn pmem_copy;
static pmem2_flush_fn pmem_flush;
static pmem2_drain_fn pmem_drain;

static int map(struct flush_file *file)
{
	bool is_written = (fcntl(file->fd, F_GETFL) & O_ACCMODE) == O_RDWR;
	int protection = is_written ? PROT_READ | PROT_WRITE : PROT_READ;
	void *bytes = mmap(NULL, file->length, protection,
			   MAP_SHARED_VALIDATE | MAP_SYNC, file->fd,
			   (off_t)file->offset);

	file->is_durable_by_drain = bytes != MAP_FAILED;
	if (bytes == MAP_FAILED)
		bytes = mmap(NULL, file->length, protection, MAP_SHARED,
			     file->fd, (off_t)file->offset);
	if (bytes == MAP_FAILED)
		return -errno;
	file->bytes = bytes;
	return 0;
}

/*
 * The same functions for all files, so one map is asked for them and kept:
 * libpmem2 does not give back all of a map that it is handed.
 */
static int find_functions(const struct flush_file *file)
{
	static struct pmem2_source *source;
	static struct pmem2_map *any;
	int r = 0;

	if (any)
		return 0;
	if (!source)
		r = pmem2_source_from_fd(&source, file->fd);
	if (!r)
		r = pmem2_map_from_existing(&any, source, file->bytes,
					    file->length,
					    PMEM2_GRANULARITY_CACHE_LINE);
	if (r)
		/* Its own numbers are no errno. */
		return r < 0 && r > -1000 ? r : -EINVAL;
	pmem_copy = pmem2_get_memcpy_fn(any);
	pmem_flush = pmem2_get_flush_fn(any);
	pmem_drain = pmem2_get_drain_fn(any);
	return 0;
}

int flush_file_open(struct flush_file *file, int fd, uint64_t offset,
		    uint64_t length)
{
	char path[REASON_FILE_MAX];
	int r;

	*file = (struct flush_file){
		.fd = fd,
		.offset = offset,
		.length = length,
		.unsynced_end = length,
	};
	r = flush_file_look(file);
	if (!r)
		r = map(file);
	if (!r)
		r = file->is_durable_by_drain ? find_functions(file) : 0;
	if (!r)
		return 0;
	flush_file_close(file);
	return reason_set(r, "%s cannot be mapped to write it back: %s",
			  reason_file(fd, path, sizeof(path)),
			  strerrordesc_np(-r));
}

void flush_file_close(struct flush_file *file)
{
	if (file->bytes)
		munmap(file->bytes, file->length);
	file->bytes = NULL;
}

int flush_file_look(struct flush_file *file)
{
	struct stat st;
	uint64_t size;

	if (raw_stat(file->fd, &st))
		return -errno;
	size = (uint64_t)st.st_size;
	file->in_file = size > file->offset ? size - file->offset : 0;
	return 0;
}

/* An exchange with itself; not "or 0", of which a compiler may make a load. */
void flush_file_prepare(struct flush_file *file, uint64_t at)
{
	uint64_t *word = (uint64_t *)(file->bytes + at), value;

	value = __atomic_load_n(word, __ATOMIC_RELAXED);
	__atomic_compare_exchange_n(word, &value, value, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

bool flush_file_needs_room(const struct flush_file *file, uint64_t at)
{
	uint64_t offset = file->offset + at;
	struct blocks blocks;

	if (blocks_look(file->fd, offset, offset + 1, &blocks))
		return false;
	/* In the page cache a copy of it may have its room already. */
	return blocks.holes || (file->is_durable_by_drain && blocks.has_shared);
}

static int allocate_to(const struct flush_file *file, int mode, uint64_t end)
{
	return fallocate(file->fd, mode, (off_t)(file->offset + file->in_file),
			 (off_t)(end - file->in_file))
		       ? -errno
		       : 0;
}

void flush_file_reserve(struct flush_file *file, uint64_t end)
{
	if (end > file->in_file)
		allocate_to(file, FALLOC_FL_KEEP_SIZE, end);
}

static void mark_unsynced(struct flush_file *file, uint64_t at, size_t length)
{
	if (file->unsynced == file->unsynced_end) {
		file->unsynced = at;
		file->unsynced_end = at + length;
		return;
	}
	if (at < file->unsynced)
		file->unsynced = at;
	if (at + length > file->unsynced_end)
		file->unsynced_end = at + length;
}

/* The size is no news to a page that can be stored to already. */
int flush_file_grow(struct flush_file *file, uint64_t end)
{
	int r;

	if (end > file->in_file) {
		r = allocate_to(file, 0, end);
		if (r)
			return r;
		mark_unsynced(file, file->in_file, end - file->in_file);
	}
	return flush_file_look(file);
}

void flush_file_store(struct flush_file *file, uint64_t at, const void *bytes,
		      size_t length)
{
	file->is_changed = true;
	if (file->is_durable_by_drain) {
		pmem_copy(file->bytes + at, bytes, length, PMEM2_F_MEM_NODRAIN);
		return;
	}
	mark_unsynced(file, at, length);
	memcpy(file->bytes + at, bytes, length);
}

bool flush_file_exchange(struct flush_file *file, uint64_t at, void *theirs,
			 const void *bytes, size_t length)
{
	typedef uint64_t word __attribute__((may_alias));
	word *to = (word *)(file->bytes + at), *from = theirs;
	const word *with = bytes;
	size_t words = (length + sizeof(word) - 1) / sizeof(word), i;

	file->is_changed = true;
	for (i = 0; i < words; i++) {
		word was = from[i];

		if (was == with[i])
			continue;
		if (!__atomic_compare_exchange_n(&to[i], &was, with[i], false,
						 __ATOMIC_SEQ_CST,
						 __ATOMIC_RELAXED))
			break;
		from[i] = with[i];
	}
	if (file->is_durable_by_drain)
		pmem_flush(file->bytes + at, length);
	else
		mark_unsynced(file, at, length);
	return i == words;
}

int flush_file_write(struct flush_file *file, uint64_t at, const void *bytes,
		     size_t length)
{
	ssize_t n;

	/*
	 * Of a block that is shared (reflink) the kernel takes the page away
	 * when it is copied, and complains if that is mapped (up to Linux 7.3
	 * at least, fs/dax.c).
	 */
	if (file->is_durable_by_drain)
		madvise(file->bytes + at, length, MADV_DONTNEED);
	n = pwrite(file->fd, bytes, length, (off_t)(file->offset + at));

	if (n < 0)
		return -errno;
	mark_unsynced(file, at, length);
	return (size_t)n == length ? 0 : -EIO;
}

/* Whole pages: that is what the kernel writes. */
static int sync_range(struct flush_file *file, uint64_t at, uint64_t end)
{
	return sync_file_range(
		       file->fd, (off_t)(file->offset + at), (off_t)(end - at),
		       SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			       SYNC_FILE_RANGE_WAIT_AFTER)
		       ? -errno
		       : 0;
}

int flush_file_sync(struct flush_file *file)
{
	uint64_t at = file->syncing, end = file->unsynced_end;
	int r = 0;

	if (file->is_durable_by_drain)
		pmem_drain();
	if (file->unsynced == end)
		return 0;
	if (at < file->unsynced)
		at = file->unsynced;
	if (end > at + SYNC_PIECE)
		end = at + SYNC_PIECE;
	r = sync_range(file, at, end);
	file->syncing = end;
	if (!r && end < file->unsynced_end)
		return 1;
	/* Little is left for it: the metadata. */
	if (!r &&
	    msync(file->bytes + file->unsynced / 4096 * 4096,
		  file->unsynced_end - file->unsynced / 4096 * 4096, MS_SYNC))
		r = -errno;
	file->syncing = 0;
	if (!r)
		file->unsynced = file->unsynced_end = 0;
	return r;
}

int flush_file_sync_part(struct flush_file *file, uint64_t *at, uint64_t end)
{
	uint64_t from = *at > file->unsynced ? *at : file->unsynced, to;
	int r;

	if (file->is_durable_by_drain)
		pmem_drain();
	if (end > file->unsynced_end)
		end = file->unsynced_end;
	if (from >= end)
		return 0;
	to = end > from + SYNC_PIECE ? from + SYNC_PIECE : end;
	r = sync_range(file, from, to);
	from = from / 4096 * 4096;
	if (!r && msync(file->bytes + from, to - from, MS_SYNC))
		r = -errno;
	*at = to;
	return r ? r : to < end;
}
