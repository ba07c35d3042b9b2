/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The screens of daxmr top, as lines: top.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "clock.h"
#include "extent_page.h"
#include "route.h"
#include "top.h"
#include "utf8.h"

/* Lines above the rows, with that of the titles. */
#define HEAD 5

/* Where the screen is narrower than that two are left out, for the file. */
#define WIDE 100

struct sums {
	uint64_t bytes;
	uint64_t regions[STRATEGIES];
	uint64_t files[RECALL_STATES];
	uint64_t recalls, forced, lost, conflicts, copied;
	uint64_t refused[STATS_ERRNOS];
};

static void add_process(struct sums *sums, const struct list_process *process)
{
	for (size_t i = 0; i < process->regions; i++) {
		sums->bytes += process->region[i].length;
		sums->regions[process->region[i].strategy]++;
	}
	for (size_t i = 0; i < process->files; i++) {
		const struct stats_file *file = &process->file[i];

		sums->files[file->state]++;
		sums->recalls += file->recalls;
		sums->forced += file->forced;
		sums->lost += file->lost;
		sums->conflicts += file->conflicts;
		sums->copied += file->copied;
	}
	for (int i = 0; i < STATS_ERRNOS; i++)
		sums->refused[i] += process->refused[i];
}

static struct sums sums_of(const struct list *list)
{
	struct sums sums = {0};

	for (size_t i = 0; i < list->count; i++)
		add_process(&sums, &list->process[i]);
	return sums;
}

static void draw_sums(const struct top_view *view, const struct top_rows *rows,
		      struct top_page *page)
{
	struct sums sums = sums_of(&rows->list);
	char *refused = list_refused(sums.refused);
	time_t now = time(NULL);
	char at[16] = "";
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(at, sizeof(at), "%H:%M:%S", &tm);
	top_page_add(page, TOP_BOLD,
		     "daxmr top - %s, every %.1f s, by %s%s: %zu process%s, "
		     "%zu region%s, %s",
		     at, (double)view->delay_ns / 1e9,
		     top_column_title(view->order.by),
		     view->order.is_turned ? " turned round" : "",
		     rows->list.count, rows->list.count == 1 ? "" : "es",
		     rows->count, rows->count == 1 ? "" : "s",
		     top_bytes((double)sums.bytes).text);
	top_page_add(page, TOP_PLAIN,
		     "Regions: %" PRIu64 " odp, %" PRIu64 " staged, %" PRIu64
		     " pinned; registrations refused: %s",
		     sums.regions[STRATEGY_ODP], sums.regions[STRATEGY_STAGED],
		     sums.regions[STRATEGY_PINNED],
		     !refused	  ? "?"
		     : refused[0] ? refused
				  : "none");
	free(refused);
	top_page_add(page, TOP_PLAIN,
		     "Files: %" PRIu64 " held, %" PRIu64 " breaking, %" PRIu64
		     " yielded, %" PRIu64 " merging, %" PRIu64 " lost",
		     sums.files[RECALL_HELD], sums.files[RECALL_BREAKING],
		     sums.files[RECALL_YIELDED], sums.files[RECALL_MERGING],
		     sums.files[RECALL_LOST]);
	top_page_add(page, TOP_PLAIN,
		     "Recalls: %" PRIu64 ", forced %" PRIu64 ", lost %" PRIu64
		     "; conflicts: %" PRIu64 "; flushed: %s",
		     sums.recalls, sums.forced, sums.lost, sums.conflicts,
		     top_bytes((double)sums.copied * EXTENT_BLOCK).text);
}

char *top_row_file(const struct top_row *row)
{
	const struct stats_region *region = row->region;
	const struct stats_file key = {.dev = region->dev, .ino = region->ino};
	const char *name = region->name[0] ? region->name
					   : list_name_of(row->process, &key);
	char *clean = name ? utf8_clean(name) : NULL, *text = NULL;
	char more[32] = "";
	int length;

	if (name && !clean)
		return NULL;
	if (region->more_files)
		snprintf(more, sizeof(more), " and %u more",
			 region->more_files);
	length = name ? asprintf(&text, "%s%s", clean, more)
		      : asprintf(&text, "inode %" PRIu64 " of %u:%u%s",
				 region->ino, major(region->dev),
				 minor(region->dev), more);
	free(clean);
	return length < 0 ? NULL : text;
}

static void add_cells(const struct top_view *view, enum top_style style,
		      const char *const cell[TOP_COLUMNS],
		      struct top_page *page)
{
	if (view->width && view->width < WIDE)
		top_page_add(
			page, style, "%7s %-8.8s %-8s %-8s %6s %5s %5s %7s %s",
			cell[TOP_PID], cell[TOP_COMMAND], cell[TOP_STRATEGY],
			cell[TOP_STATE], cell[TOP_SIZE], cell[TOP_RATE],
			cell[TOP_P99], cell[TOP_FLUSHED], cell[TOP_FILE]);
	else
		top_page_add(
			page, style,
			"%7s %-10.10s %-8s %-8s %5s %6s %7s %6s %6s %7s %s",
			cell[TOP_PID], cell[TOP_COMMAND], cell[TOP_STRATEGY],
			cell[TOP_STATE], cell[TOP_FOR], cell[TOP_SIZE],
			cell[TOP_RECALLS], cell[TOP_RATE], cell[TOP_P99],
			cell[TOP_FLUSHED], cell[TOP_FILE]);
}

