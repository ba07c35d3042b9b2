/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions of files with shadows: stage.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "leases.h"
#include "log.h"
#include "pinned_own.h"
#include "raw.h"
#include "reason.h"
#include "stage.h"
#include "stage_limits.h"
#include "stage_parts.h"

/* A file that is given back gets so long to be flushed. */
#define GIVE_BACK_NS (5 * 1000000000LL)

/* How often a range is looked at that changes meanwhile. */
#define TRIES 8

/* Calls of stage_take(). */
static atomic_uint begun, ended;

/* Those of the parent that were under way end nowhere. */
static void child_has_none(void)
{
	atomic_store(&begun, 0);
	atomic_store(&ended, 0);
}

static void follow_forks(void)
{
	pthread_atfork(NULL, NULL, child_has_none);
}

struct stage_mark stage_mark_get(void)
{
	unsigned int were_ended = atomic_load(&ended);
	unsigned int were_begun = atomic_load(&begun);

	return (struct stage_mark){were_begun, were_begun == were_ended};
}

bool stage_has_moved(const struct stage_mark *before)
{
	return !before->is_quiet || atomic_load(&begun) != before->begun;
}

struct stage {
	uintptr_t start;
	uintptr_t end;
	struct parts parts;
	char *alias; /* whole pages around the region, or NULL */
	size_t alias_length;
	pid_t alias_pid; /* a forked child has something else there */
	char reason[REASON_MAX];
};

/* Bytes that are in no shadow yet. */
static uint64_t new_bytes(const struct parts *parts)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < parts->pieces; i++)
		if (!parts->piece[i].part->is_shadow)
			bytes += parts->piece[i].length;
	return bytes;
}

/* What is mapped at the address is another file than a moment ago? */
static bool is_another(const struct piece *piece)
{
	const struct part *part = piece->part;
	dev_t dev;
	ino_t ino;

	lease_file(piece->lease, &dev, &ino);
	return !part->is_shadow && (dev != part->dev || ino != part->ino);
}

/* Where in the file that is, once it has been taken. */
static uint64_t begin_of(const struct piece *piece)
{
	return piece->begin + piece->offset;
}

/* Not while it has pinned regions, nor may any come meanwhile. */
static int stage_piece_of_file(struct piece *piece)
{
	struct pinned_own own;
	dev_t dev;
	ino_t ino;
	int r;

	lease_file(piece->lease, &dev, &ino);
	if (!pinned_own_try(&own, dev, ino))
		return reason_set(-EBUSY,
				  "its file has regions that are pinned: "
				  "deregister those first, or register this "
				  "one as pinned too");
	r = lease_stage(piece->lease, begin_of(piece), piece->length);
	piece->is_staged = !r;
	pinned_own_end(&own);
	return r;
}

static int take_piece(struct lease_engine *engine, struct piece *piece,
		      const struct stage_wish *wish)
{
	const struct part *part = piece->part;
	struct lease_want want = {
		.fd = -1,
		.addr = part->addr,
		.type = LEASE_TYPE_AUTO,
		.length = piece->length,
		.terms = wish ? wish->terms : NULL,
	};
	int r = 0;

	if (part->is_shadow)
		r = lease_find_shadow(engine, part->dev, part->ino,
				      &piece->begin);
	if (r)
		return r == -ENOENT ? -STAGE_CHANGED : r;
	want.offset = begin_of(piece);
	r = lease_acquire(engine, &want, &piece->lease);
	if (r)
		return r;
	if (is_another(piece))
		return -STAGE_CHANGED;
	return stage_piece_of_file(piece);
}

/* What is there is to stay for a while, and is nobody's fault. */
static bool is_expected(int error)
{
	return !error || error == -EAGAIN || error == -ESRCH;
}

static void give_back_piece(const struct piece *piece)
{
	int r = 0, released;

	if (!piece->lease)
		return;
	if (piece->is_staged)
		r = lease_unstage(piece->lease, begin_of(piece), piece->length);
	if (!is_expected(r))
		log_write(LOG_ERROR,
			  "a file that is no longer registered stays staged "
			  "for now, and is tried again: %s",
			  reason_text());
	released = lease_release(piece->lease, begin_of(piece), piece->length,
				 clock_now_ns() + GIVE_BACK_NS);
	if (is_expected(r) && !is_expected(released))
		log_write(LOG_ERROR,
			  "a file that is no longer registered is given back "
			  "later: %s",
			  reason_text());
}

static void give_back_parts(struct parts *parts)
{
	while (parts->pieces)
		give_back_piece(&parts->piece[--parts->pieces]);
	parts_free(parts);
}

/*
 * Private mappings, which nobody else sees, become private memory. Those of a
 * page-cache file are that for a device, unless there is nothing else that it
 * could have been refused for.
 */
static int copy_privates(const struct parts *parts, struct lease_engine *engine,
			 uintptr_t start, uintptr_t end)
{
	if (parts->has_private_dax || (parts->has_private && !parts->count))
		return lease_privatize(engine, start, end - start);
	return 0;
}

/* Takes them in turn; undone where one cannot be had. */
static int take_parts(struct stage *stage, struct lease_engine *engine,
		      const struct stage_wish *wish)
{
	struct parts *parts = &stage->parts;
	int r = parts_find(parts, engine, stage->start, stage->end);
	unsigned int kind;

	if (!r)
		r = stage_limits_check(new_bytes(parts),
				       wish ? wish->max
					    : config_get()->stage_max);
	if (!r)
		r = copy_privates(parts, engine, stage->start, stage->end);
	for (size_t i = 0; !r && i < parts->pieces; i++)
		r = take_piece(engine, &parts->piece[i], wish);
	if (!r)
		return 0;
	/* What is undone may have sentences of its own. */
	kind = reason_kind();
	strcpy(stage->reason, reason_text());
	give_back_parts(parts);
	return reason_set_kind(kind, r, "%s", stage->reason);
}

