/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"
#include "lease_stage.h"
#include "mapping.h"
#include "reason.h"
#include "trap.h"
#include "unit.h"

static pthread_t idler;
static atomic_bool is_idle;

int stage_cannot_trap(void)
{
	struct trap trap;

	if (trap_open(UFFD_FULL, &trap)) {
		printf("%s\n", reason_text());
		return 77;
	}
	trap_close(&trap);
	return 0;
}

struct lease *stage_range(struct lease_engine *engine, int fd, int type,
			  uint64_t offset, uint64_t length)
{
	struct lease *lease = NULL;
	int r = acquire_range(engine, fd, type, offset, length, &lease);

	if (!r)
		r = lease_stage(lease, offset, length);
	if (r)
		fail_msg("%d: %s", r, reason_text());
	return lease;
}

void unstage_range(struct lease *lease, uint64_t offset, uint64_t length)
{
	int r = lease_unstage(lease, offset, length);

	if (!r)
		r = lease_release(lease, offset, length, INT64_MAX);
	if (r)
		fail_msg("%d: %s", r, reason_text());
}

bool stage_is_file_at(const struct file *file, const void *at)
{
	double until = now_sec() + WAIT_SEC;
	struct mapping mapping;
	struct stat st;
	int r;

	/* New kernels answer, too, while one mapping takes another's place. */
	while ((r = mapping_at((uintptr_t)at, &mapping, NULL)) == -EFAULT)
		assert_true(now_sec() < until);
	assert_int_equal(r, 0);
	assert_int_equal(stat(file->path, &st), 0);
	return mapping.dev == st.st_dev && mapping.ino == st.st_ino;
}

struct seen seen_of(dev_t dev, ino_t ino)
{
	struct seen seen;

	assert_int_equal(mapping_all(dev, ino, &seen.states, &seen.count), 0);
	return seen;
}

void seen_free(struct seen *seen)
{
	heap_put(seen->states);
}

void seen_forget_dirty(struct mapping_state *state)
{
	char *at = strstr(state->flags, "sd ");

	if (at)
		memmove(at, at + 3, strlen(at + 3) + 1);
}

void seen_check_same(struct seen *before, struct seen *after)
{
	assert_int_equal(before->count, after->count);
	for (size_t i = 0; i < before->count; i++) {
		struct mapping_state *a = &before->states[i],
				     *b = &after->states[i];

		assert_int_equal(a->mapping.start, b->mapping.start);
		assert_int_equal(a->mapping.end, b->mapping.end);
		assert_int_equal(a->mapping.offset, b->mapping.offset);
		assert_int_equal(a->mapping.protection, b->mapping.protection);
		assert_int_equal(a->key, b->key);
		seen_forget_dirty(a);
		seen_forget_dirty(b);
		assert_string_equal(a->flags, b->flags);
	}
}

bool stage_is_held(void *arg)
{
	return lease_state(arg) == RECALL_HELD;
}

static void *be_there(void *arg)
{
	while (atomic_load(&is_idle))
		usleep(1000);
	return arg;
}

void idler_start(void)
{
	atomic_store(&is_idle, true);
	assert_int_equal(pthread_create(&idler, NULL, be_there, NULL), 0);
}

void idler_stop(void)
{
	atomic_store(&is_idle, false);
	assert_int_equal(pthread_join(idler, NULL), 0);
}
