/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line for each region: list.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "list.h"
#include "route.h"
#include "top.h"
#include "utf8.h"

static void print_clean(const char *text)
{
	char *copy = utf8_clean(text);

	fputs(copy ? copy : "?", stdout);
	free(copy);
}

static void print_file(const struct list_process *process,
		       const struct stats_region *region)
{
	const struct stats_file file = {.dev = region->dev, .ino = region->ino};
	const char *name =
		region->name[0] ? region->name : list_name_of(process, &file);

	if (name)
		print_clean(name);
	else
		printf("inode %" PRIu64 " of %u:%u", region->ino,
		       major(region->dev), minor(region->dev));
	if (region->more_files)
		printf(" and %u more", region->more_files);
	putchar('\n');
}

static void print_region(const struct list_process *process,
			 const struct stats_region *region)
{
	const struct stats_file *file = list_file_of(process, region);

	printf("%7d ", (int)process->pid);
	printf("%-15.15s ", process->command[0] ? process->command : "-");
	printf("%-8s %-8s %12" PRIu64 " ", strategy_name(region->strategy),
	       file ? list_state_name(file) : "-", region->length);
	if (file && file->handed_over)
		printf("%7" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " ",
		       file->recalls, list_quantile_us(file, 50),
		       list_quantile_us(file, 99), file->longest_ns / 1000);
	else
		printf("%7" PRIu64 " %9s %9s %9s ", file ? file->recalls : 0,
		       "-", "-", "-");
	printf("%-8s ", region->device);
	print_file(process, region);
}

/* What there is no region of. */
static void print_refused(const struct list_process *process)
{
	char *refused, *reasons;

	if (!process->last_refusal.at_ns)
		return;
	refused = list_refused(process->refused);
	reasons = list_refused_for(process->refused_for);
	printf("%7d %-15.15s was refused: %s; for: %s", (int)process->pid,
	       process->command[0] ? process->command : "-",
	       refused ? refused : "?", reasons ? reasons : "?");
	free(refused);
	free(reasons);
	if (process->last_refusal.why[0]) {
		fputs("; the last: ", stdout);
		print_clean(process->last_refusal.why);
	}
	putchar('\n');
}

/* What pinned regions came to; nothing where no gate was closed. */
static void print_devices(const struct list_process *process)
{
	for (size_t i = 0; i < process->devices; i++) {
		const struct list_device *device = &process->device[i];
		const uint64_t *count = device->count;
		char *left = list_left(device);

		printf("%7d %-15.15s on %s: gate closings %" PRIu64
		       ", for %s; posts that waited %" PRIu64,
		       (int)process->pid,
		       process->command[0] ? process->command : "-",
		       device->name, count[STATS_GATE_CLOSINGS],
		       top_time((int64_t)count[STATS_GATE_NS]).text,
		       count[STATS_WAITS]);
		printf(", for %s; QPs drained %" PRIu64
		       ", not drained: %s; severed %" PRIu64
		       "; keys changed %" PRIu64 "\n",
		       top_time((int64_t)count[STATS_WAITED_NS]).text,
		       count[STATS_DRAINED], left ? left : "?",
		       count[STATS_SEVERED], count[STATS_KEYS_CHANGED]);
		free(left);
	}
}

void list_text(const struct list *list)
{
	puts("    PID COMMAND         STRATEGY STATE           BYTES RECALLS "
	     "   P50(us)   P99(us)   MAX(us) DEVICE   FILE");
	for (size_t i = 0; i < list->count; i++)
		for (size_t j = 0; j < list->process[i].regions; j++)
			print_region(&list->process[i],
				     &list->process[i].region[j]);
	for (size_t i = 0; i < list->count; i++)
		print_devices(&list->process[i]);
	for (size_t i = 0; i < list->count; i++)
		print_refused(&list->process[i]);
}
