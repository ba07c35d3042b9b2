/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What keys do in daxmr top: top.h.
 */
#include <stdlib.h>
#include <string.h>

#include "top.h"

/* So many characters at once, to the left or right. */
#define SHIFT 8

int64_t top_delay(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	/* More often than that is only work. */
	if (*end || end == text || !(seconds >= 0.1 && seconds < 1e6))
		return 0;
	return (int64_t)(seconds * 1e9);
}

static void show(struct top_view *view, enum top_screen screen)
{
	view->screen = view->screen == screen ? TOP_TABLE : screen;
	view->first = 0;
}

struct top_selected top_view_selected(const struct top_view *view,
				      const struct top_rows *rows)
{
	const struct top_row *row;

	if (view->selected >= rows->count)
		return (struct top_selected){0};
	row = &rows->row[view->selected];
	return (struct top_selected){row->process->pid, row->region->addr,
				     row->region->since_ns};
}

void top_view_select(struct top_view *view, const struct top_rows *rows,
		     const struct top_selected *selected)
{
	if (!view->is_chosen) {
		view->selected = 0;
		return;
	}
	for (size_t i = 0; i < rows->count; i++)
		if (rows->row[i].process->pid == selected->pid &&
		    rows->row[i].region->addr == selected->addr &&
		    rows->row[i].region->since_ns == selected->since_ns) {
			view->selected = i;
			return;
		}
	/* It is gone: what stands in its place is not what was looked at. */
	if (view->screen == TOP_DETAILS && selected->pid)
		show(view, TOP_TABLE);
	if (view->selected >= rows->count)
		view->selected = rows->count ? rows->count - 1 : 0;
}

static void sort(struct top_view *view, struct top_rows *rows,
		 const struct top_order *order)
{
	struct top_selected selected = top_view_selected(view, rows);

	view->order = *order;
	top_rows_sort(rows, order);
	top_view_select(view, rows, &selected);
}

static void sort_by(struct top_view *view, struct top_rows *rows, int column)
{
	struct top_order order = {.is_turned = false};

	if (column < 0 || column >= TOP_COLUMNS)
		return;
	order.by = (enum top_column)column;
	sort(view, rows, &order);
}

static void turn(struct top_view *view, struct top_rows *rows)
{
	struct top_order order = view->order;

	order.is_turned = !order.is_turned;
	sort(view, rows, &order);
}

static size_t moved(size_t at, bool is_down, size_t by, size_t count)
{
	if (!is_down)
		return at > by ? at - by : 0;
	return at + by < count ? at + by : count ? count - 1 : 0;
}

/* Rows of the table are selected, other screens scroll: top_draw() limits it.
 */
static void move(struct top_view *view, const struct top_rows *rows,
		 bool is_down, size_t by)
{
	if (view->screen == TOP_TABLE) {
		view->selected =
			moved(view->selected, is_down, by, rows->count);
		view->is_chosen = true;
	} else {
		view->first = moved(view->first, is_down, by, SIZE_MAX / 2);
	}
}

static void ask_delay(struct top_view *view)
{
	view->is_asking_delay = true;
	view->typed[0] = '\0';
}

/* A character of the delay; Enter ends it, what makes no sense changes nothing.
 */
static void type(struct top_view *view, int key)
{
	size_t length = strlen(view->typed);
	int64_t delay_ns = top_delay(view->typed);

	if (key == '\n' || key == '\r') {
		view->is_asking_delay = false;
		if (delay_ns)
			view->delay_ns = delay_ns;
		view->must_look = true;
	} else if (key == 'q') {
		view->is_asking_delay = false;
	} else if ((key == 0x7f || key == '\b') && length) {
		view->typed[length - 1] = '\0';
	} else if (((key >= '0' && key <= '9') || key == '.') &&
		   length < sizeof(view->typed) - 1) {
		view->typed[length] = (char)key;
		view->typed[length + 1] = '\0';
	}
}

/* In any screen; false: it is none of them. */
static bool move_by_key(struct top_view *view, const struct top_rows *rows,
			int key)
{
	size_t page = view->room > 1 ? view->room - 1 : 1;

	switch (key) {
	case TOP_KEY_UP:
	case TOP_KEY_DOWN:
		move(view, rows, key == TOP_KEY_DOWN, 1);
		return true;
	case TOP_KEY_PAGE_UP:
	case TOP_KEY_PAGE_DOWN:
		move(view, rows, key == TOP_KEY_PAGE_DOWN, page);
		return true;
	case TOP_KEY_HOME:
	case TOP_KEY_END:
		move(view, rows, key == TOP_KEY_END, SIZE_MAX / 4);
		if (key == TOP_KEY_HOME && view->screen == TOP_TABLE)
			view->is_chosen = false;
		return true;
	case TOP_KEY_LEFT:
		view->left -= view->left < SHIFT ? view->left : SHIFT;
		return true;
	case TOP_KEY_RIGHT:
		/* A name is no longer than that. */
		if (view->left < STATS_NAME + 80)
			view->left += SHIFT;
		return true;
	default:
		return false;
	}
}

static void sort_by_key(struct top_view *view, struct top_rows *rows, int key)
{
	switch (key) {
	case '<':
		sort_by(view, rows, (int)view->order.by - 1);
		break;
	case '>':
		sort_by(view, rows, (int)view->order.by + 1);
		break;
	case 'N':
		sort_by(view, rows, TOP_PID);
		break;
	case 'M':
		sort_by(view, rows, TOP_SIZE);
		break;
	case 'T':
		sort_by(view, rows, TOP_FOR);
		break;
	case 'P':
		sort_by(view, rows, TOP_RATE);
		break;
	case 'R':
		turn(view, rows);
		break;
	default:
		break;
	}
}

void top_view_key(struct top_view *view, struct top_rows *rows, int key)
{
	if (view->is_asking_delay) {
		type(view, key);
		return;
	}
	if (move_by_key(view, rows, key))
		return;
	switch (key) {
	case 'q':
		if (view->screen == TOP_TABLE)
			view->is_over = true;
		else
			show(view, TOP_TABLE);
		break;
	case 'h':
	case '?':
		show(view, TOP_HELP);
		break;
	case '\n':
	case '\r':
		view->is_chosen = true;
		show(view, view->screen == TOP_TABLE ? TOP_DETAILS : TOP_TABLE);
		break;
	case ' ':
		view->must_look = true;
		break;
	case 'd':
	case 's':
		ask_delay(view);
		break;
	default:
		sort_by_key(view, rows, key);
	}
}
