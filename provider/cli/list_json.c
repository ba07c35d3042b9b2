/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list for programs. Field names are a promise, as those of check_json.c:
 * they are in daxmr-list(1).
 */
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "clock.h"
#include "extent_page.h"
#include "json_put.h"
#include "list.h"
#include "route.h"

static void put_device(struct json_object *object, uint64_t dev)
{
	char text[32];

	snprintf(text, sizeof(text), "%u:%u", major(dev), minor(dev));
	json_put_text(object, "dev", text);
}

static void put_us(struct json_object *object, const char *name, int64_t ns)
{
	json_put_number(object, name, ns > 0 ? (uint64_t)ns / 1000 : 0);
}

static struct json_object *region_object(const struct list_process *process,
					 const struct stats_region *region)
{
	const struct stats_file *file = list_file_of(process, region);
	const struct stats_file key = {.dev = region->dev, .ino = region->ino};
	struct json_object *object = json_made(json_object_new_object());

	json_put_number(object, "address", region->addr);
	json_put_number(object, "length", region->length);
	json_put_text(object, "strategy", strategy_name(region->strategy));
	json_put_number(object, "access", region->access);
	json_put_text(object, "device", region->device);
	json_put_text(object, "file",
		      region->name[0] ? region->name
				      : list_name_of(process, &key));
	put_device(object, region->dev);
	json_put_number(object, "inode", region->ino);
	json_put_number(object, "more_files", region->more_files);
	put_us(object, "age_us", clock_now_ns() - region->since_ns);
	json_put_text(object, "state", file ? list_state_name(file) : NULL);
	json_put_number(object, "severed", region->severed);
	json_put_number(object, "keys_changed", region->keys_changed);
	return object;
}

/* In the state that it is in now, that time as well. */
static struct json_object *spent_object(const struct stats_file *file)
{
	struct json_object *object = json_made(json_object_new_object());
	struct stats_file at = {0};

	for (uint32_t i = RECALL_HELD; i < RECALL_STATES; i++) {
		at.state = i;
		put_us(object, list_state_name(&at),
		       (int64_t)list_spent_ns(file, i));
	}
	return object;
}

/* Those that have something, by their upper bound. */
static struct json_object *buckets_array(const struct stats_file *file)
{
	struct json_object *array = json_made(json_object_new_array());
	struct json_object *bucket;

	for (unsigned int i = 0; i < STATS_BUCKETS; i++) {
		if (!file->bucket[i])
			continue;
		bucket = json_made(json_object_new_object());
		json_put_number(bucket, "less_than_us", 1ULL << i);
		json_put_number(bucket, "recalls", file->bucket[i]);
		json_append(array, bucket);
	}
	return array;
}

static struct json_object *latency_object(const struct stats_file *file)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_number(object, "recalls", file->handed_over);
	json_put_number(object, "p50_us", list_quantile_us(file, 50));
	json_put_number(object, "p99_us", list_quantile_us(file, 99));
	json_put_number(object, "max_us", file->longest_ns / 1000);
	json_put_number(object, "sum_us", file->all_ns / 1000);
	json_put(object, "buckets", buckets_array(file));
	return object;
}

/* Blocks that are counted one by one, as bytes. */
static struct json_object *bytes_object(const struct stats_file *file)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_number(object, "compared", file->compared * EXTENT_BLOCK);
	json_put_number(object, "flushed", file->copied * EXTENT_BLOCK);
	json_put_number(object, "merged", file->theirs * EXTENT_BLOCK);
	return object;
}

static struct json_object *file_object(const struct list_process *process,
				       const struct stats_file *file)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_text(object, "file", list_name_of(process, file));
	put_device(object, file->dev);
	json_put_number(object, "inode", file->ino);
	json_put_text(object, "state", list_state_name(file));
	put_us(object, "age_us", clock_now_ns() - file->leased_ns);
	json_put(object, "spent_us", spent_object(file));
	json_put_number(object, "recalls", file->recalls);
	json_put_number(object, "own_opens", file->own_opens);
	json_put_number(object, "yielded", file->yielded);
	json_put_number(object, "retaken", file->retaken);
	json_put_number(object, "merged", file->merged);
	json_put_number(object, "lost", file->lost);
	json_put_number(object, "forced", file->forced);
	json_put_number(object, "changed", file->changed);
	json_put_number(object, "theirs", file->theirs);
	json_put_number(object, "conflicts", file->conflicts);
	json_put_number(object, "cut_off", file->cut_off);
	json_put_number(object, "grown", file->grown);
	json_put_number(object, "dropped", file->dropped);
	json_put_number(object, "flush_errors", file->flush_errors);
	json_put_number(object, "compared", file->compared);
	json_put_number(object, "flushed", file->copied);
	json_put_number(object, "not_written", file->failed);
	json_put(object, "bytes", bytes_object(file));
	json_put_number(object, "missed", file->missed);
	json_put(object, "latency", latency_object(file));
	return object;
}

