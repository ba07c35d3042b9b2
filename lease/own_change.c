/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadows follow the program's own changes: own_change.h. */
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "description.h"
#include "errand.h"
#include "mapping.h"
#include "own_desk.h"
#include "own_change.h"
#include "raw.h"
#include "staged_parts.h"

#define BLOCK EXTENT_BLOCK

/* In an extent. */
struct part {
	const struct staged *staged;
	uint64_t start;
	uint64_t end;
	int fd;
	bool is_ours;	/* the file: nobody else changes it */
	bool is_unsure; /* what the file has by now */
};

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return !length || (!bytes[0] && !memcmp(bytes, bytes + 1, length - 1));
}

static void set_digest(const struct extent *extent, uint64_t block,
		       const uint8_t *bytes)
{
	atomic_store_explicit(&extent->digests[block],
			      extent_digest(extent, bytes),
			      memory_order_relaxed);
}

/* What the file has there; zeroes beyond its end. */
static int read_block(const struct part *part, uint64_t block, uint8_t *bytes)
{
	uint64_t at = part->staged->offset + block * BLOCK;
	size_t used = 0;

	while (used < BLOCK) {
		ssize_t n = syscall(SYS_pread64, part->fd, bytes + used,
				    BLOCK - used, at + used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		used += (size_t)n;
	}
	memset(bytes + used, 0, BLOCK - used);
	return 0;
}

/* shadow: the block's bytes. */
static void zero_block(const struct part *part, uint64_t block, uint8_t *shadow)
{
	const struct extent *extent = &part->staged->extent;
	uint64_t at = block * BLOCK;
	size_t from = part->start > at ? part->start - at : 0;
	size_t to = part->end < at + BLOCK ? part->end - at : BLOCK;
	uint8_t file[BLOCK] = {0};

	if (!extent_is_filled(extent, block))
		return;
	if (part->is_unsure) {
		atomic_store(&extent->digests[block], EXTENT_NO_DIGEST);
		return;
	}
	/* What is zero stays clean. */
	if (!is_zero(shadow + from, to - from))
		memset(shadow + from, 0, to - from);
	if (to - from == BLOCK ||
	    (part->is_ours && part->fd >= 0 && !read_block(part, block, file)))
		set_digest(extent, block, file);
}

static void zero(const struct part *part)
{
	uint64_t end = (part->end + BLOCK - 1) / BLOCK;

	for (uint64_t block = part->start / BLOCK; block < end; block++)
		zero_block(part, block, part->staged->bytes + block * BLOCK);
}

uint64_t own_change_copied(const struct lease *lease)
{
	uint64_t copied = 0;

	for (const struct staged *at = lease->staged; at; at = at->next)
		copied += atomic_load(&at->extent.page->copied);
	return copied;
}

static void zero_all(const struct lease *lease, uint64_t start, uint64_t end,
		     int fd, bool is_unsure)
{
	for (const struct staged *at = lease->staged; at; at = at->next) {
		struct part part = {
			.staged = at,
			.start = start > at->offset ? start - at->offset : 0,
			.end = (end < at->end ? end : at->end) - at->offset,
			.fd = fd,
			.is_ours = lease_state(lease) == RECALL_HELD,
			.is_unsure = is_unsure,
		};

		if (start < at->end && end > at->offset)
			zero(&part);
	}
}

/*
 * The keeper saw nothing of it, which had handed the file back: what is stored
 * there later is nobody's, as after a change that was announced.
 */
static void see_end(const struct lease *lease, uint64_t size)
{
	for (const struct staged *at = lease->staged; at; at = at->next)
		extent_sees_file(&at->extent,
				 size > at->offset ? size - at->offset : 0,
				 true);
}

static void follow(const struct own *own, int fd)
{
	const struct lease *lease = own->lease;
	uint64_t start = own->offset, end = own->offset + own->length;
	struct stat st;

	if (own->effect == OWN_RESIZED) {
		if (raw_stat(fd, &st))
			return;
		start = (uint64_t)st.st_size;
		end = UINT64_MAX;
	}
	if (own->effect == OWN_CUT) {
		end = UINT64_MAX;
		see_end(lease, start);
	}
	zero_all(lease, start, end, fd, false);
	if (own->copied != own_change_copied(lease))
		zero_all(lease, start, end, fd, true);
}

/*
 * The leased description in the engine's table, which outlives a release: ours,
 * or the program's own, which has it where the keeper alone has one of ours.
 */
static int leased_description(const struct lease_table *table,
			      const struct lease *lease)
{
	struct description description = {
		.fd = -1,
		.dev = lease->dev,
		.ino = lease->ino,
		.type = F_WRLCK,
	};

	if (lease->fd >= 0)
		return (int)syscall(SYS_fcntl, lease->fd, F_DUPFD_CLOEXEC, 0);
	description_find(table->pidfd, &description);
	return description.fd;
}

bool own_change_moves_end(const struct own *own)
{
	return (own->effect == OWN_RESIZED || own->effect == OWN_CUT) &&
	       own->lease && own->lease->staged;
}

void own_change_follow(const struct lease_table *table, const struct own *own)
{
	int fd;

	if (own->effect == OWN_NOTHING || !own->lease->staged)
		return;
	fd = leased_description(table, own->lease);
	follow(own, fd);
	raw_close(fd);
}

/* From own->addr on: own->offset and own->length, of the file. */
static int find_shadow(const struct lease_table *table, struct own *own)
{
	uintptr_t addr = own->addr;
	const struct staged *staged;
	struct mapping mapping;

	if (mapping_at(addr, &mapping, NULL) || !mapping.is_shared)
		return -ESTALE;
	staged = shadows_find(table, mapping.dev, mapping.ino);
	if (!staged || staged->lease != own->lease)
		return -ESTALE;
	if (!(mapping.protection & PROT_WRITE))
		return -EACCES;
	if (own->length > mapping.end - addr)
		own->length = mapping.end - addr;
	own->offset = staged->offset + mapping.offset + (addr - mapping.start);
	return 0;
}

static int truncate_and_finish(void *arg)
{
	struct own *own = arg;

	own->result = syscall(SYS_ftruncate, own->fd, own->length) ? -errno : 0;
	raw_close(own->fd);
	own_desk_finish(own);
	return 0;
}

static int punch_and_finish(void *arg)
{
	struct own *own = arg;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	own->result = raw_fallocate(own->fd, mode, own->offset, own->length)
			      ? -errno
			      : 0;
	raw_close(own->fd);
	own_desk_finish(own);
	return 0;
}

/* A file system that is frozen holds up nobody but who asked. */
static void do_leased(struct lease_table *table, struct own *own, errand_fn *fn)
{
	own->fd = -1;
	if (own->lease && own->lease->type == F_WRLCK)
		own->fd = leased_description(table, own->lease);
	if (own->fd >= 0) {
		errand_send(table, fn, own);
		return;
	}
	own->result = -EOPNOTSUPP;
	own_desk_finish(own);
}

void own_change_punch(struct lease_table *table, struct own *own)
{
	own->result = find_shadow(table, own);
	if (own->result)
		own_desk_finish(own);
	else
		do_leased(table, own, punch_and_finish);
}

void own_change_truncate(struct lease_table *table, struct own *own)
{
	do_leased(table, own, truncate_and_finish);
}
