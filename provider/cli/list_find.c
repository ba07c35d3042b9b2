/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of running processes: list.h. Those that come or go meanwhile are there
 * or not; what is in a page may be anything, as its owner can write to it.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "clock.h"
#include "list.h"

/* A slot that is written just now is looked at again. */
#define TRIES 100

static struct list_process *process_of(struct list *list, pid_t pid, uid_t uid)
{
	struct list_process *process;

	for (size_t i = 0; i < list->count; i++)
		if (list->process[i].pid == pid)
			return &list->process[i];
	process =
		reallocarray(list->process, list->count + 1, sizeof(*process));
	if (!process)
		return NULL;
	list->process = process;
	process += list->count++;
	*process = (struct list_process){.pid = pid, .uid = uid};
	return process;
}

static bool read_slot(const _Atomic uint64_t *sequence,
		      const _Atomic uint64_t *word, void *ret, size_t words)
{
	for (int i = 0; i < TRIES; i++) {
		if (stats_slot_read(sequence, word, ret, words))
			return true;
		sched_yield();
	}
	return false;
}

/* Room for a page's more. */
static bool make_room(struct list_process *process)
{
	struct stats_region *region =
		reallocarray(process->region, process->regions + STATS_SLOTS,
			     sizeof(*region));
	struct stats_file *file;

	if (region)
		process->region = region;
	file = reallocarray(process->file, process->files + STATS_SLOTS,
			    sizeof(*file));
	if (file)
		process->file = file;
	return region && file;
}

/* For tables and labels: what is not printable ASCII is not there. */
static void make_printable(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			*text = '?';
}

static void read_slots(const struct stats_page *page,
		       struct list_process *process)
{
	struct stats_region *region;
	struct stats_file *file;

	for (size_t i = 0; i < STATS_SLOTS; i++) {
		region = &process->region[process->regions];
		if (read_slot(&page->region[i].sequence, page->region[i].word,
			      region, STATS_WORDS(*region)) &&
		    region->is_there && region->strategy < STRATEGIES) {
			region->name[sizeof(region->name) - 1] = '\0';
			make_printable(region->device, sizeof(region->device));
			process->regions++;
		}
		file = &process->file[process->files];
		if (read_slot(&page->file[i].sequence, page->file[i].word, file,
			      STATS_WORDS(*file)) &&
		    file->is_there && file->state < RECALL_STATES)
			process->files++;
	}
}

/* The last of the process: its first page has it. */
static void read_refusal(const struct stats_page *page,
			 struct list_process *process)
{
	struct stats_refusal *refusal = &process->last_refusal;

	if (page->number)
		return;
	if (!read_slot(&page->refusal.sequence, page->refusal.word, refusal,
		       STATS_WORDS(*refusal)) ||
	    refusal->error >= STATS_ERRNOS || refusal->reason >= REFUSALS)
		*refusal = (struct stats_refusal){0};
	refusal->why[sizeof(refusal->why) - 1] = '\0';
}

static void read_devices(const struct stats_page *page,
			 struct list_process *process)
{
	const struct stats_device *from = page->device;
	struct list_device *to = process->device;

	if (page->number || process->devices)
		return;
	for (; process->devices < STATS_DEVICES &&
	       atomic_load_explicit(&from->is_there, memory_order_acquire);
	     process->devices++, from++, to++) {
		memcpy(to->name, from->name, sizeof(to->name));
		make_printable(to->name, sizeof(to->name));
		for (size_t i = 0; i < STATS_DEVICE_COUNTS; i++)
			to->count[i] = atomic_load_explicit(
				&from->count[i], memory_order_relaxed);
	}
}

static void add_counts(const _Atomic uint64_t *from, uint64_t *to, size_t count)
{
	for (size_t i = 0; i < count; i++)
		to[i] += atomic_load_explicit(&from[i], memory_order_relaxed);
}

/* 0, or -ENOMEM. Half-made pages have no magic yet. */
static int read_page(const struct stats_page *page, pid_t pid, uid_t uid,
		     struct list *list)
{
	struct list_process *process;

	if (atomic_load_explicit(&page->magic, memory_order_acquire) !=
		    STATS_MAGIC ||
	    page->version != STATS_VERSION)
		return 0;
	process = process_of(list, pid, uid);
	if (!process || !make_room(process))
		return -ENOMEM;
	add_counts(page->registered, process->registered, STRATEGIES);
	add_counts(page->count, process->count, STATS_COUNTS);
	add_counts(page->refused, process->refused, STATS_ERRNOS);
	add_counts(page->refused_for, process->refused_for, REFUSALS);
	read_devices(page, process);
	read_refusal(page, process);
	read_slots(page, process);
	return 0;
}

static void read_command(struct list_process *process)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)process->pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(process->command, sizeof(process->command), file))
		process->command[strcspn(process->command, "\n")] = '\0';
	make_printable(process->command, sizeof(process->command));
	fclose(file);
}

