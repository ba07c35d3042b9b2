/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptions that the keeper alone had: recover.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "clock.h"
#include "description.h"
#include "heap.h"
#include "lease_talk.h"
#include "numbers.h"
#include "raw.h"
#include "reason.h"
#include "recover.h"
#include "self_maps.h"
#include "setlease.h"
#include "sole.h"

#define PAUSE_NS 500000000LL
#define SPARE	 64 /* descriptors, or a quarter of a small limit */

void recover_prepare(struct lease *lease)
{
	struct rlimit limit;
	char path[PATH_MAX];
	rlim_t spare;

	if (lease->fd < 0 || lease->is_adrift ||
	    getrlimit(RLIMIT_NOFILE, &limit))
		return;
	spare = limit.rlim_cur / 4 < SPARE ? limit.rlim_cur / 4 : SPARE;
	if ((rlim_t)lease->fd < limit.rlim_cur - spare)
		return;
	heap_put(lease->path);
	lease->path = heap_text(reason_file(lease->fd, path, sizeof(path)));
	raw_close(lease->fd);
	lease->fd = -1;
}

void recover_begin(struct lease_table *table, struct lease *lease)
{
	if (!lease->is_adrift)
		table->adrift++;
	lease->is_adrift = true;
	if (lease->phase == LEASE_LIVE)
		talk_answer_without(lease);
	own_desk_give_up(lease);
	table->recover_ns = 0;
}

static void found(struct lease_table *table, struct lease *lease, int fd)
{
	lease->fd = fd;
	lease->is_adrift = false;
	table->adrift--;
	atomic_store(&lease->is_out_of_sight, false);
	talk_ask(table, lease);
	recover_prepare(lease);
}

/*
 * Each descriptor of the program once. The one with the lease is as good as
 * ours was; another will do where none has it.
 */
static void take_descriptor(struct lease_table *table, int dir, int number,
			    bool with_lease)
{
	struct lease *lease;
	struct stat st;
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "%d", number);
	if (raw_stat_at(dir, name, &st, 0))
		return;
	lease = table_find(table, st.st_dev, st.st_ino);
	if (!lease || !lease->is_adrift || lease->fd >= 0)
		return;
	if (raw_stat_at(dir, name, &st, AT_SYMLINK_NOFOLLOW) ||
	    !(st.st_mode & S_IRUSR) ||
	    !!(st.st_mode & S_IWUSR) != (lease->type == F_WRLCK))
		return;
	fd = description_copy(table->pidfd, number);
	if (fd < 0)
		return;
	if (!raw_stat(fd, &st) && st.st_dev == lease->dev &&
	    st.st_ino == lease->ino &&
	    (!with_lease || setlease_look(fd, lease->type, NULL) >= 0))
		found(table, lease, fd);
	else
		raw_close(fd);
}

static void search_descriptors(struct lease_table *table, bool with_lease)
{
	struct numbers numbers;
	int fd;

	if (numbers_open(&numbers, AT_FDCWD, "/proc/self/fd"))
		return;
	while (table->adrift && numbers_next(&numbers, &fd) > 0)
		take_descriptor(table, numbers.fd, fd, with_lease);
	numbers_close(&numbers);
}

struct wanted {
	const struct lease *lease;
	uintptr_t addr;
};

static int is_mapping_of(const struct self_map *map, void *arg)
{
	struct wanted *wanted = arg;

	wanted->addr = map->start;
	return map->is_shared && map->dev == wanted->lease->dev &&
	       map->ino == wanted->lease->ino;
}

/* By the path that it had, else as a mapping shows it now. */
static int open_again(const struct lease *lease, struct description *ret)
{
	struct wanted wanted = {.lease = lease};
	int r;

	ret->dev = lease->dev;
	ret->ino = lease->ino;
	ret->type = lease->type;
	ret->fd = -1;
	memset(&ret->mapping, 0, sizeof(ret->mapping));
	snprintf(ret->name, sizeof(ret->name), "%s",
		 lease->path ? lease->path : "");
	r = description_open_again(ret);
	if (r != -ENOENT ||
	    self_maps_each(0, UINTPTR_MAX, is_mapping_of, &wanted) <= 0 ||
	    mapping_at(wanted.addr, &ret->mapping, ret->name))
		return r;
	return description_open_again(ret);
}

/* The kernel has the lease away from who will not hear of its break. */
void recover_tell_lost(struct lease *lease)
{
	const struct lease_observer *observer = &lease->table->config->observer;
	enum recall_state state =
		keeper_state(&lease->table->keeper, lease->id);
	struct recall_report report = {
		.from = state,
		.to = RECALL_LOST,
		.cause = RECALL_REVOKED,
		.at_ns = clock_now_ns(),
	};

	if (atomic_exchange(&lease->is_out_of_sight, true) ||
	    state == RECALL_YIELDED || state == RECALL_LOST ||
	    state == RECALL_FREE)
		return;
	lease->was_told_lost = true;
	if (observer->changed)
		observer->changed(observer->arg, lease, &report, 0);
}

static void reopen(struct lease_table *table, struct lease *lease)
{
	struct description description;
	struct wanted wanted = {.lease = lease};
	int r = open_again(lease, &description);

	if (!r) {
		/* Where that is refused the lease stays LOST until others have
		 * closed the file. */
		if (lease->type == F_WRLCK &&
		    self_maps_each(0, UINTPTR_MAX, is_mapping_of, &wanted) > 0)
			sole_make(description.fd, table->keeper.pid);
		found(table, lease, description.fd);
	} else if (lease->phase == LEASE_RELEASING &&
		   (r != -EBUSY || clock_now_ns() >= lease->deadline_ns)) {
		lease->phase = LEASE_ENDED;
		lease->error = r;
		lease->awaited = 0;
	}
}

void recover_run(struct lease_table *table)
{
	if (!table->adrift || table->is_keeper_dead ||
	    clock_now_ns() < table->recover_ns)
		return;
	search_descriptors(table, true);
	search_descriptors(table, false);
	for (uint32_t id = 0; table->adrift && id < table->ids_end; id++) {
		struct lease *lease = table->by_id[id];

		if (!lease || !lease->is_adrift)
			continue;
		if (lease->fd >= 0)
			found(table, lease, lease->fd);
		else
			reopen(table, lease);
		if (lease->is_adrift)
			recover_tell_lost(lease);
	}
	table->recover_ns = clock_now_ns() + PAUSE_NS;
}

int recover_timeout_ms(const struct lease_table *table)
{
	int64_t left_ns = table->recover_ns - clock_now_ns();

	if (!table->adrift || table->is_keeper_dead)
		return -1;
	return left_ns <= 0 ? 0 : (int)((left_ns + 999999) / 1000000);
}
