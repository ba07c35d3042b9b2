/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What smaps says of mappings: mapping.h.
 *
 * It is read from the lowest address on and cannot be entered elsewhere, so
 * that one mapping among ten thousand costs what all below it cost. For a
 * single one a page of it is therefore mapped once more, lower than everything
 * else: mremap() gives the copy the flags of the mapping, and it is the first
 * thing that smaps shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "heap.h"
#include "lines.h"
#include "mapping_parts.h"
#include "raw.h"

/* Where programs have nothing: from vm.mmap_min_addr to the lowest text. */
#define LOW_START 0x10000UL
#define LOW_END	  0x400000UL
#define LOW_STEP  0x10000UL

#define SMAPS "/proc/thread-self/smaps"
/* Names are cut. */
#define LINE_MAX_USED 256

/* Spaces between them, so no two can be taken for a third. */
bool mapping_has(const struct mapping_state *state, const char *flag)
{
	return strstr(state->flags, flag);
}

/* The lines of a mapping begin with a capital letter. */
static bool is_detail(const char *line)
{
	return line[0] >= 'A' && line[0] <= 'Z';
}

static void read_detail(const char *line, struct mapping_state *state)
{
	if (!strncmp(line, "VmFlags: ", 9)) {
		snprintf(state->flags, sizeof(state->flags), "%.*s",
			 (int)sizeof(state->flags) - 1, line + 9);
	} else {
		sscanf(line, "ProtectionKey: %d", &state->key);
	}
}

struct list {
	struct mapping_state *states;
	size_t count;
	size_t room;
};

static struct mapping_state *add(struct list *list)
{
	if (list->count == list->room) {
		size_t room = 2 * list->room + 8;
		struct mapping_state *bigger =
			heap_more(list->states, room, sizeof(*bigger));

		if (!bigger)
			return NULL;
		list->states = bigger;
		list->room = room;
	}
	memset(&list->states[list->count], 0, sizeof(*list->states));
	return &list->states[list->count++];
}

/*
 * Where the last mapping of the file ends, smaps need not be read further: that
 * takes ten times as long for each mapping.
 */
static uintptr_t find_end(dev_t dev, ino_t ino)
{
	int fd = raw_open(AT_FDCWD, "/proc/thread-self/maps", O_RDONLY);
	struct mapping mapping = {0};
	uintptr_t end = 0;
	int r;

	if (fd < 0)
		return UINTPTR_MAX;
	while (!(r = mapping_next(fd, mapping.end, &mapping)))
		if (mapping.dev == dev && mapping.ino == ino)
			end = mapping.end;
	raw_close(fd);
	return r == -ENOENT ? end : UINTPTR_MAX;
}

int mapping_all(dev_t dev, ino_t ino, struct mapping_state **ret,
		size_t *ret_count)
{
	uintptr_t end = find_end(dev, ino);
	struct mapping_state *state = NULL;
	struct list list = {0};
	struct mapping mapping;
	struct lines lines;
	const char *unused;
	char line[LINE_MAX_USED];
	int r = lines_open(&lines, SMAPS);

	if (r)
		return r;
	while (!r && lines_next(&lines, line, sizeof(line))) {
		if (is_detail(line)) {
			if (state)
				read_detail(line, state);
			continue;
		}
		state = NULL;
		if (!mapping_parse(line, &mapping, &unused))
			continue;
		if (mapping.start >= end)
			break;
		if (mapping.dev != dev || mapping.ino != ino)
			continue;
		state = add(&list);
		if (state)
			state->mapping = mapping;
		else
			r = -ENOMEM;
	}
	lines_close(&lines);
	if (r) {
		heap_put(list.states);
		return r;
	}
	*ret = list.states;
	*ret_count = list.count;
	return 0;
}

/* A page of the mapping at addr, mapped lower than all others; 0: no room. */
static uintptr_t map_low(uintptr_t addr, size_t page)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

	for (uintptr_t low = LOW_START; low < LOW_END; low += LOW_STEP) {
		if ((uintptr_t)syscall(SYS_mmap, low, page, PROT_NONE, flags,
				       -1, 0) != low)
			continue;
		if ((uintptr_t)syscall(SYS_mremap, addr, 0, page,
				       MREMAP_MAYMOVE | MREMAP_FIXED,
				       low) == low)
			return low;
		raw_unmap((void *)low, page);
		break;
	}
	return 0;
}

/* Of the first mapping there is, if that is where it should be. */
static int read_low(uintptr_t low, struct mapping_state *state)
{
	struct mapping mapping = {0};
	struct lines lines;
	const char *unused;
	char line[LINE_MAX_USED];
	int r = lines_open(&lines, SMAPS);

	if (r)
		return r;
	while (!state->flags[0] && lines_next(&lines, line, sizeof(line))) {
		if (mapping.start == low && is_detail(line))
			read_detail(line, state);
		else if (mapping.end || !mapping_parse(line, &mapping, &unused))
			break;
	}
	lines_close(&lines);
	if (!state->flags[0] || mapping.dev != state->mapping.dev ||
	    mapping.ino != state->mapping.ino)
		return -ENOENT;
	return 0;
}

int mapping_state_at(uintptr_t addr, struct mapping_state *ret)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct mapping_state state = {0};
	int saved_errno = errno, r;
	uintptr_t low;

	r = mapping_at(addr, &state.mapping, NULL);
	if (!r && !state.mapping.is_shared)
		r = -ENOENT;
	if (!r) {
		low = map_low(state.mapping.start, page);
		r = low ? read_low(low, &state) : -ENOENT;
		if (low)
			raw_unmap((void *)low, page);
	}
	errno = saved_errno;
	if (!r)
		*ret = state;
	return r;
}
