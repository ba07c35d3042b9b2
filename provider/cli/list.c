/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr list: the flow. See list.h.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli.h"
#include "list.h"

static void print_help(void)
{
	fputs("usage: daxmr list [OPTION]... [PID]...\n"
	      "\n"
	      "List the regions that running programs have on files, and what "
	      "became of them:\n"
	      "of these processes, or of all that may be looked at.\n"
	      "\n"
	      "  --long          all that is known, below each other\n"
	      "  --json          one JSON document\n"
	      "  --prometheus    metrics in Prometheus' text format\n"
	      "  --help          this text\n"
	      "\n"
	      "Exit status: 0; 1 nothing is to be seen of a process that was "
	      "named; 2 it could\n"
	      "not be found out, or these arguments are not understood.\n"
	      "\n"
	      "See daxmr-list(1).\n",
	      stdout);
}

enum form {
	TEXT,
	LONG,
	JSON,
	PROMETHEUS
};

static int take(int letter, const char *value, void *form)
{
	(void)value;
	*(enum form *)form = letter == 'j'   ? JSON
			     : letter == 'l' ? LONG
					     : PROMETHEUS;
	return 0;
}

static int parse(int argc, char **argv, enum form *ret)
{
	static const struct option options[] = {
		{"long", no_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'},
		{"prometheus", no_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static const struct cli_options all = {"", options, print_help, take};

	*ret = TEXT;
	return cli_parse(argc, argv, &all, ret);
}

static bool is_there(const struct list *list, pid_t pid)
{
	size_t i = 0;

	while (i < list->count && list->process[i].pid != pid)
		i++;
	return i < list->count;
}

static int say_what_is_not_there(const struct list *list,
				 const struct list_wish *wish)
{
	int status = CLI_OK;

	for (size_t i = 0; i < wish->count; i++) {
		if (is_there(list, wish->pid[i]))
			continue;
		cli_error("process %d has no regions on files, or may not be "
			  "looked at",
			  (int)wish->pid[i]);
		status = CLI_REFUSED;
	}
	return status;
}

static int print(enum form form, const struct list *list)
{
	switch (form) {
	case LONG:
		return list_long(list);
	case JSON:
		return list_json(list);
	case PROMETHEUS:
		return list_prometheus(list);
	default:
		list_text(list);
		return 0;
	}
}

static int show(enum form form, const struct list_wish *wish)
{
	struct list list;
	int r = list_find(wish->pid, wish->count, &list), status;

	if (r)
		return list_say(r);
	if (print(form, &list)) {
		cli_error("no memory");
		status = CLI_USAGE;
	} else {
		status = say_what_is_not_there(&list, wish);
	}
	list_free(&list);
	return status;
}

int list_main(int argc, char **argv)
{
	struct list_wish wish;
	enum form form;
	int status = parse(argc, argv, &form);

	if (status)
		return status < 0 ? CLI_OK : status;
	status = list_wish_read(argv + optind, (size_t)(argc - optind), &wish);
	if (status)
		return status;
	status = show(form, &wish);
	list_wish_free(&wish);
	return status;
}
