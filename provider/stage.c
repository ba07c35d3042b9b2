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
#include <sys/sysmacros.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "leases.h"
#include "log.h"
#include "memory.h"
#include "own_map.h"
#include "pinned_own.h"
#include "raw.h"
#include "reason.h"
#include "stage.h"
#include "stage_limits.h"

/* A file that is given back gets so long to be flushed. */
#define GIVE_BACK_NS (5 * 1000000000LL)

/* The program maps and unmaps there meanwhile: it is looked at again. */
#define TRIES	8
#define CHANGED ESTALE

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

/* The file of one mapping, as far as the region lies in it. */
struct part {
	uintptr_t addr;
	uint64_t offset; /* in the file */
	uint64_t length;
	dev_t dev; /* of what is mapped */
	ino_t ino;
	bool is_shadow; /* dev and ino are a memfd's */
	bool is_staged;
	struct lease *lease; /* NULL: not yet */
};

struct stage {
	uintptr_t start;
	uintptr_t end;
	size_t count;
	size_t room;
	struct part *parts;
	bool has_private_dax; /* a private mapping of such a file */
	bool has_private;     /* of one in the page cache */
	bool has_other;	      /* what is no part, or cannot be read */
	bool has_read_only;   /* a part that cannot be written */
	char *alias;	      /* whole pages around the region, or NULL */
	size_t alias_length;
	pid_t alias_pid; /* a forked child has something else there */
	char reason[REASON_MAX];
};

struct finding {
	uintptr_t start;
	uintptr_t end;
	uintptr_t next; /* everything below it has been seen */
	bool has_gap;
	struct stage *stage;
};

static bool has_to_be_staged(const struct vma *vma, struct stage *stage,
			     bool *ret_is_shadow)
{
	struct memory_file file;

	if (vma->ino == 0 && (!vma->shared || vma->name[0] != '/'))
		return false;
	backing_look(vma, &file);
	if (!vma->shared) {
		stage->has_private_dax |= file.kind == MEMORY_FSDAX_PRIVATE;
		stage->has_private |= file.kind == MEMORY_PAGECACHE_PRIVATE;
		return false;
	}
	*ret_is_shadow = file.kind == MEMORY_SHADOW;
	return file.kind == MEMORY_SHADOW || file.kind == MEMORY_FSDAX ||
	       file.kind == MEMORY_PAGECACHE || file.kind == MEMORY_UNKNOWN;
}

static struct part *new_part(struct stage *stage)
{
	struct part *parts = stage->parts;

	if (stage->count == stage->room) {
		size_t room = stage->room ? 2 * stage->room : 4;

		parts = realloc(parts, room * sizeof(*parts));
		if (!parts)
			return NULL;
		stage->parts = parts;
		stage->room = room;
	}
	return &parts[stage->count++];
}

static int add_part(const struct vma *vma, void *arg)
{
	struct finding *finding = arg;
	uintptr_t start, end;
	bool is_shadow;
	struct part *part;

	if (vma->end <= finding->next) /* a walk that was begun again */
		return 0;
	finding->has_gap |= vma->start > finding->next;
	finding->next = vma->end;
	if (!has_to_be_staged(vma, finding->stage, &is_shadow)) {
		finding->stage->has_other = true;
		return 0;
	}
	finding->stage->has_other |= !vma->readable;
	finding->stage->has_read_only |= !vma->writable;
	part = new_part(finding->stage);
	if (!part)
		return ENOMEM;
	start = vma->start > finding->start ? vma->start : finding->start;
	end = vma->end < finding->end ? vma->end : finding->end;
	*part = (struct part){
		.addr = start,
		.offset = vma->offset + (start - vma->start),
		.length = end - start,
		.dev = makedev(vma->dev_major, vma->dev_minor),
		.ino = vma->ino,
		.is_shadow = is_shadow,
	};
	return 0;
}

