/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr check: the flow. See check.h.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cli.h"
#include "config.h"

static void print_help(void)
{
	fputs("usage: daxmr check [OPTION]... PATH...\n"
	      "\n"
	      "Say what an RDMA registration of each file would do on each "
	      "device, and why.\n"
	      "The files are not changed.\n"
	      "\n"
	      "  --device=D      this device only\n"
	      "  --strategy=S    auto, passthrough, odp, staged or pinned\n"
	      "                  (DAXMR_STRATEGY, or auto)\n"
	      "  --json          one JSON document\n"
	      "  --help          this text\n"
	      "\n"
	      "Exit status: 0 all would work, 1 something would not, 2 "
	      "something could not be\n"
	      "checked (no device, no such file) or these arguments are not "
	      "understood.\n"
	      "\n"
	      "See daxmr-check(1).\n",
	      stdout);
}

struct wishes {
	enum strategy strategy;
	const char *device; /* NULL: all */
	bool json;
};

static int take(int letter, const char *value, void *arg)
{
	struct wishes *wishes = arg;

	switch (letter) {
	case 'd':
		wishes->device = value;
		break;
	case 's':
		if (config_parse_strategy(value, &wishes->strategy) < 0)
			return cli_usage_error("--strategy=%s is not %s", value,
					       CONFIG_STRATEGY_VALUES);
		break;
	default:
		wishes->json = true;
	}
	return 0;
}

static int parse(int argc, char **argv, struct wishes *ret)
{
	static const struct option options[] = {
		{"device", required_argument, NULL, 'd'},
		{"strategy", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static const struct cli_options all = {"", options, print_help, take};
	int status;

	ret->strategy = config_get()->strategy;
	status = cli_parse(argc, argv, &all, ret);
	if (!status && optind == argc)
		status = cli_usage_error("no file is named");
	return status;
}

/* A device that the kernel has, though libibverbs may not. */
static bool kernel_has_device(void)
{
	DIR *dir = opendir("/sys/class/infiniband");
	struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.';
	closedir(dir);
	return found;
}

static const char *no_device_problem(void)
{
	if (kernel_has_device())
		return "the kernel has RDMA devices (`rdma link` shows them) "
		       "and programs cannot use them: load ib_uverbs "
		       "(`modprobe ib_uverbs`), install libibverbs' drivers "
		       "(Debian: ibverbs-providers), and see what "
		       "`ibv_devinfo` says";
	return "there is no RDMA device: `rdma link` shows those that the "
	       "kernel has, `rdma link add rxe0 type rxe netdev ETH` makes "
	       "one in software on a network card, `ibv_devinfo` shows what "
	       "programs see";
}

/* The devices that were asked for, in report->device. */
static int open_devices(struct check_report *report, const char *only,
			const struct real_verbs *real, struct ibv_device **list,
			int count)
{
	char names[512] = "";
	int i;

	report->device = calloc((size_t)count + 1, sizeof(*report->device));
	if (!report->device)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		const char *name = ibv_get_device_name(list[i]);
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s%s",
			 used ? ", " : "", name);
		if (only && strcmp(only, name) != 0)
			continue;
		check_device_open(&report->device[report->devices++], real,
				  list[i]);
	}
	if (report->devices || !count)
		return 0;
	cli_error("there is no device %s, only %s", only, names);
	return -ENODEV;
}

static int open_files(struct check_report *report, char **paths, int count)
{
	report->file = calloc((size_t)count + 1, sizeof(*report->file));
	if (!report->file)
		return -ENOMEM;
	for (; report->files < (size_t)count; report->files++)
		check_file_open(&report->file[report->files],
				paths[report->files]);
	return 0;
}

static int find_answers(struct check_report *report,
			const struct real_verbs *real)
{
	struct check_answer *answer;
	size_t f, d;

	report->answer = calloc(report->files * report->devices + 1,
				sizeof(*report->answer));
	if (!report->answer)
		return -ENOMEM;
	answer = report->answer;
	for (f = 0; f < report->files; f++) {
		for (d = 0; d < report->devices; d++, answer++) {
			if (report->file[f].problem[0] ||
			    report->device[d].problem[0])
				continue;
			check_answer_find(&report->file[f], &report->device[d],
					  &report->limits, &report->keeper,
					  real, report->wish, answer);
			if (!answer->works && report->exit_status == CLI_OK)
				report->exit_status = CLI_REFUSED;
		}
	}
	return 0;
}

/* What could not be checked outweighs what would not work. */
static void tell_problems(struct check_report *report)
{
	size_t i;

	for (i = 0; i < report->files; i++) {
		if (!report->file[i].problem[0])
			continue;
		cli_error("%s", report->file[i].problem);
		report->exit_status = CLI_USAGE;
	}
	for (i = 0; i < report->devices; i++) {
		if (!report->device[i].problem[0])
			continue;
		cli_error("%s", report->device[i].problem);
		report->exit_status = CLI_USAGE;
	}
	if (report->problem) {
		cli_error("%s", report->problem);
		report->exit_status = CLI_USAGE;
	}
}

static void close_report(struct check_report *report,
			 const struct real_verbs *real)
{
	while (report->files)
		check_file_close(&report->file[--report->files]);
	while (report->devices)
		check_device_close(&report->device[--report->devices], real);
	free(report->file);
	free(report->device);
	free(report->answer);
}

/* 0 or -errno; -ENODEV has told why. */
static int make_report(struct check_report *report, const struct wishes *wishes,
		       const struct real_verbs *real, struct ibv_device **list,
		       int count, char **paths, int path_count)
{
	int r;

	report->wish = wishes->strategy;
	check_limits_get(&report->limits);
	check_keeper_get(&report->keeper);
	r = open_devices(report, wishes->device, real, list, count);
	if (r == 0)
		r = open_files(report, paths, path_count);
	if (r == 0)
		r = find_answers(report, real);
	if (r < 0)
		return r;
	if (!report->devices)
		report->problem = no_device_problem();
	tell_problems(report);
	if (wishes->json)
		return check_json_print(report);
	check_text_print(report);
	return 0;
}

int check_main(int argc, char **argv)
{
	struct check_report report = {.exit_status = CLI_OK};
	const struct real_verbs *real = real_verbs();
	struct ibv_device **list = NULL;
	struct wishes wishes = {0};
	int count = 0, r;

	r = parse(argc, argv, &wishes);
	if (r)
		return r < 0 ? CLI_OK : r;
	if (!real) {
		cli_error("this libibverbs is too old: rdma-core 28 or newer "
			  "is needed");
		return CLI_USAGE;
	}
	list = ibv_get_device_list(&count);
	r = make_report(&report, &wishes, real, list, list ? count : 0,
			argv + optind, argc - optind);
	close_report(&report, real);
	if (list)
		ibv_free_device_list(list);
	if (r == -ENOMEM)
		cli_error("no memory");
	return r < 0 ? CLI_USAGE : report.exit_status;
}
