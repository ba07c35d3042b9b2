/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list as Prometheus' text format (version 0.0.4): one metric after
 * another, each with all its samples. Names and labels are in daxmr-list(1).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "extent_page.h"
#include "list.h"
#include "route.h"
#include "utf8.h"

static bool failed;

static void head(const char *name, const char *type, const char *help)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_label(const char *name, const char *text)
{
	char *copy = utf8_copy(text);

	failed |= !copy;
	printf(",%s=\"", name);
	for (const char *at = copy; at && *at; at++)
		if (*at == '\n')
			fputs("\\n", stdout);
		else
			printf(*at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
	putchar('"');
	free(copy);
}

static void begin(const char *name, const struct list_process *process)
{
	printf("%s{pid=\"%d\"", name, (int)process->pid);
	print_label("command", process->command);
}

static void end(uint64_t value)
{
	printf("} %" PRIu64 "\n", value);
}

static void end_seconds(uint64_t ns)
{
	printf("} %" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000,
	       ns % 1000000000);
}

static void begin_file(const char *name, const struct list_process *process,
		       const struct stats_file *file)
{
	const char *path = list_name_of(process, file);

	begin(name, process);
	print_label("file", path ? path : "");
	printf(",dev=\"%u:%u\",inode=\"%" PRIu64 "\"", major(file->dev),
	       minor(file->dev), file->ino);
}

/* Of a pointer that is declared before. */
#define EACH_PROCESS(list, process)                                            \
	for ((process) = (list)->process;                                      \
	     (process) < (list)->process + (list)->count; (process)++)
#define EACH_DEVICE(of, at)                                                    \
	for ((at) = (of)->device; (at) < (of)->device + (of)->devices; (at)++)
#define EACH_FILE(of, file)                                                    \
	for ((file) = (of)->file; (file) < (of)->file + (of)->files; (file)++)

static void begin_region(const char *name, const struct list_process *process,
			 size_t at)
{
	const struct stats_region *region = &process->region[at];
	const struct stats_file key = {.dev = region->dev, .ino = region->ino};
	const char *path = list_name_of(process, &key);

	begin(name, process);
	printf(",address=\"%#" PRIx64 "\",strategy=\"%s\"", region->addr,
	       strategy_name(region->strategy));
	print_label("device", region->device);
	print_label("file", path ? path : "");
	printf(",region=\"%zu\"", at);
}

/* The number of that name of each region, or of those that are pinned. */
static void region_numbers(const struct list *list, const char *name, size_t at,
			   bool all)
{
	const struct list_process *process;
	uint64_t value;

	EACH_PROCESS(list, process)
	for (size_t i = 0; i < process->regions; i++) {
		const struct stats_region *region = &process->region[i];

		if (!all && region->strategy != STRATEGY_PINNED)
			continue;
		memcpy(&value, (const char *)region + at, sizeof(value));
		begin_region(name, process, i);
		end(value);
	}
}

static void regions(const struct list *list)
{
	head("daxmr_region_bytes", "gauge", "Length of each region.");
	region_numbers(list, "daxmr_region_bytes",
		       offsetof(struct stats_region, length), true);
	head("daxmr_region_severed_total", "counter",
	     "Queue pairs and windows cut off with each pinned region.");
	region_numbers(list, "daxmr_region_severed_total",
		       offsetof(struct stats_region, severed), false);
	head("daxmr_region_keys_changed_total", "counter",
	     "How often the key of each pinned region changed.");
	region_numbers(list, "daxmr_region_keys_changed_total",
		       offsetof(struct stats_region, keys_changed), false);
}

static void refusals(const struct list *list)
{
	const struct list_process *process;

	head("daxmr_refusals_total", "counter",
	     "Registrations that failed, by reason.");
	EACH_PROCESS(list, process)
	for (unsigned int i = 0; i < REFUSALS; i++) {
		if (!process->refused_for[i])
			continue;
		begin("daxmr_refusals_total", process);
		print_label("reason", refusal_name(i));
		end(process->refused_for[i]);
	}
	head("daxmr_refusals_by_errno_total", "counter", "The same, by errno.");
	EACH_PROCESS(list, process)
	for (size_t i = 0; i < STATS_ERRNOS; i++) {
		if (!process->refused[i])
			continue;
		begin("daxmr_refusals_by_errno_total", process);
		print_label("errno", list_errno_name(i));
		end(process->refused[i]);
	}
}

static void registrations(const struct list *list)
{
	const struct list_process *process;
	static const enum strategy strategies[] = {
		STRATEGY_ODP, STRATEGY_STAGED, STRATEGY_PINNED};
	const size_t count = sizeof(strategies) / sizeof(strategies[0]);

	head("daxmr_registrations_total", "counter",
	     "Registrations of files, by strategy.");
	EACH_PROCESS(list, process)
	for (size_t i = 0; i < count; i++) {
		begin("daxmr_registrations_total", process);
		printf(",strategy=\"%s\"", strategy_name(strategies[i]));
		end(process->registered[strategies[i]]);
	}
	refusals(list);
}

static void process_counts(const struct list *list)
{
	const struct list_process *process;
	static const struct {
		const char *name;
		const char *help;
	} counts[STATS_COUNTS] = {
		[STATS_DEREGISTERED] = {"daxmr_deregistrations_total",
					"Regions that were given up."},
		[STATS_UNLISTED] = {"daxmr_unlisted_total",
				    "Regions that there was no room to list."},
	};

	for (int i = 0; i < STATS_COUNTS; i++) {
		head(counts[i].name, "counter", counts[i].help);
		EACH_PROCESS(list, process)
		{
			begin(counts[i].name, process);
			end(process->count[i]);
		}
	}
}

static void begin_device(const char *name, const struct list_process *process,
			 const struct list_device *device)
{
	begin(name, process);
	print_label("device", device->name);
}

/* Not drained, by reason. */
static void left(const struct list *list)
{
	const struct list_process *process;
	const struct list_device *device;

	head("daxmr_left_total", "counter",
	     "Queue pairs that could not be drained, by reason.");
	EACH_PROCESS(list, process)
	EACH_DEVICE(process, device)
	for (unsigned int i = GATE_DRAINED + 1; i < GATE_LEFTS; i++) {
		begin_device("daxmr_left_total", process, device);
		print_label("reason", list_left_name(i));
		end(device->count[STATS_DRAINED + i]);
	}
}

static void device_counts(const struct list *list)
{
	const struct list_process *process;
	const struct list_device *device;
	static const struct {
		const char *name;
		const char *help;
	} counts[STATS_DRAINED + 1] = {
		[STATS_GATE_CLOSINGS] = {"daxmr_gate_closings_total",
					 "How often a gate was closed."},
		[STATS_GATE_NS] = {"daxmr_gate_closed_seconds_total",
				   "For how long gates were closed."},
		[STATS_WAITS] = {"daxmr_gate_waits_total",
				 "Posts that had to wait at a gate."},
		[STATS_WAITED_NS] = {"daxmr_gate_waited_seconds_total",
				     "For how long posts waited."},
		[STATS_KEYS_CHANGED] = {"daxmr_keys_changed_total",
					"Keys of regions that changed."},
		[STATS_SEVERED] = {"daxmr_severed_total",
				   "QPs and windows that were cut off."},
		[STATS_DRAINED] = {"daxmr_drained_total",
				   "Queue pairs that were drained."},
	};

	for (int i = 0; i <= STATS_DRAINED; i++) {
		head(counts[i].name, "counter", counts[i].help);
		EACH_PROCESS(list, process)
		EACH_DEVICE(process, device)
		{
			begin_device(counts[i].name, process, device);
			if (i == STATS_GATE_NS || i == STATS_WAITED_NS)
				end_seconds(device->count[i]);
			else
				end(device->count[i]);
		}
	}
	left(list);
}

static void states(const struct list *list)
{
	const struct list_process *process;
	const struct stats_file *file;
	struct stats_file at = {0};

	head("daxmr_file_state", "gauge", "1 for the state of each lease.");
	EACH_PROCESS(list, process)
	EACH_FILE(process, file)
	{
		begin_file("daxmr_file_state", process, file);
		print_label("state", list_state_name(file));
		end(1);
	}
	head("daxmr_file_state_seconds_total", "counter",
	     "The time of each lease in each state.");
	EACH_PROCESS(list, process)
	EACH_FILE(process, file)
	for (at.state = RECALL_HELD; at.state < RECALL_STATES; at.state++) {
		begin_file("daxmr_file_state_seconds_total", process, file);
		print_label("state", list_state_name(&at));
		end_seconds(list_spent_ns(file, at.state));
	}
}

static void file_counts(const struct list *list)
{
	const struct list_process *process;
	const struct stats_file *file;
#define COUNT(name, field, unit, help)                                         \
	{                                                                      \
		"daxmr_file_" name "_total",                                   \
			offsetof(struct stats_file, field), unit, help         \
	}
	static const struct {
		const char *name;
		size_t at;
		unsigned int unit;
		const char *help;
	} counts[] = {
		COUNT("recalls", recalls, 1, "Others wanted the file."),
		COUNT("own_opens", own_opens, 1,
		      "The program opened it again."),
		COUNT("yielded", yielded, 1, "It was handed over."),
		COUNT("retaken", retaken, 1, "It was taken again."),
		COUNT("merged", merged, 1, "What others did was merged."),
		COUNT("lost", lost, 1, "The kernel took the lease."),
		COUNT("forced", forced, 1,
		      "Handed over before all was written."),
		COUNT("changed", changed, 1, "Changed past daxmr."),
		COUNT("theirs", theirs, 1, "Blocks that others changed."),
		COUNT("conflicts", conflicts, 1, "Blocks that both did."),
		COUNT("cut_off", cut_off, 1, "Blocks that others cut off."),
		COUNT("grown", grown, 1, "Blocks beyond the end, kept."),
		COUNT("dropped", dropped, 1, "Blocks beyond the end, dropped."),
		COUNT("flush_errors", flush_errors, 1, "Flushing failed."),
		COUNT("compared", compared, 1, "Blocks that were compared."),
		COUNT("flushed", copied, 1, "Blocks that were written."),
		COUNT("not_written", failed, 1, "Blocks that could not be."),
		COUNT("compared_bytes", compared, EXTENT_BLOCK,
		      "Bytes that were compared."),
		COUNT("flushed_bytes", copied, EXTENT_BLOCK,
		      "Bytes that were written."),
		COUNT("merged_bytes", theirs, EXTENT_BLOCK,
		      "Bytes in blocks that others changed."),
	};
#undef COUNT
	uint64_t value;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		head(counts[i].name, "counter", counts[i].help);
		EACH_PROCESS(list, process)
		EACH_FILE(process, file)
		{
			memcpy(&value, (const char *)file + counts[i].at,
			       sizeof(value));
			begin_file(counts[i].name, process, file);
			end(value * counts[i].unit);
		}
	}
}

