/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "say.h"
#include "store.h"

#define MAGIC "daxmr block store 1"

struct superblock {
	char magic[24];
	uint32_t windows;
	uint32_t blocks_max;
	uint64_t checksum; /* of what stands before */
};

uint32_t block_checksum(const void *block)
{
	return (uint32_t)XXH64(block, STORE_BLOCK, 0);
}

static uint64_t super_checksum(const struct superblock *super)
{
	return XXH64(super, offsetof(struct superblock, checksum), 0);
}

static void lay_out(struct store *store, uint32_t windows, uint32_t blocks_max)
{
	uint64_t index = (uint64_t)blocks_max * sizeof(index_word);

	store->windows = windows;
	store->blocks_max = blocks_max;
	store->index_size = (index + STORE_PAGE - 1) / STORE_PAGE * STORE_PAGE;
	store->data_at = STORE_PAGE + windows * store->index_size;
	store->data_at =
		(store->data_at + STORE_BLOCK - 1) / STORE_BLOCK * STORE_BLOCK;
	store->map_size = store->data_at + windows * slot_offset(blocks_max, 0);
}

static int check_shape(uint32_t windows, uint64_t window_size)
{
	if (windows && windows <= 1024 && window_size >= STORE_BLOCK &&
	    window_size / STORE_BLOCK <= 1U << 24)
		return 0;
	return say(-EINVAL,
		   "%u windows of %llu bytes: 1 to 1024 of %u bytes to 1 TiB, "
		   "please (--windows, --window-size)",
		   windows, (unsigned long long)window_size, STORE_BLOCK);
}

static int write_all(const struct store *store, const void *from, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = pwrite(store->fd, (const char *)from + at,
				   size - at, (off_t)at);

		if (n <= 0)
			return n ? -errno : -ENOSPC;
		at += (size_t)n;
	}
	return fsync(store->fd) ? -errno : 0;
}

/* The index first, the superblock last: it says that all is there. */
static int write_empty(const struct store *store)
{
	struct superblock super = {
		.magic = MAGIC,
		.windows = store->windows,
		.blocks_max = store->blocks_max,
	};
	size_t size = store->data_at;
	char *start = calloc(1, size);
	int r;

	super.checksum = super_checksum(&super);
	if (!start)
		return say(-ENOMEM, "%s: no memory for its index", store->path);
	r = write_all(store, start, size);
	if (!r)
		r = write_all(store, &super, sizeof(super));
	free(start);
	return r ? say(r, "%s: cannot be written", store->path) : 0;
}

int store_format(const char *path, uint32_t windows, uint64_t window_size)
{
	struct store store = {.path = path, .watch = -1};
	int r = check_shape(windows, window_size);

	if (r)
		return r;
	lay_out(&store, windows, (uint32_t)(window_size / STORE_BLOCK));
	store.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store.fd < 0)
		return say(-errno, "%s: cannot be opened", path);
	store_look(&store);
	if (!store.size)
		r = -posix_fallocate(store.fd, 0, (off_t)store.map_size);
	if (r)
		say(r, "%s: cannot get %llu bytes", path,
		    (unsigned long long)store.map_size);
	else
		r = write_empty(&store);
	close(store.fd);
	return r;
}

static int read_super(struct store *store)
{
	struct superblock super = {0};

	if (pread(store->fd, &super, sizeof(super), 0) < 0)
		return say(-errno, "%s: cannot be read", store->path);
	if (strncmp(super.magic, MAGIC, sizeof(super.magic)) ||
	    super.checksum != super_checksum(&super))
		return say(-EINVAL,
			   "%s: is no block store: make it one with "
			   "daxmr-blockd --format",
			   store->path);
	lay_out(store, super.windows, super.blocks_max);
	if (store->size < store->data_at)
		return say(-EINVAL,
			   "%s: is cut off within its index, at %llu bytes",
			   store->path, (unsigned long long)store->size);
	return 0;
}

/* Before the file's size is looked at: no change of it is missed. */
static int watch(struct store *store)
{
	store->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (store->watch < 0 ||
	    inotify_add_watch(store->watch, store->path, IN_MODIFY) < 0)
		return say(-errno, "%s: cannot be watched", store->path);
	return 0;
}

/*
 * Not by libpmem2: it maps what a file has, and a mapping here has to reach
 * as far as the file may grow. What libpmem2 would know about durability,
 * daxmr_flush() does.
 */
int store_open(struct store *store, const char *path)
{
	int r;

	*store = (struct store){.path = path};
	store->fd = open(path, O_RDWR | O_CLOEXEC);
	if (store->fd < 0)
		return say(-errno, "%s: cannot be opened", path);
	r = watch(store);
	store_look(store);
	store->has_changed = true;
	if (!r)
		r = read_super(store);
	if (!r) {
		store->map = mmap(NULL, store->map_size, PROT_READ | PROT_WRITE,
				  MAP_SHARED, store->fd, 0);
		if (store->map == MAP_FAILED)
			r = say(-errno, "%s: cannot be mapped", path);
	}
	if (r) {
		close(store->watch);
		close(store->fd);
	}
	return r;
}

