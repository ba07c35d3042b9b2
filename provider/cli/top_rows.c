/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of daxmr top: top.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clock.h"
#include "extent_page.h"
#include "top.h"

/* As the titles of the table; text goes up, numbers go down but for PIDs. */
static const struct {
	const char *title;
	bool goes_up;
} columns[TOP_COLUMNS] = {
	[TOP_PID] = {"PID", true},	     [TOP_COMMAND] = {"COMMAND", true},
	[TOP_STRATEGY] = {"STRATEGY", true}, [TOP_STATE] = {"STATE", true},
	[TOP_FOR] = {"FOR", false},	     [TOP_SIZE] = {"SIZE", false},
	[TOP_RECALLS] = {"RECALLS", false},  [TOP_RATE] = {"RCL/S", false},
	[TOP_P99] = {"P99", false},	     [TOP_FLUSHED] = {"FLUSH/S", false},
	[TOP_FILE] = {"FILE", true},
};

const char *top_column_title(enum top_column column)
{
	return columns[column].title;
}

int top_column_find(const char *title)
{
	for (int i = 0; i < TOP_COLUMNS; i++)
		if (strcasecmp(columns[i].title, title) == 0)
			return i;
	return -1;
}

/* What the table shows of it; "": there is none. */
static const char *text_of(const struct top_row *row, enum top_column column)
{
	const struct stats_file key = {.dev = row->region->dev,
				       .ino = row->region->ino};
	const char *name = row->region->name;

	switch (column) {
	case TOP_COMMAND:
		return row->process->command;
	case TOP_STRATEGY:
		return strategy_name(row->region->strategy);
	case TOP_STATE:
		return row->file ? list_state_name(row->file) : "";
	default:
		if (!name[0])
			name = list_name_of(row->process, &key);
		return name ? name : "";
	}
}

static double number_of(const struct top_row *row, enum top_column column)
{
	switch (column) {
	case TOP_PID:
		return row->process->pid;
	case TOP_FOR:
		return row->file ? -(double)row->file->since_ns : -1e300;
	case TOP_SIZE:
		return (double)row->region->length;
	case TOP_RECALLS:
		return row->file ? (double)row->file->recalls : -1;
	case TOP_RATE:
		return row->recalls;
	case TOP_P99:
		return row->file ? (double)list_quantile_us(row->file, 99) : -1;
	default:
		return row->flushed;
	}
}

static int compare_by(const struct top_row *left, const struct top_row *right,
		      enum top_column column)
{
	double a, b;

	switch (column) {
	case TOP_COMMAND:
	case TOP_STRATEGY:
	case TOP_STATE:
	case TOP_FILE:
		return strcmp(text_of(left, column), text_of(right, column));
	default:
		a = number_of(left, column);
		b = number_of(right, column);
		return (a > b) - (a < b);
	}
}

/* As daxmr list has them, where all else is the same. */
static int compare_places(const struct top_row *left,
			  const struct top_row *right)
{
	if (left->process != right->process)
		return left->process < right->process ? -1 : 1;
	return (left->region > right->region) - (left->region < right->region);
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct top_order *order = arg;
	int r = compare_by(a, b, order->by);

	if (!r)
		return compare_places(a, b);
	return columns[order->by].goes_up != order->is_turned ? r : -r;
}

void top_rows_sort(struct top_rows *rows, const struct top_order *order)
{
	struct top_order by = *order;

	if (rows->count)
		qsort_r(rows->row, rows->count, sizeof(*rows->row), compare,
			&by);
}

/* Processes are by number. */
static const struct list_process *
process_before(const struct top_rows *rows, const struct list_process *process)
{
	size_t low = 0, high = rows->before.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct list_process *at = &rows->before.process[middle];

		if (at->pid == process->pid)
			return at;
		if (at->pid < process->pid)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Mostly it is where it was. */
static const struct stats_file *file_before(const struct list_process *process,
					    const struct stats_file *file,
					    size_t at)
{
	for (size_t i = 0; process && i < process->files; i++) {
		const struct stats_file *was =
			&process->file[(at + i) % process->files];

		if (was->dev == file->dev && was->ino == file->ino &&
		    was->leased_ns == file->leased_ns)
			return was;
	}
	return NULL;
}

static double per_second(uint64_t before, uint64_t now, double seconds)
{
	return now > before ? (double)(now - before) / seconds : 0;
}

static void set_rates(const struct top_rows *rows, struct top_row *row)
{
	double seconds = (double)(rows->at_ns - rows->before_ns) / 1e9;
	const struct stats_file *was;

	row->recalls = row->flushed = -1;
	if (!row->file || !rows->before_ns || seconds <= 0)
		return;
	was = file_before(process_before(rows, row->process), row->file,
			  (size_t)(row->file - row->process->file));
	if (!was)
		return;
	row->recalls = per_second(was->recalls, row->file->recalls, seconds);
	row->flushed = per_second(was->copied, row->file->copied, seconds) *
		       EXTENT_BLOCK;
}

static int fill(struct top_rows *rows)
{
	struct top_row *row;
	size_t count = 0;

	for (size_t i = 0; i < rows->list.count; i++)
		count += rows->list.process[i].regions;
	row = reallocarray(rows->row, count + 1, sizeof(*row));
	if (!row)
		return -1;
	rows->row = row;
	rows->count = count;
	for (size_t i = 0; i < rows->list.count; i++) {
		const struct list_process *process = &rows->list.process[i];

		for (size_t j = 0; j < process->regions; j++, row++) {
			row->process = process;
			row->region = &process->region[j];
			row->file = list_file_of(process, row->region);
			set_rates(rows, row);
		}
	}
	return 0;
}

int top_rows_look(struct top_rows *rows, const struct list_wish *wish,
		  const struct top_order *order)
{
	struct list list;
	int r = list_find(wish->pid, wish->count, &list);

	if (r)
		return r;
	list_free(&rows->before);
	rows->before = rows->list;
	rows->before_ns = rows->at_ns;
	rows->list = list;
	rows->at_ns = clock_now_ns();
	rows->count = 0;
	if (fill(rows))
		return -ENOMEM;
	top_rows_sort(rows, order);
	return 0;
}

void top_rows_free(struct top_rows *rows)
{
	list_free(&rows->list);
	list_free(&rows->before);
	free(rows->row);
	*rows = (struct top_rows){0};
}