static void latency(const struct list_process *process,
		    const struct stats_file *file)
{
	uint64_t seen = 0, us = 1;

	for (size_t i = 0; i < STATS_BUCKETS - 1; i++, us *= 2) {
		seen += file->bucket[i];
		begin_file("daxmr_file_recall_seconds_bucket", process, file);
		printf(",le=\"%" PRIu64 ".%06" PRIu64 "\"", us / 1000000,
		       us % 1000000);
		end(seen);
	}
	seen += file->bucket[STATS_BUCKETS - 1];
	begin_file("daxmr_file_recall_seconds_bucket", process, file);
	print_label("le", "+Inf");
	end(seen);
	begin_file("daxmr_file_recall_seconds_sum", process, file);
	end_seconds(file->all_ns);
	begin_file("daxmr_file_recall_seconds_count", process, file);
	end(seen);
}

int list_prometheus(const struct list *list)
{
	const struct list_process *process;
	const struct stats_file *file;

	regions(list);
	registrations(list);
	process_counts(list);
	device_counts(list);
	states(list);
	file_counts(list);
	head("daxmr_file_recall_seconds", "histogram",
	     "From a recall to the file being free.");
	EACH_PROCESS(list, process)
	EACH_FILE(process, file)
	latency(process, file);
	head("daxmr_file_recall_longest_seconds", "gauge",
	     "The longest of these.");
	EACH_PROCESS(list, process)
	EACH_FILE(process, file)
	{
		begin_file("daxmr_file_recall_longest_seconds", process, file);
		end_seconds(file->longest_ns);
	}
	return failed ? -ENOMEM : 0;
}
