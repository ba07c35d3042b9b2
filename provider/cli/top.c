/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr top: arguments and flow. See top.h.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "clock.h"
#include "top.h"

#define DELAY_NS 2000000000LL

static void print_help(void)
{
	fputs("usage: daxmr top [OPTION]... [PID]...\n"
	      "\n"
	      "Show the regions that running programs have on files, on the "
	      "whole screen, again\n"
	      "and again: of these processes, or of all that may be looked at. "
	      "h shows the keys.\n"
	      "\n"
	      "  --batch, -b         to be read by programs, and what is done "
	      "where standard output\n"
	      "                      is no terminal: all rows, one look after "
	      "another\n"
	      "  --number=N, -n N    end after so many looks\n"
	      "  --delay=S, -d S     seconds between two (2)\n"
	      "  --sort=COLUMN, -o COLUMN\n"
	      "                      by this column (RCL/S); -COLUMN: the "
	      "other way round\n"
	      "  --json              batch, as 'daxmr list --json'\n"
	      "  --help              this text\n"
	      "\n"
	      "Exit status: 0; 2 it could not be found out, or these arguments "
	      "are not\n"
	      "understood.\n"
	      "\n"
	      "See daxmr-top(1).\n",
	      stdout);
}

struct wishes {
	struct list_wish which;
	struct top_order order;
	int64_t delay_ns;
	unsigned long looks; /* 0: no end */
	bool is_batch;
	bool json;
};

static int read_order(const char *text, struct top_order *ret)
{
	bool is_turned = text[0] == '-';
	int column = top_column_find(text + is_turned);

	if (column < 0)
		return cli_usage_error("there is no column %s to sort by",
				       text + is_turned);
	*ret = (struct top_order){(enum top_column)column, is_turned};
	return CLI_OK;
}

static int read_looks(const char *text, unsigned long *ret)
{
	char *end;
	long looks = strtol(text, &end, 10);

	if (*end || end == text || looks < 1 || looks == LONG_MAX)
		return cli_usage_error("--number=%s is not a number of looks",
				       text);
	*ret = (unsigned long)looks;
	return CLI_OK;
}

static int take(int letter, const char *value, void *arg)
{
	struct wishes *wishes = arg;

	switch (letter) {
	case 'n':
		return read_looks(value, &wishes->looks);
	case 'o':
		return read_order(value, &wishes->order);
	case 'd':
		wishes->delay_ns = top_delay(value);
		if (!wishes->delay_ns)
			return cli_usage_error("--delay=%s is not a number of "
					       "seconds, 0.1 at least",
					       value);
		break;
	case 'j':
		wishes->json = wishes->is_batch = true;
		break;
	default:
		wishes->is_batch = true;
	}
	return 0;
}

static int parse(int argc, char **argv, struct wishes *ret)
{
	static const struct option options[] = {
		{"batch", no_argument, NULL, 'b'},
		{"number", required_argument, NULL, 'n'},
		{"delay", required_argument, NULL, 'd'},
		{"sort", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static const struct cli_options all = {"bn:d:o:", options, print_help,
					       take};
	int status;

	*ret = (struct wishes){.delay_ns = DELAY_NS, .order = {.by = TOP_RATE}};
	status = cli_parse(argc, argv, &all, ret);
	return status ? status
		      : list_wish_read(argv + optind, (size_t)(argc - optind),
				       &ret->which);
}

static int print_json(const struct top_rows *rows)
{
	if (!list_json(&rows->list))
		return CLI_OK;
	cli_error("no memory");
	return CLI_USAGE;
}

static int print(struct top_view *view, const struct top_rows *rows)
{
	struct top_page page = {0};
	int status;

	top_draw(view, rows, 0, &page);
	status = top_page_print(&page);
	top_page_free(&page);
	return status;
}

static void sleep_until(int64_t at_ns)
{
	struct timespec at = {at_ns / 1000000000, at_ns % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) ==
	       EINTR)
		;
}

/* Until a reader goes: main() says so. */
static int run_batch(const struct wishes *wishes, struct top_view *view,
		     struct top_rows *rows)
{
	int r, status;

	for (unsigned long i = 1;; i++) {
		r = top_rows_look(rows, &wishes->which, &view->order);
		if (r)
			return list_say(r);
		status = wishes->json ? print_json(rows) : print(view, rows);
		if (status || fflush(stdout) || ferror(stdout) ||
		    i == wishes->looks)
			return status;
		if (!wishes->json)
			putchar('\n');
		sleep_until(rows->at_ns + view->delay_ns);
	}
}

static int draw(struct top_view *view, const struct top_rows *rows)
{
	struct top_page page = {0};
	size_t height;
	int r;

	top_terminal_size(&height, &view->width);
	top_draw(view, rows, height, &page);
	r = page.failed ? -ENOMEM : top_terminal_show(&page, view->left);
	top_page_free(&page);
	return r;
}

/* Keys, until it is time to look again. False: it is over. */
static bool wait_and_draw(struct top_view *view, struct top_rows *rows,
			  int *ret_error)
{
	enum top_event event;
	int key;

	view->must_look = false;
	do {
		*ret_error = draw(view, rows);
		if (*ret_error)
			return false;
		event = top_terminal_wait(rows->at_ns + view->delay_ns, &key);
		if (event == TOP_KEY)
			top_view_key(view, rows, key);
		if (view->is_over || event == TOP_END)
			return false;
	} while (event != TOP_TIME && !view->must_look);
	return true;
}

static int look_again(const struct wishes *wishes, struct top_view *view,
		      struct top_rows *rows)
{
	struct top_selected selected = top_view_selected(view, rows);
	int r = top_rows_look(rows, &wishes->which, &view->order);

	if (!r)
		top_view_select(view, rows, &selected);
	return r;
}

/* What goes wrong is said when the screen is the shell's again. */
static int run_live(const struct wishes *wishes, struct top_view *view,
		    struct top_rows *rows)
{
	int r = top_rows_look(rows, &wishes->which, &view->order);
	int error = r ? 0 : top_terminal_open();
	bool is_open = !r && !error;

	for (unsigned long i = 1; !r && !error; i++) {
		if (!wait_and_draw(view, rows, &error) || i == wishes->looks)
			break;
		r = look_again(wishes, view, rows);
	}
	if (is_open)
		top_terminal_close();
	/* It was hung up: nobody is there. */
	if (error == -EIO)
		return CLI_OK;
	if (error) {
		cli_error("the terminal cannot be used: %s",
			  strerrordesc_np(-error));
		return CLI_USAGE;
	}
	return r ? list_say(r) : CLI_OK;
}

int top_main(int argc, char **argv)
{
	struct top_rows rows = {0};
	struct top_view view;
	struct wishes wishes;
	int status = parse(argc, argv, &wishes);

	if (status)
		return status < 0 ? CLI_OK : status;
	view = (struct top_view){
		.order = wishes.order,
		.delay_ns = wishes.delay_ns,
	};
	if (wishes.is_batch || !top_terminal_is_there())
		status = run_batch(&wishes, &view, &rows);
	else
		status = run_live(&wishes, &view, &rows);
	top_rows_free(&rows);
	list_wish_free(&wishes.which);
	return status;
}
