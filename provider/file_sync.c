/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadows written through: file_sync.h. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "clock.h"
#include "file_sync.h"
#include "leases.h"
#include "log.h"
#include "own_map.h"
#include "raw.h"
#include "reason.h"
#include "self_maps.h"
#include "shadow_places.h"
#include "shadows.h"

#define PAGE	     4096UL
#define PAUSE_NS     1000000L /* then twice as long each time */
#define PAUSE_MAX_NS 50000000L
#define SAY_NS	     1000000000LL /* between two sentences */

/* One call of the program's. */
struct syncing {
	struct lease_engine *engine;
	int64_t deadline_ns;
	int error;	/* the last that there was */
	char place[64]; /* for the sentence */
};

static bool begin(struct syncing *syncing)
{
	syncing->engine = leases_engine();
	syncing->error = 0;
	if (syncing->engine)
		syncing->deadline_ns = clock_now_ns() + SYNC_WAIT_NS;
	return syncing->engine;
}

/* The second and later ones within a second say the same. */
static void say(const struct syncing *syncing)
{
	static _Atomic int64_t said_ns;
	int64_t now = clock_now_ns(), last = atomic_load(&said_ns);

	if ((last && now - last < SAY_NS) ||
	    !atomic_compare_exchange_strong(&said_ns, &last, now))
		return;
	log_sentence(LOG_WARN,
		     "what was stored %s is not durable yet: %s; make sure "
		     "that it can be written, that others close the file, and "
		     "make the call again",
		     syncing->place, reason_text());
}

static int error_of(int r)
{
	return r == -ENOSPC || r == -EDQUOT ? r : -EIO;
}

static bool is_late(const struct syncing *syncing)
{
	return clock_now_ns() > syncing->deadline_ns;
}

/* What is wrong with one file is not waited for with each once more. */
static void flush(struct syncing *syncing, dev_t dev, ino_t ino,
		  uint64_t offset, uint64_t length)
{
	struct timespec pause = {0, PAUSE_NS};
	int r;

	if (syncing->error && is_late(syncing))
		return;
	for (;;) {
		r = lease_flush_file(syncing->engine, dev, ino, offset, length);
		if (r != -EAGAIN || is_late(syncing))
			break;
		syscall(SYS_nanosleep, &pause, NULL);
		pause.tv_nsec *= 2;
		if (pause.tv_nsec > PAUSE_MAX_NS)
			pause.tv_nsec = PAUSE_MAX_NS;
	}
	if (!r || r == -ESRCH) /* a child's */
		return;
	say(syncing);
	syncing->error = error_of(r);
}

static void flush_all(struct syncing *syncing, const dev_t *only)
{
	uint32_t slot = 0;
	dev_t dev;
	ino_t ino;

	while (shadows_next_file(syncing->engine, &slot, &dev, &ino)) {
		if (only && dev != *only)
			continue;
		snprintf(syncing->place, sizeof(syncing->place),
			 "in inode %llu of %u:%u", (unsigned long long)ino,
			 major(dev), minor(dev));
		flush(syncing, dev, ino, 0, UINT64_MAX);
	}
}

/* As many shadows of a range as there is room for. */
#define AT_ONCE 16

struct shadow_range {
	dev_t dev;
	ino_t ino;
	uint64_t offset;
	uint64_t length;
};

struct found {
	struct lease_engine *engine;
	uintptr_t start;
	uintptr_t end;
	uintptr_t shadowed; /* all from start to here */
	unsigned int count;
	struct shadow_range shadows[AT_ONCE];
	uintptr_t looked; /* the last one's end */
};

static bool goes_on(const struct found *found, const struct self_map *map)
{
	const struct shadow_range *last;

	if (!found->count || map->start != found->looked)
		return false;
	last = &found->shadows[found->count - 1];
	return map->dev == last->dev && map->ino == last->ino &&
	       map->offset == last->offset + last->length;
}

static int find_one(const struct self_map *map, void *arg)
{
	struct found *found = arg;
	uintptr_t start = map->start, end = map->end;
	bool is_same;

	if (!map->is_shared ||
	    !shadows_has_memfd(found->engine, map->dev, map->ino))
		return 0;
	is_same = goes_on(found, map);
	if (found->count == AT_ONCE && !is_same)
		return 1;
	if (start < found->start)
		start = found->start;
	if (end > found->end)
		end = found->end;
	if (start == found->shadowed)
		found->shadowed = end;
	if (is_same)
		found->shadows[found->count - 1].length += end - start;
	else
		found->shadows[found->count++] = (struct shadow_range){
			.dev = map->dev,
			.ino = map->ino,
			.offset = map->offset + start - map->start,
			.length = end - start,
		};
	found->looked = end;
	return 0;
}

/*
 * Whole pages, as the kernel and the keeper have it. One that wraps around is
 * refused by the original.
 */
static bool whole_pages(const void *addr, size_t length, struct found *found)
{
	uintptr_t start = (uintptr_t)addr, end = start + length;

	if (!length || end < start || end > UINTPTR_MAX - PAGE)
		return false;
	found->start = start / PAGE * PAGE;
	found->end = (end + PAGE - 1) / PAGE * PAGE;
	found->shadowed = found->start;
	return true;
}

static int look(struct found *found)
{
	uintptr_t shadowed = found->shadowed;
	unsigned int look;
	int r;

	do {
		found->count = 0;
		found->shadowed = shadowed;
		look = own_map_look(found->engine);
		r = self_maps_each(found->start, found->end, find_one, found);
	} while (own_map_has_moved(found->engine, look));
	return r;
}

int sync_memory(const void *addr, size_t length, bool *ret_has_other)
{
	int saved_errno = errno, r;
	struct syncing syncing;
	struct found found;

	if (ret_has_other)
		*ret_has_other = true;
	if (!whole_pages(addr, length, &found) ||
	    !shadow_places_have(found.start, found.end) || !begin(&syncing))
		return 0;
	found.engine = syncing.engine;
	snprintf(syncing.place, sizeof(syncing.place), "at %p", addr);
	do {
		r = look(&found);
		for (unsigned int i = 0; i < found.count; i++)
			flush(&syncing, found.shadows[i].dev,
			      found.shadows[i].ino, found.shadows[i].offset,
			      found.shadows[i].length);
		found.start = found.looked;
	} while (r > 0);
	/* no descriptor left to look with: the range is somewhere in them */
	if (r < 0)
		flush_all(&syncing, NULL);
	errno = saved_errno;
	if (ret_has_other)
		*ret_has_other = found.shadowed != found.end;
	return syncing.error;
}

int sync_file(int fd, uint64_t offset, uint64_t length)
{
	struct syncing syncing = {0};
	int saved_errno = errno;
	struct stat st;

	if (begin(&syncing) && !raw_stat(fd, &st) && S_ISREG(st.st_mode) &&
	    shadows_has_file(syncing.engine, st.st_dev, st.st_ino)) {
		snprintf(syncing.place, sizeof(syncing.place),
			 "in the file of descriptor %d", fd);
		flush(&syncing, st.st_dev, st.st_ino, offset, length);
	}
	errno = saved_errno;
	return syncing.error;
}

int sync_files(int fd)
{
	struct syncing syncing = {0};
	int saved_errno = errno;
	struct stat st;

	if (begin(&syncing) && (fd < 0 || !raw_stat(fd, &st)))
		flush_all(&syncing, fd < 0 ? NULL : &st.st_dev);
	errno = saved_errno;
	return syncing.error;
}