/* Ours are marked for removal as soon as they are attached. */
static bool is_ours(const char *line, long long *ret_id, long *ret_pid,
		    unsigned long *ret_uid)
{
	unsigned long long size, attached;
	unsigned int mode;
	long key;

	return sscanf(line, "%ld %lld %o %llu %ld %*d %llu %lu", &key, ret_id,
		      &mode, &size, ret_pid, &attached, ret_uid) == 7 &&
	       key == IPC_PRIVATE && mode & SHM_DEST && attached &&
	       size == sizeof(struct stats_page) && *ret_pid > 0;
}

static bool is_wanted(const pid_t *pids, size_t count, pid_t pid)
{
	size_t i = 0;

	while (i < count && pids[i] != pid)
		i++;
	return !count || i < count;
}

static int look_at(int id, pid_t pid, uid_t uid, struct list *list)
{
	const struct stats_page *page;
	int r;

	/* Another reader may be what has it still. */
	if (kill(pid, 0) && errno == ESRCH)
		return 0;
	page = shmat(id, NULL, SHM_RDONLY);
	if (page == (void *)-1) {
		list->hidden += errno == EACCES;
		return 0;
	}
	r = read_page(page, pid, uid, list);
	shmdt(page);
	return r;
}

static int by_pid(const void *a, const void *b)
{
	const struct list_process *left = a, *right = b;

	return (left->pid > right->pid) - (left->pid < right->pid);
}

static int by_address(const void *a, const void *b)
{
	const struct stats_region *left = a, *right = b;

	return (left->addr > right->addr) - (left->addr < right->addr);
}

static void sort(struct list *list)
{
	if (list->count)
		qsort(list->process, list->count, sizeof(*list->process),
		      by_pid);
	for (size_t i = 0; i < list->count; i++) {
		struct list_process *process = &list->process[i];

		read_command(process);
		if (process->regions)
			qsort(process->region, process->regions,
			      sizeof(*process->region), by_address);
	}
}

int list_find(const pid_t *pids, size_t count, struct list *ret)
{
	FILE *file = fopen("/proc/sysvipc/shm", "re");
	unsigned long uid;
	char line[512];
	long long id;
	long pid;
	int r = 0;

	if (!file)
		return -errno;
	*ret = (struct list){0};
	while (!r && fgets(line, sizeof(line), file))
		if (is_ours(line, &id, &pid, &uid) &&
		    is_wanted(pids, count, (pid_t)pid))
			r = look_at((int)id, (pid_t)pid, (uid_t)uid, ret);
	fclose(file);
	sort(ret);
	if (r)
		list_free(ret);
	return r;
}

void list_free(struct list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->process[i].region);
		free(list->process[i].file);
	}
	free(list->process);
	*list = (struct list){0};
}

const struct stats_file *list_file_of(const struct list_process *process,
				      const struct stats_region *region)
{
	if (region->strategy != STRATEGY_STAGED &&
	    region->strategy != STRATEGY_PINNED)
		return NULL;
	for (size_t i = 0; i < process->files; i++)
		if (process->file[i].dev == region->dev &&
		    process->file[i].ino == region->ino)
			return &process->file[i];
	return NULL;
}

const char *list_name_of(const struct list_process *process,
			 const struct stats_file *file)
{
	for (size_t i = 0; i < process->regions; i++)
		if (process->region[i].dev == file->dev &&
		    process->region[i].ino == file->ino &&
		    process->region[i].name[0])
			return process->region[i].name;
	return NULL;
}

const char *list_state_name(const struct stats_file *file)
{
	static const char *const names[RECALL_STATES] = {
		[RECALL_FREE] = "free",		[RECALL_HELD] = "held",
		[RECALL_BREAKING] = "breaking", [RECALL_YIELDED] = "yielded",
		[RECALL_MERGING] = "merging",	[RECALL_LOST] = "lost",
	};

	return names[file->state];
}

uint64_t list_spent_ns(const struct stats_file *file, uint64_t state)
{
	int64_t now_ns = file->state == state ? clock_now_ns() : 0;

	return file->spent_ns[state] +
	       (now_ns > file->since_ns ? (uint64_t)(now_ns - file->since_ns)
					: 0);
}

uint64_t list_quantile_us(const struct stats_file *file, unsigned int percent)
{
	uint64_t all = 0, seen = 0, longest_us = file->longest_ns / 1000;

	for (size_t i = 0; i < STATS_BUCKETS; i++)
		all += file->bucket[i];
	if (!all)
		return 0;
	for (size_t i = 0; i < STATS_BUCKETS; i++) {
		seen += file->bucket[i];
		if (seen * 100 >= all * percent)
			return 1ULL << i < longest_us ? 1ULL << i : longest_us;
	}
	return longest_us;
}
