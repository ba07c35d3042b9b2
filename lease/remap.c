/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings made anew from another description: remap.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mapping.h"
#include "raw.h"
#include "reason.h"
#include "remap.h"

/* How often all are read again because some changed meanwhile. */
#define ROUNDS 8

/* A mapping, and the one that is to take its place; NULL: none is ready. */
struct twin {
	const struct mapping_state *state;
	void *addr;
};

static const struct {
	char flag[3];
	int advice;
} advices[] = {
	{"dc", MADV_DONTFORK}, {"dd", MADV_DONTDUMP}, {"sr", MADV_SEQUENTIAL},
	{"rr", MADV_RANDOM},   {"hg", MADV_HUGEPAGE}, {"nh", MADV_NOHUGEPAGE},
};

/*
 * Flags that are carried over, or that the kernel sets by itself for a mapping
 * of the file (mm: DAX; sd: a new mapping is dirty).
 */
static const char carried[] = "rd wr ex sh mr mw me ms sf lo lf nr ac mm sd "
			      "dc dd sr rr hg nh";

static size_t length_of(const struct mapping *mapping)
{
	return mapping->end - mapping->start;
}

/* Of Linux 6.15 on; a kernel that knows no guard pages refuses the question. */
static bool has_guards(const struct mapping *mapping)
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
		.mask = 1 << 8, /* PAGE_IS_GUARD */
		.reported = 1 << 8,
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
			  "the mapping at 0x%" PRIxPTR " cannot be made anew "
			  "from another descriptor: %s; keep the descriptor "
			  "open that it is made from",
			  mapping->start, why);
}

static int check(const struct mapping_state *state)
{
	const struct mapping *mapping = &state->mapping;

	if (mapping_has(state, "um") || mapping_has(state, "uw") ||
	    mapping_has(state, "ui"))
		return refuse(mapping, "it is registered with a userfaultfd");
	if (mapping_has(state, "sl"))
		return refuse(mapping, "it is sealed (mseal)");
	if (mapping_has(state, "gu") || has_guards(mapping))
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

/* With all that it has but mlock. MAP_FAILED and errno. */
static void *map_twin(int fd, const struct mapping_state *state)
{
	const struct mapping *mapping = &state->mapping;
	size_t length = length_of(mapping);
	int flags = MAP_SHARED, r = 0;
	void *addr;

	if (mapping_has(state, "sf"))
		flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	if (mapping_has(state, "nr"))
		flags |= MAP_NORESERVE;
	addr = (void *)syscall(SYS_mmap, NULL, length, mapping->protection,
			       flags, fd, mapping->offset);
	if (addr == MAP_FAILED)
		return addr;
	/* By mlockall(MCL_FUTURE), which this mapping was taken out of. */
	if (!mapping_has(state, "lo"))
		r = (int)syscall(SYS_munlock, addr, length);
	for (size_t i = 0; !r && i < sizeof(advices) / sizeof(advices[0]); i++)
		if (mapping_has(state, advices[i].flag))
			r = (int)syscall(SYS_madvise, addr, length,
					 advices[i].advice);
	/* One that may only be executed has the kernel's own key. */
	if (!r && state->key && mapping->protection != PROT_EXEC)
		r = (int)syscall(SYS_pkey_mprotect, addr, length,
				 mapping->protection, state->key);
	if (r) {
		int error = errno;

		raw_unmap(addr, length);
		errno = error;
		return MAP_FAILED;
	}
	return addr;
}

/* Is it there as it was read? It may have grown together with a neighbour. */
static bool is_unchanged(const struct mapping *mapping)
{
	struct mapping now;

	return !mapping_at(mapping->start, &now, NULL) &&
	       now.start <= mapping->start && now.end >= mapping->end &&
	       now.dev == mapping->dev && now.ino == mapping->ino &&
	       now.offset + (mapping->start - now.start) == mapping->offset &&
	       now.is_shared && now.protection == mapping->protection;
}

/* 0, -errno; 1: it isn't what it was, and was left alone. */
static int put_in_place(struct twin *twin)
{
	const struct mapping_state *state = twin->state;
	size_t length = length_of(&state->mapping);
	void *addr = (void *)state->mapping.start;

	if (!is_unchanged(&state->mapping))
		return 1;
	if (syscall(SYS_mremap, twin->addr, length, length,
		    MREMAP_MAYMOVE | MREMAP_FIXED, addr) == -1)
		return -errno;
	twin->addr = NULL;
	if (mapping_has(state, "lo") &&
	    syscall(SYS_mlock2, addr, length,
		    mapping_has(state, "lf") ? MLOCK_ONFAULT : 0))
		return -errno;
	return 0;
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
		void *addr;

		if (!states[i].mapping.is_shared)
			continue;
		addr = map_twin(fd, &states[i]);
		if (addr == MAP_FAILED)
			r = reason_set(-errno,
				       "the mapping at 0x%" PRIxPTR
				       " cannot be made anew: %s",
				       states[i].mapping.start,
				       strerrordesc_np(errno));
		else
			twins[i] = (struct twin){&states[i], addr};
	}
	return r;
}

/* As put_in_place(), of all. */
static int remap_once(int fd, const struct mapping_state *states, size_t count)
{
	struct twin *twins = calloc(count, sizeof(*twins));
	int r, changed = 0;

	if (!twins)
		return reason_set(-ENOMEM, "no memory to make mappings anew");
	r = make_twins(fd, states, count, twins);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		if (!twins[i].addr)
			continue;
		r = put_in_place(&twins[i]);
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
		if (twins[i].addr)
			raw_unmap(twins[i].addr, length_of(&states[i].mapping));
	free(twins);
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
			reason_set(r, "mappings cannot be seen (/proc: %s)",
				   strerrordesc_np(-r));
			break;
		}
		r = count ? remap_once(fd, states, count) : 0;
		free(states);
	} while (r > 0 && ++round < ROUNDS);
	if (r > 0)
		r = reason_set(-EBUSY,
			       "mappings of the file come and go while they "
			       "are made anew");
	errno = saved_errno;
	return r;
}
