/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that is known of one region, or of all of them, as lines: top.h, list.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "clock.h"
#include "extent_page.h"
#include "route.h"
#include "top.h"
#include "utf8.h"

static void detail(struct top_page *page, const char *name, uint64_t value)
{
	top_page_add(page, TOP_PLAIN, "  %-24s %12" PRIu64, name, value);
}

static void detail_text(struct top_page *page, const char *name,
			const char *value)
{
	top_page_add(page, TOP_PLAIN, "  %-24s %12s", name, value);
}

static void detail_blocks(struct top_page *page, const char *name,
			  uint64_t blocks)
{
	detail_text(page, name, top_bytes((double)blocks * EXTENT_BLOCK).text);
}

static void draw_times(const struct stats_file *file, struct top_page *page)
{
	struct stats_file at = {0};

	for (uint32_t i = RECALL_HELD; i < RECALL_STATES; i++) {
		char name[32];

		at.state = i;
		snprintf(name, sizeof(name), "time %s", list_state_name(&at));
		detail_text(page, name,
			    top_time((int64_t)list_spent_ns(file, i)).text);
	}
}

static void draw_file(const struct stats_file *file, struct top_page *page)
{
	detail_text(page, "state", list_state_name(file));
	draw_times(file, page);
	detail(page, "recalls", file->recalls);
	if (file->handed_over) {
		detail_text(page, "  half of them within",
			    top_time((int64_t)list_quantile_us(file, 50) * 1000)
				    .text);
		detail_text(page, "  99 % within",
			    top_time((int64_t)list_quantile_us(file, 99) * 1000)
				    .text);
		detail_text(page, "  the longest",
			    top_time((int64_t)file->longest_ns).text);
	}
	detail(page, "own opens", file->own_opens);
	detail(page, "yielded", file->yielded);
	detail(page, "retaken", file->retaken);
	detail(page, "merged", file->merged);
	detail(page, "lost", file->lost);
	detail(page, "forced", file->forced);
	detail(page, "changed past daxmr", file->changed);
	detail(page, "flush errors", file->flush_errors);
	detail_blocks(page, "compared", file->compared);
	detail_blocks(page, "flushed", file->copied);
	detail_blocks(page, "not written", file->failed);
	detail_blocks(page, "others' changes", file->theirs);
	detail_blocks(page, "conflicts", file->conflicts);
	detail_blocks(page, "cut off by others", file->cut_off);
	detail_blocks(page, "grown again", file->grown);
	detail_blocks(page, "dropped beyond the end", file->dropped);
}

static void draw_refusal(const struct stats_refusal *refusal,
			 struct top_page *page)
{
	char *why = utf8_clean(refusal->why);

	if (refusal->at_ns && refusal->why[0])
		top_page_add(page, TOP_PLAIN, "  the last, %s ago: %s",
			     top_time(clock_now_ns() - refusal->at_ns).text,
			     why ? why : "?");
	free(why);
}

static void draw_device(const struct list_process *process,
			const struct list_device *device, struct top_page *page)
{
	const uint64_t *count = device->count;
	char *left = list_left(device);

	top_page_add(page, TOP_BOLD, "%d %s on %s", (int)process->pid,
		     process->command, device->name);
	detail(page, "gate closings", count[STATS_GATE_CLOSINGS]);
	detail_text(page, "gate closed for",
		    top_time((int64_t)count[STATS_GATE_NS]).text);
	detail(page, "posts that waited", count[STATS_WAITS]);
	detail_text(page, "  for, in all",
		    top_time((int64_t)count[STATS_WAITED_NS]).text);
	detail(page, "queue pairs drained", count[STATS_DRAINED]);
	detail_text(page, "  not to be drained", left ? left : "?");
	detail(page, "QPs, windows severed", count[STATS_SEVERED]);
	detail(page, "keys changed", count[STATS_KEYS_CHANGED]);
	free(left);
}

static void draw_process(const struct list_process *process,
			 struct top_page *page)
{
	top_page_add(page, TOP_BOLD, "%d %s of user %u", (int)process->pid,
		     process->command, (unsigned int)process->uid);
	for (size_t i = 0; i < STATS_ERRNOS; i++) {
		char name[48];

		if (!process->refused[i])
			continue;
		snprintf(name, sizeof(name), "refused with %s",
			 list_errno_name(i));
		detail(page, name, process->refused[i]);
	}
	for (unsigned int i = 0; i < REFUSALS; i++)
		if (process->refused_for[i]) {
			char name[48];

			snprintf(name, sizeof(name), "  for %s",
				 refusal_name(i));
			detail(page, name, process->refused_for[i]);
		}
	draw_refusal(&process->last_refusal, page);
	for (size_t i = 0; i < process->devices; i++)
		draw_device(process, &process->device[i], page);
}

/* Beside its file. */
static void draw_region(const struct top_row *row, struct top_page *page)
{
	char *access = list_access(row->region->access);
	char *name = top_row_file(row);

	top_page_add(page, TOP_BOLD, "%d %s, %s on %s: %s",
		     (int)row->process->pid, row->process->command,
		     strategy_name(row->region->strategy), row->region->device,
		     name ? name : "?");
	top_page_add(page, TOP_PLAIN,
		     "  %s at %#" PRIx64 ", access %s, registered %s ago",
		     top_bytes((double)row->region->length).text,
		     row->region->addr, access ? access : "?",
		     top_time(clock_now_ns() - row->region->since_ns).text);
	free(name);
	free(access);
	if (row->region->strategy == STRATEGY_PINNED) {
		detail(page, "QPs, windows severed", row->region->severed);
		detail(page, "keys changed", row->region->keys_changed);
	}
}

void top_details(const struct top_view *view, const struct top_rows *rows,
		 struct top_page *page)
{
	const struct top_row *row;

	if (!rows->count) {
		top_page_add(page, TOP_PLAIN, "There is no region.");
		return;
	}
	row = &rows->row[view->selected];
	draw_region(row, page);
	if (row->file)
		draw_file(row->file, page);
	draw_process(row->process, page);
}

/* What several regions have in common once. */
static void draw_all(const struct list_process *process, struct top_page *page)
{
	struct top_row row = {.process = process};

	for (size_t i = 0; i < process->regions; i++) {
		row.region = &process->region[i];
		draw_region(&row, page);
	}
	for (size_t i = 0; i < process->files; i++) {
		const struct stats_file *file = &process->file[i];
		const struct stats_region key = {.dev = file->dev,
						 .ino = file->ino};
		char *name;

		row.region = &key;
		name = top_row_file(&row);
		top_page_add(page, TOP_BOLD, "%d %s: %s", (int)process->pid,
			     process->command, name ? name : "?");
		free(name);
		draw_file(file, page);
	}
	draw_process(process, page);
}

int list_long(const struct list *list)
{
	struct top_page page = {0};
	int status;

	for (size_t i = 0; i < list->count; i++)
		draw_all(&list->process[i], &page);
	status = top_page_print(&page);
	top_page_free(&page);
	return status == CLI_OK ? 0 : -ENOMEM;
}
