/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr top: what daxmr list prints, again and again, on the whole screen.
 *
 *	top.c           arguments, flow, exit status
 *	top_rows.c      what is known now, and the rows of the table, sorted
 *	top_draw.c      what is shown of it, as lines of a page
 *	top_details.c   all there is of one region, likewise
 *	top_page.c      lines, and numbers that fit into a column
 *	top_view.c      what keys do
 *	top_terminal.c  the screen, keys, signals
 *
 * A page is a list of lines, without a word of terminals in it: the same goes
 * to a pipe. Plain ANSI sequences are all that is sent to a terminal: each that
 * is in use knows those few, and nothing has to be linked for them.
 */
#ifndef DAXMR_CLI_TOP_H
#define DAXMR_CLI_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "list.h"

enum top_column {
	TOP_PID,
	TOP_COMMAND,
	TOP_STRATEGY,
	TOP_STATE,
	TOP_FOR, /* how long in that state */
	TOP_SIZE,
	TOP_RECALLS,
	TOP_RATE, /* recalls per second */
	TOP_P99,
	TOP_FLUSHED, /* bytes per second */
	TOP_FILE,
	TOP_COLUMNS
};

struct top_order {
	enum top_column by;
	bool is_turned; /* the other way round than this column has it */
};

struct top_row {
	const struct list_process *process;
	const struct stats_region *region;
	const struct stats_file *file; /* NULL: there is no lease */
	/* Per second; < 0: not known yet. */
	double recalls;
	double flushed;
};

/* top_rows.c: two looks, and what the second of them shows. */
struct top_rows {
	struct list list, before;
	int64_t at_ns, before_ns; /* CLOCK_MONOTONIC; 0: not looked */
	struct top_row *row;
	size_t count;
};

/*
 * What is to be seen now becomes what was before. 0, or -errno: list_say().
 */
int top_rows_look(struct top_rows *rows, const struct list_wish *wish,
		  const struct top_order *order);
void top_rows_sort(struct top_rows *rows, const struct top_order *order);
void top_rows_free(struct top_rows *rows);

/* "PID", ...; -1: no column is called that. */
const char *top_column_title(enum top_column column);
int top_column_find(const char *title);

/* top_page.c */
enum top_style {
	TOP_PLAIN,
	TOP_BOLD,
	TOP_REVERSE
};

struct top_line {
	enum top_style style;
	char *text; /* UTF-8, nothing that a terminal would obey */
};

struct top_page {
	struct top_line *line;
	size_t count;
	bool failed; /* no memory: lines are missing */
};

void top_page_add(struct top_page *page, enum top_style style,
		  const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void top_page_free(struct top_page *page);
/* With all lines at their full length: CLI_OK, or an exit status, as above. */
int top_page_print(const struct top_page *page);

/* "12ms", "3d"; "1.5M": six characters at most. */
struct top_number {
	char text[16];
};
struct top_number top_time(int64_t ns);
struct top_number top_bytes(double bytes);
/* < 0: "-" */
struct top_number top_rate(double rate);

/* top_view.c: what the reader has chosen. */
enum top_screen {
	TOP_TABLE,
	TOP_DETAILS, /* of the row that is selected */
	TOP_HELP
};

struct top_view {
	enum top_screen screen;
	struct top_order order;
	int64_t delay_ns;
	size_t selected; /* row */
	bool is_chosen;	 /* by a key; else it is whichever is the first */
	size_t first;	 /* row, or line of another screen, at the top */
	size_t left;	 /* character, at the left */
	size_t room;	 /* rows that fit on the screen */
	size_t width;	 /* of the screen; 0: there is none */
	/* Is typed just now; the text so far. */
	bool is_asking_delay;
	char typed[16];
	bool is_over;
	bool must_look; /* without waiting any longer */
};

/* In the place of characters that keys have. */
enum top_key {
	TOP_KEY_UP = 256,
	TOP_KEY_DOWN,
	TOP_KEY_LEFT,
	TOP_KEY_RIGHT,
	TOP_KEY_PAGE_UP,
	TOP_KEY_PAGE_DOWN,
	TOP_KEY_HOME,
	TOP_KEY_END,
};

void top_view_key(struct top_view *view, struct top_rows *rows, int key);
/* The row that was selected still is, wherever it went. */
struct top_selected {
	pid_t pid;
	uint64_t addr;
	int64_t since_ns;
};
struct top_selected top_view_selected(const struct top_view *view,
				      const struct top_rows *rows);
void top_view_select(struct top_view *view, const struct top_rows *rows,
		     const struct top_selected *selected);

/* A number of seconds, with a fraction if need be; 0: it is none. */
int64_t top_delay(const char *text);

/* top_draw.c: height 0: as long as it gets. */
void top_draw(struct top_view *view, const struct top_rows *rows, size_t height,
	      struct top_page *page);

/* The name, or what there is of it. To be freed; NULL: no memory. */
char *top_row_file(const struct top_row *row);

/* top_details.c: of the row that is selected. */
void top_details(const struct top_view *view, const struct top_rows *rows,
		 struct top_page *page);

/* top_terminal.c */
enum top_event {
	TOP_TIME, /* is up */
	TOP_KEY,
	TOP_RESIZED,
	TOP_END /* somebody wants us to, or the terminal is gone */
};

/*
 * Standard output is a terminal that can do it. 0, or -errno. Between open and
 * close no other may be written to.
 */
bool top_terminal_is_there(void);
int top_terminal_open(void);
void top_terminal_close(void);
void top_terminal_size(size_t *ret_rows, size_t *ret_columns);
/* 0, or -errno: it cannot be written to. */
int top_terminal_show(const struct top_page *page, size_t left);
enum top_event top_terminal_wait(int64_t until_ns, int *ret_key);

#endif
