/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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

	if (trap_open(&trap)) {
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
	struct mapping mapping;
	struct stat st;

	assert_int_equal(mapping_at((uintptr_t)at, &mapping, NULL), 0);
	assert_int_equal(stat(file->path, &st), 0);
	return mapping.dev == st.st_dev && mapping.ino == st.st_ino;
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