/* Where nothing seems to be a shadow may just have come or gone. */
static int find_parts(struct stage *stage, struct lease_engine *engine,
		      uintptr_t start, uintptr_t end)
{
	struct finding finding = {start, end, start, false, stage};
	unsigned int look = own_map_look(engine);
	int r;

	stage->start = start;
	stage->end = end;
	stage->has_private_dax = stage->has_private = false;
	stage->has_other = stage->has_read_only = false;
	r = vma_each(start, end, add_part, &finding);
	finding.has_gap |= finding.next < end;
	stage->has_other |= finding.has_gap;
	if (!r && finding.has_gap && own_map_has_moved(engine, look))
		return -CHANGED;

	if (r > 0)
		return reason_set(-r, "no memory for the list of its files");
	if (r)
		return reason_set_kind(
			REASON_UNSEEN, r,
			"what is mapped cannot be seen (/proc: %s): "
			"see to it that /proc can be read and "
			"descriptors are left",
			strerrordesc_np(-r));
	return 0;
}

/* Bytes that are in no shadow yet. */
static uint64_t new_bytes(const struct stage *stage)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < stage->count; i++)
		if (!stage->parts[i].is_shadow)
			bytes += stage->parts[i].length;
	return bytes;
}

/* What is mapped at the address is another file than a moment ago? */
static bool is_another(const struct part *part)
{
	dev_t dev;
	ino_t ino;

	lease_file(part->lease, &dev, &ino);
	return !part->is_shadow && (dev != part->dev || ino != part->ino);
}

/* Not while it has pinned regions, nor may any come meanwhile. */
static int stage_part(struct part *part)
{
	struct pinned_own own;
	dev_t dev;
	ino_t ino;
	int r;

	lease_file(part->lease, &dev, &ino);
	if (!pinned_own_try(&own, dev, ino))
		return reason_set(-EBUSY,
				  "its file has regions that are pinned: "
				  "deregister those first, or register this "
				  "one as pinned too");
	r = lease_stage(part->lease, part->offset, part->length);
	part->is_staged = !r;
	pinned_own_end(&own);
	return r;
}

static int take_part(struct lease_engine *engine, struct part *part,
		     const struct stage_wish *wish)
{
	struct lease_want want = {
		.fd = -1,
		.addr = part->addr,
		.type = LEASE_TYPE_AUTO,
		.length = part->length,
		.terms = wish ? wish->terms : NULL,
	};
	uint64_t offset = 0;
	int r = 0;

	if (part->is_shadow)
		r = lease_find_shadow(engine, part->dev, part->ino, &offset);
	if (r)
		return r == -ENOENT ? -CHANGED : r;
	want.offset = part->offset += offset;
	r = lease_acquire(engine, &want, &part->lease);
	if (r)
		return r;
	if (is_another(part))
		return -CHANGED;
	return stage_part(part);
}

/* What is there is to stay for a while, and is nobody's fault. */
static bool is_expected(int error)
{
	return !error || error == -EAGAIN || error == -ESRCH;
}

static void give_back_part(struct part *part)
{
	int r = 0, released;

	if (!part->lease)
		return;
	if (part->is_staged)
		r = lease_unstage(part->lease, part->offset, part->length);
	if (!is_expected(r))
		log_write(LOG_ERROR,
			  "a file that is no longer registered stays staged "
			  "for now, and is tried again: %s",
			  reason_text());
	released = lease_release(part->lease, part->offset, part->length,
				 clock_now_ns() + GIVE_BACK_NS);
	if (is_expected(r) && !is_expected(released))
		log_write(LOG_ERROR,
			  "a file that is no longer registered is given back "
			  "later: %s",
			  reason_text());
}

static void give_back_parts(struct stage *stage)
{
	while (stage->count)
		give_back_part(&stage->parts[--stage->count]);
}

/*
 * Private mappings, which nobody else sees, become private memory. Those of a
 * page-cache file are that for a device, unless there is nothing else that it
 * could have been refused for.
 */
static int copy_privates(const struct stage *stage, struct lease_engine *engine,
			 uintptr_t start, uintptr_t end)
{
	if (stage->has_private_dax || (stage->has_private && !stage->count))
		return lease_privatize(engine, start, end - start);
	return 0;
}

