/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr list: the flow. See list.h.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	JSON,
	PROMETHEUS
};

/* 0, an exit status, or -1 after the help. */
static int parse(int argc, char **argv, enum form *ret)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"prometheus", no_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	*ret = TEXT;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			*ret = JSON;
			break;
		case 'p':
			*ret = PROMETHEUS;
			break;
		case 'h':
			print_help();
			return -1;
		default:
			fprintf(stderr, "Try '%s --help'.\n", argv[0]);
			return CLI_USAGE;
		}
	}
	return 0;
}

static int read_pids(char **texts, size_t count, pid_t *ret)
{
	char *end;

	for (size_t i = 0; i < count; i++) {
		long pid = strtol(texts[i], &end, 10);

		if (*end || end == texts[i] || pid < 1 || pid > INT_MAX)
			return cli_usage_error("%s is not the number of a "
					       "process",
					       texts[i]);
		ret[i] = (pid_t)pid;
	}
	return CLI_OK;
}

static bool is_there(const struct list *list, pid_t pid)
{
	size_t i = 0;

	while (i < list->count && list->process[i].pid != pid)
		i++;
	return i < list->count;
}

static int say_what_is_not_there(const struct list *list, const pid_t *pids,
				 size_t count)
{
	int status = CLI_OK;

	for (size_t i = 0; i < count; i++) {
		if (is_there(list, pids[i]))
			continue;
		cli_error("process %d has no regions on files, or may not be "
			  "looked at",
			  (int)pids[i]);
		status = CLI_REFUSED;
	}
	return status;
}

static int print(enum form form, const struct list *list)
{
	switch (form) {
	case JSON:
		return list_json(list);
	case PROMETHEUS:
		return list_prometheus(list);
	default:
		list_text(list);
		return 0;
	}
}

static int show(enum form form, const pid_t *pids, size_t count)
{
	struct list list = {0};
	int r = list_find(pids, count, &list), status;

	if (!r)
		r = print(form, &list);
	status = r ? CLI_USAGE : say_what_is_not_there(&list, pids, count);
	if (r)
		cli_error("what programs share (/proc/sysvipc/shm) cannot be "
			  "listed: %s",
			  strerrordesc_np(-r));
	list_free(&list);
	return status;
}

int list_main(int argc, char **argv)
{
	enum form form;
	int status = parse(argc, argv, &form);
	size_t count = (size_t)(argc - optind);
	pid_t *pids;

	if (status)
		return status < 0 ? CLI_OK : status;
	pids = calloc(count + 1, sizeof(*pids));
	if (!pids) {
		cli_error("no memory");
		return CLI_USAGE;
	}
	status = read_pids(argv + optind, count, pids);
	if (!status)
		status = show(form, pids, count);
	free(pids);
	return status;
}