static struct json_object *counts_object(const struct list_process *process)
{
	struct json_object *object = json_made(json_object_new_object());
	const uint64_t *count = process->count;
	const uint64_t closed_ns = list_device_sum(process, STATS_GATE_NS);

	json_put_number(object, "odp", process->registered[STRATEGY_ODP]);
	json_put_number(object, "staged", process->registered[STRATEGY_STAGED]);
	json_put_number(object, "pinned", process->registered[STRATEGY_PINNED]);
	json_put_number(object, "deregistered", count[STATS_DEREGISTERED]);
	json_put_number(object, "unlisted", count[STATS_UNLISTED]);
	json_put_number(object, "gate_closings",
			list_device_sum(process, STATS_GATE_CLOSINGS));
	put_us(object, "gate_closed_us", (int64_t)closed_ns);
	json_put_number(object, "severed",
			list_device_sum(process, STATS_SEVERED));
	json_put_number(object, "keys_changed",
			list_device_sum(process, STATS_KEYS_CHANGED));
	return object;
}

static struct json_object *left_object(const struct list_device *device)
{
	struct json_object *object = json_made(json_object_new_object());

	for (unsigned int i = GATE_DRAINED + 1; i < GATE_LEFTS; i++)
		json_put_number(object, list_left_name(i),
				device->count[STATS_DRAINED + i]);
	return object;
}

static struct json_object *device_object(const struct list_device *device)
{
	struct json_object *object = json_made(json_object_new_object());
	const uint64_t *count = device->count;

	json_put_text(object, "device", device->name);
	json_put_number(object, "gate_closings", count[STATS_GATE_CLOSINGS]);
	put_us(object, "gate_closed_us", (int64_t)count[STATS_GATE_NS]);
	json_put_number(object, "waits", count[STATS_WAITS]);
	put_us(object, "waited_us", (int64_t)count[STATS_WAITED_NS]);
	json_put_number(object, "drained", count[STATS_DRAINED]);
	json_put(object, "left", left_object(device));
	json_put_number(object, "severed", count[STATS_SEVERED]);
	json_put_number(object, "keys_changed", count[STATS_KEYS_CHANGED]);
	return object;
}

/* By the errno's name. */
static struct json_object *refused_object(const struct list_process *process)
{
	struct json_object *object = json_made(json_object_new_object());

	for (size_t i = 0; i < STATS_ERRNOS; i++)
		if (process->refused[i])
			json_put_number(object, list_errno_name(i),
					process->refused[i]);
	return object;
}

/* By the reason's name. */
static struct json_object *
refused_for_object(const struct list_process *process)
{
	struct json_object *object = json_made(json_object_new_object());

	for (unsigned int i = 0; i < REFUSALS; i++)
		if (process->refused_for[i])
			json_put_number(object, refusal_name(i),
					process->refused_for[i]);
	return object;
}

static struct json_object *refusal_object(const struct stats_refusal *refusal)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_text(object, "errno", list_errno_name(refusal->error));
	json_put_text(object, "reason",
		      refusal_name((unsigned int)refusal->reason));
	put_us(object, "age_us", clock_now_ns() - refusal->at_ns);
	json_put_text(object, "why", refusal->why[0] ? refusal->why : NULL);
	return object;
}

static struct json_object *process_object(const struct list_process *process)
{
	struct json_object *object = json_made(json_object_new_object());
	struct json_object *regions = json_made(json_object_new_array());
	struct json_object *files = json_made(json_object_new_array());
	struct json_object *devices = json_made(json_object_new_array());

	json_put_number(object, "pid", (uint64_t)process->pid);
	json_put_text(object, "command",
		      process->command[0] ? process->command : NULL);
	json_put_number(object, "uid", process->uid);
	for (size_t i = 0; i < process->regions; i++)
		json_append(regions,
			    region_object(process, &process->region[i]));
	json_put(object, "regions", regions);
	for (size_t i = 0; i < process->files; i++)
		json_append(files, file_object(process, &process->file[i]));
	json_put(object, "files", files);
	for (size_t i = 0; i < process->devices; i++)
		json_append(devices, device_object(&process->device[i]));
	json_put(object, "devices", devices);
	json_put(object, "counts", counts_object(process));
	json_put(object, "refused", refused_object(process));
	json_put(object, "refused_for", refused_for_object(process));
	if (process->last_refusal.at_ns)
		json_put(object, "last_refusal",
			 refusal_object(&process->last_refusal));
	else
		json_put_text(object, "last_refusal", NULL);
	return object;
}

int list_json(const struct list *list)
{
	struct json_object *document = json_made(json_object_new_object());
	struct json_object *processes = json_made(json_object_new_array());

	for (size_t i = 0; i < list->count; i++)
		json_append(processes, process_object(&list->process[i]));
	json_put(document, "processes", processes);
	return json_print(document);
}
