/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings made anew from another description: remap.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "heap.h"
#include "mapping.h"
#include "raw.h"
#include "reason.h"
#include "remap.h"
#include "twin.h"

/* How often all are read again because some changed meanwhile. */
#define ROUNDS 8

static int check(const struct mapping_state *state)
{
	char why[REASON_MAX];
	int r = twin_check(state);

	if (!r)
		return 0;
	snprintf(why, sizeof(why), "%s", reason_text());
	return reason_set(
		r, "%s; keep the descriptor open that it is made from", why);
}

/* All that can fail, before anything is changed. */
static int make_twins(int fd, const struct mapping_state *states, size_t count,
		      struct twin *twins)
{
	int r = 0;

	for (size_t i = 0; !r && i < count; i++)
		if (states[i].mapping.is_shared)
			r = check(&states[i]);
	for (size_t i = 0; !r && i < count; i++) {
		if (!states[i].mapping.is_shared)
			continue;
		r = twin_make(TWIN_OF_FILE, fd, states[i].mapping.offset,
			      &states[i], &twins[i]);
		if (r)
			reason_set(r,
				   "the mapping at 0x%" PRIxPTR
				   " cannot be made anew: %s",
				   states[i].mapping.start,
				   strerrordesc_np(-r));
	}
	return r;
}

/* As twin_put(), of all. */
static int remap_once(int fd, const struct mapping_state *states, size_t count)
{
	struct twin *twins = heap_get(count, sizeof(*twins));
	int r, changed = 0;

	if (!twins)
		return reason_set(-ENOMEM, "no memory to make mappings anew");
	r = make_twins(fd, states, count, twins);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		if (!twins[i].addr)
			continue;
		r = twin_put(&twins[i]);
		if (!r)
			r = twin_lock(&twins[i]);
		if (r > 0)
			changed = 1;
		if (r < 0)
			reason_set(r,
				   "the mapping at 0x%" PRIxPTR
				   " cannot be made anew: %s",
				   states[i].mapping.start,
				   strerrordesc_np(-r));
	}
	for (size_t i = 0; i < count; i++)
		twin_drop(&twins[i]);
	heap_put(twins);
	return r < 0 ? r : changed;
}

int remap_file(int fd)
{
	struct mapping_state *states;
	int saved_errno = errno, r;
	unsigned int round = 0;
	struct stat st;
	size_t count;

	if (raw_stat(fd, &st))
		return reason_set(-errno, "the file cannot be looked at");
	do {
		r = mapping_all(st.st_dev, st.st_ino, &states, &count);
		if (r) {
			mapping_refuse(r);
			break;
		}
		r = count ? remap_once(fd, states, count) : 0;
		heap_put(states);
	} while (r > 0 && ++round < ROUNDS);
	if (r > 0)
		r = reason_set(-EBUSY,
			       "other threads map and unmap the file all the "
			       "time while its mappings are made anew; do it "
			       "while they don't");
	errno = saved_errno;
	return r;
}

int remap_at(int fd, uintptr_t addr)
{
	struct mapping_state state;
	int saved_errno = errno, r;
	struct stat st;

	if (raw_stat(fd, &st))
		return reason_set(-errno, "the file cannot be looked at");
	r = mapping_state_at(addr, &state);
	if (!r && state.mapping.dev == st.st_dev &&
	    state.mapping.ino == st.st_ino)
		r = remap_once(fd, &state, 1);
	else
		r = 1;
	errno = saved_errno;
	return r > 0 ? remap_file(fd) : r;
}