static struct lease *lease_of(const struct parts *parts,
			      const struct part *part)
{
	return parts->piece[part->piece].lease;
}

static uint64_t file_offset(const struct parts *parts, const struct part *part)
{
	return parts->piece[part->piece].begin + part->offset;
}

static uintptr_t page_of(uintptr_t addr)
{
	return addr & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
}

static void drop_alias(struct stage *stage)
{
	if (stage->alias && stage->alias_pid == getpid())
		raw_unmap(stage->alias, stage->alias_length);
	stage->alias = NULL;
}

/* A place of its own, into which the parts are mapped one by one. */
static int map_alias(struct stage *stage)
{
	const struct parts *parts = &stage->parts;
	uintptr_t first = page_of(stage->start);
	long addr;
	int r = 0;

	stage->alias_length =
		page_of(stage->end - 1) - first + (size_t)sysconf(_SC_PAGESIZE);
	addr = syscall(SYS_mmap, NULL, stage->alias_length, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == -1)
		return -errno;
	stage->alias = (char *)addr;
	stage->alias_pid = getpid();
	for (size_t i = 0; !r && i < parts->count; i++) {
		const struct part *part = &parts->part[i];
		uintptr_t at = page_of(part->addr);
		uint64_t skipped = part->addr - at;
		uint64_t end = page_of(part->addr + part->length - 1) +
			       (uint64_t)sysconf(_SC_PAGESIZE);

		r = lease_alias(lease_of(parts, part),
				file_offset(parts, part) - skipped, end - at,
				(uintptr_t)stage->alias + (at - first));
	}
	return r;
}

void *stage_alias(const struct stage *stage)
{
	return stage && stage->alias
		       ? stage->alias + (stage->start - page_of(stage->start))
		       : NULL;
}

void *stage_make_alias(struct stage *stage)
{
	int saved_errno = errno;

	if (!stage->parts.has_other && stage->parts.has_read_only &&
	    map_alias(stage))
		drop_alias(stage);
	errno = saved_errno;
	return stage_alias(stage);
}

static void free_stage(struct stage *stage)
{
	parts_free(&stage->parts);
	free(stage);
}

int stage_take(const void *addr, size_t length, const struct stage_wish *wish,
	       struct stage **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct stage *stage = calloc(1, sizeof(*stage));
	int saved_errno = errno, r = -STAGE_CHANGED;
	struct lease_engine *engine;

	if (!stage) {
		errno = saved_errno;
		return reason_set(-ENOMEM, "no memory for one region more");
	}
	stage->start = (uintptr_t)addr;
	stage->end = stage->start + length;
	pthread_once(&once, follow_forks);
	atomic_fetch_add(&begun, 1);
	for (int i = 0; r == -STAGE_CHANGED && i < TRIES; i++) {
		r = leases_start(&engine);
		if (!r)
			r = take_parts(stage, engine, wish);
	}
	atomic_fetch_add(&ended, 1);
	errno = saved_errno;
	if (!r) {
		*ret = stage;
		return 0;
	}
	free_stage(stage);
	if (r == -STAGE_CHANGED)
		r = reason_set(-EAGAIN,
			       "other threads map and unmap there all the "
			       "time; register it while they don't");
	return r;
}

struct lease *stage_lease(const struct stage *stage, size_t i)
{
	const struct parts *parts = &stage->parts;

	return i < parts->count ? lease_of(parts, &parts->part[i]) : NULL;
}

struct lease *stage_piece(const struct stage *stage, uint64_t *ret_offset)
{
	const struct parts *parts = &stage->parts;
	const struct part *first = parts->part;

	if (!parts->count || parts->has_other || first->addr != stage->start)
		return NULL;
	*ret_offset = file_offset(parts, first);
	for (size_t i = 1; i < parts->count; i++) {
		const struct part *part = &parts->part[i];

		if (lease_of(parts, part) != lease_of(parts, first) ||
		    file_offset(parts, part) - *ret_offset !=
			    part->addr - first->addr)
			return NULL;
	}
	return lease_of(parts, first);
}

static int flush_part(const struct parts *parts, const struct part *part,
		      uintptr_t start, uintptr_t end)
{
	if (start < part->addr)
		start = part->addr;
	if (end > part->addr + part->length)
		end = part->addr + part->length;
	if (start >= end)
		return 0;
	return lease_flush(lease_of(parts, part),
			   file_offset(parts, part) + (start - part->addr),
			   end - start);
}

int stage_flush(const struct stage *stage, const void *addr, size_t length)
{
	const struct parts *parts = &stage->parts;
	uintptr_t start = (uintptr_t)addr;
	int first = 0;

	for (size_t i = 0; i < parts->count; i++) {
		int r = flush_part(parts, &parts->part[i], start,
				   start + length);

		first = first ? first : r;
	}
	return first;
}

int stage_flush_soon(const struct stage *stage, uint32_t ticket)
{
	int first = 0;

	for (size_t i = 0; i < stage->parts.pieces; i++) {
		int r = lease_flush_soon(stage->parts.piece[i].lease, ticket);

		first = first ? first : r;
	}
	return first;
}

void stage_give_back(struct stage *stage)
{
	int saved_errno = errno;

	if (!stage)
		return;
	drop_alias(stage);
	give_back_parts(&stage->parts);
	free_stage(stage);
	errno = saved_errno;
}