int store_open_memory(struct store *store, uint32_t windows,
		      uint64_t window_size)
{
	int r = check_shape(windows, window_size);

	if (r)
		return r;
	*store = (struct store){.fd = -1, .watch = -1};
	lay_out(store, windows, (uint32_t)(window_size / STORE_BLOCK));
	store->size = store->map_size;
	store->map = mmap(NULL, store->map_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (store->map == MAP_FAILED)
		return say(-errno, "no memory of %llu bytes",
			   (unsigned long long)store->map_size);
	return 0;
}

void store_close(struct store *store)
{
	munmap(store->map, store->map_size);
	if (!store->path)
		return;
	close(store->watch);
	close(store->fd);
}

bool store_has_changed(struct store *store)
{
	char events[4096];

	while (store->watch >= 0 &&
	       read(store->watch, events, sizeof(events)) > 0)
		store->has_changed = true;
	return store->has_changed;
}

void store_look(struct store *store)
{
	struct stat st;

	store->has_changed = false;
	if (store->path && !fstat(store->fd, &st))
		store->size = (uint64_t)st.st_size;
}

uint32_t store_blocks(const struct store *store, uint32_t window)
{
	uint64_t at = store->data_at +
		      window * slot_offset(store->blocks_max, 0),
		 blocks = store->size > at
				  ? (store->size - at) / slot_offset(1, 0)
				  : 0;

	return blocks < store->blocks_max ? (uint32_t)blocks
					  : store->blocks_max;
}

index_word *store_index(const struct store *store, uint32_t window)
{
	return (index_word *)(store->map + STORE_PAGE +
			      window * store->index_size);
}

char *store_data(const struct store *store, uint32_t window)
{
	return store->map + store->data_at +
	       window * slot_offset(store->blocks_max, 0);
}

static off_t slot_at(const struct store *store, uint32_t window, uint32_t block,
		     uint64_t word)
{
	return (off_t)(store->data_at +
		       window * slot_offset(store->blocks_max, 0) +
		       slot_offset(block, index_sequence(word)));
}

enum bytes {
	BYTES_WHOLE,
	BYTES_OTHER, /* or fewer */
	BYTES_UNREADABLE
};

/* By pread(): a mapping has SIGBUS for who looks beyond the end. */
static enum bytes look_at_bytes(const struct store *store, uint32_t window,
				uint32_t block, uint64_t word)
{
	char buffer[STORE_BLOCK];
	ssize_t n = pread(store->fd, buffer, STORE_BLOCK,
			  slot_at(store, window, block, word));

	if (n < 0)
		return BYTES_UNREADABLE;
	return n == STORE_BLOCK && block_checksum(buffer) == (uint32_t)word
		       ? BYTES_WHOLE
		       : BYTES_OTHER;
}

bool store_is_whole(const struct store *store, uint32_t window, uint32_t block,
		    uint64_t word)
{
	return look_at_bytes(store, window, block, word) == BYTES_WHOLE;
}

bool store_was_cut_off(const struct store *store, uint32_t window,
		       uint32_t block, uint64_t word)
{
	char last = 0;
	ssize_t n =
		pread(store->fd, &last, 1,
		      slot_at(store, window, block, word) + STORE_BLOCK - 1);

	return n >= 0 && !last &&
	       look_at_bytes(store, window, block, word) == BYTES_OTHER;
}

static int check_window(const struct store *store, uint32_t window,
			uint64_t *index, bool *is_torn)
{
	uint32_t blocks = store_blocks(store, window), committed = 0, torn = 0,
		 least = 0, most = 0;

	if (pread(store->fd, index, store->index_size,
		  (off_t)(STORE_PAGE + window * store->index_size)) !=
	    (ssize_t)store->index_size)
		return say(-EIO, "%s: the index of window %u cannot be read",
			   store->path, window);
	for (uint32_t block = 0; block < store->blocks_max; block++) {
		uint32_t sequence = index_sequence(index[block]);

		if (!sequence)
			continue;
		if (!committed++ || sequence < least)
			least = sequence;
		if (sequence > most)
			most = sequence;
		if (block < blocks &&
		    store_is_whole(store, window, block, index[block]))
			continue;
		torn++;
		fprintf(stderr, "%s: block %u of window %u %s (sequence %u)\n",
			store->path, block, window,
			block < blocks ? "is not what was committed"
				       : "was committed and is cut off",
			sequence);
	}
	printf("window %u: %u blocks, %u committed, sequences %u to %u, %u "
	       "torn\n",
	       window, blocks, committed, least, most, torn);
	*is_torn |= torn;
	return 0;
}

static int check_windows(const struct store *store)
{
	uint64_t *index = malloc(STORE_PAGE + store->index_size);
	bool is_torn = false;
	int r = 0;

	if (!index)
		return say(-ENOMEM, "%s: no memory to check it", store->path);
	for (uint32_t window = 0; !r && window < store->windows; window++)
		r = check_window(store, window, index, &is_torn);
	free(index);
	return !r && is_torn ? -EILSEQ : r;
}

int store_check(const char *path)
{
	struct store store = {.path = path, .watch = -1};
	int r;

	store.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (store.fd < 0)
		return say(-errno, "%s: cannot be opened", path);
	store_look(&store);
	r = read_super(&store);
	if (!r)
		r = check_windows(&store);
	close(store.fd);
	return r;
}