/* Takes them in turn; undone where one cannot be had. */
static int take_parts(struct stage *stage, struct lease_engine *engine,
		      uintptr_t start, uintptr_t end,
		      const struct stage_wish *wish)
{
	int r = find_parts(stage, engine, start, end);
	unsigned int kind;

	if (!r)
		r = stage_limits_check(new_bytes(stage),
				       wish ? wish->max
					    : config_get()->stage_max);
	if (!r)
		r = copy_privates(stage, engine, start, end);
	for (size_t i = 0; !r && i < stage->count; i++)
		r = take_part(engine, &stage->parts[i], wish);
	if (!r)
		return 0;
	/* What is undone may have sentences of its own. */
	kind = reason_kind();
	strcpy(stage->reason, reason_text());
	give_back_parts(stage);
	return reason_set_kind(kind, r, "%s", stage->reason);
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
	for (size_t i = 0; !r && i < stage->count; i++) {
		const struct part *part = &stage->parts[i];
		uintptr_t at = page_of(part->addr);
		uint64_t skipped = part->addr - at;
		uint64_t end = page_of(part->addr + part->length - 1) +
			       (uint64_t)sysconf(_SC_PAGESIZE);

		r = lease_alias(part->lease, part->offset - skipped, end - at,
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

	if (!stage->has_other && stage->has_read_only && map_alias(stage))
		drop_alias(stage);
	errno = saved_errno;
	return stage_alias(stage);
}

static void free_stage(struct stage *stage)
{
	free(stage->parts);
	free(stage);
}

int stage_take(const void *addr, size_t length, const struct stage_wish *wish,
	       struct stage **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct stage *stage = calloc(1, sizeof(*stage));
	uintptr_t start = (uintptr_t)addr;
	int saved_errno = errno, r = -CHANGED;
	struct lease_engine *engine;

	if (!stage) {
		errno = saved_errno;
		return reason_set(-ENOMEM, "no memory for one region more");
	}
	pthread_once(&once, follow_forks);
	atomic_fetch_add(&begun, 1);
	for (int i = 0; r == -CHANGED && i < TRIES; i++) {
		r = leases_start(&engine);
		if (!r)
			r = take_parts(stage, engine, start, start + length,
				       wish);
	}
	atomic_fetch_add(&ended, 1);
	errno = saved_errno;
	if (!r) {
		*ret = stage;
		return 0;
	}
	free_stage(stage);
	if (r == -CHANGED)
		r = reason_set(-EAGAIN,
			       "other threads map and unmap there all the "
			       "time; register it while they don't");
	return r;
}

struct lease *stage_lease(const struct stage *stage, size_t i)
{
	return i < stage->count ? stage->parts[i].lease : NULL;
}

struct lease *stage_piece(const struct stage *stage, uint64_t *ret_offset)
{
	const struct part *first = stage->parts;

	if (!stage->count || stage->has_other || first->addr != stage->start)
		return NULL;
	for (size_t i = 1; i < stage->count; i++) {
		const struct part *part = &stage->parts[i];

		if (part->lease != first->lease ||
		    part->offset - first->offset != part->addr - first->addr)
			return NULL;
	}
	*ret_offset = first->offset;
	return first->lease;
}

static int flush_part(const struct part *part, uintptr_t start, uintptr_t end)
{
	if (start < part->addr)
		start = part->addr;
	if (end > part->addr + part->length)
		end = part->addr + part->length;
	if (start >= end)
		return 0;
	return lease_flush(part->lease, part->offset + (start - part->addr),
			   end - start);
}

int stage_flush(const struct stage *stage, const void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr;
	int first = 0;

	for (size_t i = 0; i < stage->count; i++) {
		int r = flush_part(&stage->parts[i], start, start + length);

		first = first ? first : r;
	}
	return first;
}

int stage_flush_soon(const struct stage *stage, uint32_t ticket)
{
	int first = 0;

	for (size_t i = 0; i < stage->count; i++) {
		int r = lease_flush_soon(stage->parts[i].lease, ticket);

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
	give_back_parts(stage);
	free_stage(stage);
	errno = saved_errno;
}
