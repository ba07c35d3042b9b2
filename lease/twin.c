/* SPDX-License-Identifier: BSD-2-Clause */
/* A mapping that is to take another's place: twin.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "raw.h"
#include "reason.h"
#include "self_maps.h"
#include "twin.h"

static const struct {
	char flag[3];
	int advice;
} advices[] = {
	{"dc", MADV_DONTFORK}, {"dd", MADV_DONTDUMP}, {"sr", MADV_SEQUENTIAL},
	{"rr", MADV_RANDOM},   {"hg", MADV_HUGEPAGE}, {"nh", MADV_NOHUGEPAGE},
};

/*
 * Flags that are carried over, or that the kernel sets by itself for a mapping
 * of the file (mm: DAX; sd: a new mapping is dirty; ht, de: huge pages).
 */
static const char carried[] = "rd wr ex sh mr mw me ms sf lo lf nr ac mm sd "
			      "dc dd sr rr hg nh ht de";

static size_t length_of(const struct mapping *mapping)
{
	return mapping->end - mapping->start;
}

#define PAGE_WRITE_PROTECTABLE (1 << 0) /* Linux 6.7: by a userfaultfd */
#define PAGE_GUARD	       (1 << 8) /* Linux 6.15 */

/* A kernel that does not know of such pages refuses the question. */
static bool has_pages(const struct mapping *mapping, uint64_t which)
{
	struct {
		uint64_t start, end, vec;
	} found;
	struct {
		uint64_t size, flags, start, end, walk_end, vec, vec_len;
		uint64_t max_pages, inverted, mask, any_of, reported;
	} scan = {
		.size = sizeof(scan),
		.start = mapping->start,
		.end = mapping->end,
		.vec = (uintptr_t)&found,
		.vec_len = 1,
		.max_pages = 1,
		.mask = which,
		.reported = which,
	};
	int fd = raw_open(AT_FDCWD, "/proc/thread-self/pagemap", O_RDONLY);
	int n = fd < 0 ? -1 : ioctl(fd, _IOWR('f', 16, scan), &scan);

	if (fd >= 0)
		raw_close(fd);
	return n > 0;
}

static int refuse(const struct mapping *mapping, const char *why)
{
	return reason_set(-EOPNOTSUPP,
			  "the mapping at 0x%" PRIxPTR " cannot be made "
			  "anew: %s; undo that, or unmap it",
			  mapping->start, why);
}

int twin_check(const struct mapping_state *state)
{
	const struct mapping *mapping = &state->mapping;

	if (mapping_has(state, "um") || mapping_has(state, "uw") ||
	    mapping_has(state, "ui") ||
	    has_pages(mapping, PAGE_WRITE_PROTECTABLE))
		return refuse(mapping, "it is registered with a userfaultfd");
	if (mapping_has(state, "sl"))
		return refuse(mapping, "it is sealed (mseal)");
	if (mapping_has(state, "gu") || has_pages(mapping, PAGE_GUARD))
		return refuse(mapping, "it has guard pages "
				       "(MADV_GUARD_INSTALL)");
	for (const char *at = state->flags; at[0] && at[1]; at += 3) {
		char flag[3] = {at[0], at[1]}, why[32];

		if (!strstr(carried, flag)) {
			snprintf(why, sizeof(why), "it has the flag \"%s\"",
				 flag);
			return refuse(mapping, why);
		}
		if (!at[2])
			break;
	}
	return 0;
}

int twin_make(enum twin_kind kind, int fd, uint64_t offset,
	      const struct mapping_state *state, struct twin *ret)
{
	const struct mapping *mapping = &state->mapping;
	size_t length = length_of(mapping);
	int flags = kind == TWIN_OF_NOTHING ? MAP_PRIVATE | MAP_ANONYMOUS
					    : MAP_SHARED;
	int r = 0;
	void *addr;

	if (kind == TWIN_OF_FILE && mapping_has(state, "sf"))
		flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	if (mapping_has(state, "nr"))
		flags |= MAP_NORESERVE;
	addr = (void *)syscall(SYS_mmap, NULL, length, mapping->protection,
			       flags, fd, offset);
	if (addr == MAP_FAILED)
		return -errno;
	/* By mlockall(MCL_FUTURE), which this mapping was taken out of. */
	if (!mapping_has(state, "lo"))
		r = (int)syscall(SYS_munlock, addr, length);
	for (size_t i = 0; !r && i < sizeof(advices) / sizeof(advices[0]); i++)
		if (mapping_has(state, advices[i].flag))
			r = (int)syscall(SYS_madvise, addr, length,
					 advices[i].advice);
	if (r)
		r = -errno;
	*ret = (struct twin){state, *mapping, addr};
	if (!r && state->key)
		r = twin_protect(ret, mapping->protection);
	if (r)
		twin_drop(ret);
	return r;
}

int twin_protect(const struct twin *twin, int protection)
{
	size_t length = length_of(&twin->place);
	int key = twin->state->key;

	/* One that may only be executed has the kernel's own key. */
	return (key && protection != PROT_EXEC
			? syscall(SYS_pkey_mprotect, twin->addr, length,
				  protection, key)
			: syscall(SYS_mprotect, twin->addr, length, protection))
		       ? -errno
		       : 0;
}

struct look {
	const struct mapping *place;
	uintptr_t seen; /* up to there it is what it was */
};

static int is_other(const struct self_map *map, void *arg)
{
	struct look *look = arg;
	const struct mapping *place = look->place;

	if (map->start > look->seen || map->dev != place->dev ||
	    map->ino != place->ino || map->is_shared != place->is_shared ||
	    map->protection != place->protection ||
	    map->offset - map->start != place->offset - place->start)
		return 1;
	look->seen = map->end;
	return 0;
}

/*
 * It may have grown together with a neighbour, or been parted by advice that is
 * of some of its pages.
 */
int twin_is_due(const struct twin *twin)
{
	const struct mapping *place = &twin->place;
	struct look look = {place, place->start};
	int r = self_maps_each(place->start, place->end, is_other, &look);

	return r < 0 ? r : !r && look.seen >= place->end;
}

int twin_move(struct twin *twin)
{
	size_t length = length_of(&twin->place);

	if (syscall(SYS_mremap, twin->addr, length, length,
		    MREMAP_MAYMOVE | MREMAP_FIXED, twin->place.start) == -1)
		return -errno;
	twin->addr = NULL;
	return 0;
}

int twin_put(struct twin *twin)
{
	int due = twin_is_due(twin);

	if (due < 0)
		return due;
	return due ? twin_move(twin) : 1;
}

int twin_lock(const struct twin *twin)
{
	const struct mapping_state *state = twin->state;

	if (!mapping_has(state, "lo"))
		return 0;
	return syscall(SYS_mlock2, state->mapping.start,
		       length_of(&state->mapping),
		       mapping_has(state, "lf") ? MLOCK_ONFAULT : 0)
		       ? -errno
		       : 0;
}

void twin_drop(struct twin *twin)
{
	if (twin->addr)
		raw_unmap(twin->addr, length_of(&twin->state->mapping));
	twin->addr = NULL;
}