static void draw_row(const struct top_view *view, const struct top_row *row,
		     enum top_style style, struct top_page *page)
{
	const struct stats_file *file = row->file;
	char pid[16], recalls[24] = "-", *name = top_row_file(row);
	struct top_number since = {"-"}, p99 = {"-"};
	struct top_number size = top_bytes((double)row->region->length);
	struct top_number rate = top_rate(row->recalls);
	struct top_number flushed = top_bytes(row->flushed);

	snprintf(pid, sizeof(pid), "%d", (int)row->process->pid);
	if (file) {
		snprintf(recalls, sizeof(recalls), "%" PRIu64, file->recalls);
		since = top_time(clock_now_ns() - file->since_ns);
	}
	if (file && file->handed_over)
		p99 = top_time((int64_t)list_quantile_us(file, 99) * 1000);
	add_cells(view, style,
		  (const char *const[TOP_COLUMNS]){
			  [TOP_PID] = pid,
			  [TOP_COMMAND] = row->process->command[0]
						  ? row->process->command
						  : "-",
			  [TOP_STRATEGY] = strategy_name(row->region->strategy),
			  [TOP_STATE] = file ? list_state_name(file) : "-",
			  [TOP_FOR] = since.text,
			  [TOP_SIZE] = size.text,
			  [TOP_RECALLS] = recalls,
			  [TOP_RATE] = rate.text,
			  [TOP_P99] = p99.text,
			  [TOP_FLUSHED] = flushed.text,
			  [TOP_FILE] = name ? name : "?",
		  },
		  page);
	free(name);
}

static void draw_table(struct top_view *view, const struct top_rows *rows,
		       size_t height, struct top_page *page)
{
	size_t room = rows->count;
	const char *title[TOP_COLUMNS];

	draw_sums(view, rows, page);
	for (int i = 0; i < TOP_COLUMNS; i++)
		title[i] = top_column_title(i);
	add_cells(view, height ? TOP_REVERSE : TOP_PLAIN, title, page);
	if (height) {
		room = height > HEAD ? height - HEAD : 1;
		view->room = room;
		/* No more of the screen is empty than has to be. */
		if (view->first + room > rows->count)
			view->first =
				rows->count > room ? rows->count - room : 0;
		if (view->first > view->selected)
			view->first = view->selected;
		if (view->selected >= view->first + room)
			view->first = view->selected - room + 1;
	}
	for (size_t i = 0; i < room && view->first + i < rows->count; i++)
		draw_row(view, &rows->row[view->first + i],
			 height && view->first + i == view->selected
				 ? TOP_REVERSE
				 : TOP_PLAIN,
			 page);
}

static void draw_help(struct top_page *page)
{
	static const char *const lines[] = {
		"  Up Down PgUp PgDn Home End   select a region",
		"  Left Right                   see what is left or right",
		"  Enter                        all of the region; back",
		"  < >                          sort by the column beside",
		"  N M T P                      sort by PID, SIZE, FOR, RCL/S",
		"  R                            sort the other way round",
		"  Space                        look now",
		"  d s                          seconds between two looks",
		"  h ?                          this text; back",
		"  q Ctrl-C                     back, quit",
	};

	top_page_add(page, TOP_BOLD, "Keys of daxmr top");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		top_page_add(page, TOP_PLAIN, "%s", lines[i]);
}

/* Of a longer screen what is on it from view->first on. */
static void cut(struct top_view *view, size_t height, struct top_page *page)
{
	size_t first, kept;

	if (view->first + height > page->count)
		view->first = page->count > height ? page->count - height : 0;
	first = view->first;
	kept = page->count - first < height ? page->count - first : height;
	for (size_t i = 0; i < page->count; i++)
		if (i < first || i >= first + kept)
			free(page->line[i].text);
	if (kept)
		memmove(page->line, page->line + first,
			kept * sizeof(*page->line));
	page->count = kept;
}

void top_draw(struct top_view *view, const struct top_rows *rows, size_t height,
	      struct top_page *page)
{
	size_t room = height;

	if (view->is_asking_delay) {
		top_page_add(page, TOP_BOLD,
			     "Seconds between two looks (%.1f): %s",
			     (double)view->delay_ns / 1e9, view->typed);
		room = height > 1 ? height - 1 : 1;
	}
	if (view->screen == TOP_TABLE) {
		draw_table(view, rows, room, page);
	} else {
		struct top_page screen = {0};

		if (view->screen == TOP_HELP)
			draw_help(&screen);
		else
			top_details(view, rows, &screen);
		cut(view, room, &screen);
		for (size_t i = 0; i < screen.count; i++)
			top_page_add(page, screen.line[i].style, "%s",
				     screen.line[i].text);
		page->failed |= screen.failed;
		top_page_free(&screen);
	}
}
