/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr run: sets the environment up and becomes the program.
 *
 * The program replaces this process, so its exit status, its signals, its
 * terminal and its process id are its own. Nothing is written to standard
 * output, and nothing to standard error unless there is something to warn of.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "config.h"
#include "run_preload.h"
#include "run_program.h"

static void print_help(void)
{
	fputs("usage: daxmr run [OPTION]... [--] PROG [ARGUMENT]...\n"
	      "\n"
	      "Run PROG so that its RDMA registrations of files in persistent "
	      "memory work.\n"
	      "\n"
	      "  --strategy=S    auto, passthrough, odp, staged or pinned "
	      "(auto)\n"
	      "  --prefetch=P    on, off or a size such as 64M: how much of "
	      "an\n"
	      "                  on-demand region is faulted in at "
	      "registration (on)\n"
	      "  --stage-max=S   auto or a size such as 8G: how much may be in "
	      "shadows\n"
	      "                  (auto: half of the memory that is available)\n"
	      "  --flush-ms=N    what differs in shadows is written each N "
	      "milliseconds,\n"
	      "                  0 for off (1000)\n"
	      "  --flush-cpu=N   spending N percent of one CPU at most (10)\n"
	      "  --quiesce-ms=N  how long the work on a pinned region is held "
	      "up "
	      "while\n"
	      "                  others have the file (1000)\n"
	      "  --on-recall=R   yield or sever: what becomes of the peers of "
	      "a "
	      "pinned region\n"
	      "                  when others want the file (yield)\n"
	      "  --keys=K        change or window: whether a pinned region "
	      "comes back\n"
	      "                  with another rkey, or the same (change)\n"
	      "  --on-conflict=C ours, theirs or error: PROG and others have "
	      "changed\n"
	      "                  the same block of a file (ours)\n"
	      "  --on-shrink=S   extend, discard or error: data for where "
	      "others have\n"
	      "                  cut a file off; with error peers get one "
	      "there (extend)\n"
	      "  --uffd=U        full or user: whether system calls are held "
	      "up too when a\n"
	      "                  shadow takes a file's place under threads "
	      "(full)\n"
	      "  --log=LEVEL     off, error, warn, info or debug (warn)\n"
	      "  --keeper=PATH   the keeper of leases that listens there "
	      "(PROG starts its own)\n"
	      "  --help          this text\n"
	      "\n"
	      "Exit status: PROG's own, or 2 (these arguments are not "
	      "understood),\n"
	      "125 (libdaxmr-preload.so is missing), 126 (PROG cannot be run), "
	      "127 (no PROG).\n"
	      "\n"
	      "See daxmr-run(1).\n",
	      stdout);
}

/* A keeper has to listen there, which may come later for the library. */
static bool is_valid(const struct config_policy *policy, const char *text)
{
	struct config config = {0};
	struct stat st;

	if (policy->read(text, &config) < 0)
		return false;
	return !config.keeper ||
	       (stat(config.keeper, &st) == 0 && S_ISSOCK(st.st_mode));
}

static int set_policy(const struct config_policy *policy, const char *value)
{
	if (!is_valid(policy, value))
		return cli_usage_error("--%s=%s is not %s", policy->option,
				       value, policy->values);
	if (setenv(policy->variable, value, 1) < 0) {
		cli_error("cannot set %s: %s", policy->variable,
			  strerror(errno));
		return CLI_NO_PRELOAD;
	}
	return 0;
}

/*
 * The library would take its default for a value that makes no sense, and say
 * so in a log that may be off. Here somebody is looking.
 */
static int check_environment(void)
{
	const char *value;
	size_t i;

	for (i = 0; i < CONFIG_POLICIES; i++) {
		const struct config_policy *policy = &config_policies[i];

		value = getenv(policy->variable);
		if (value && !is_valid(policy, value))
			return cli_usage_error("%s=%s in the environment is "
					       "not %s",
					       policy->variable, value,
					       policy->values);
	}
	return 0;
}

static int become(char **argv)
{
	int error;

	execvp(argv[0], argv);
	error = errno;
	if (error != ENOENT)
		cli_error("%s cannot be run: %s", argv[0], strerror(error));
	else if (strchr(argv[0], '/') && access(argv[0], F_OK) == 0)
		cli_error("%s cannot be run: the interpreter or loader that "
			  "it names is not there",
			  argv[0]);
	else
		cli_error("%s cannot be run: there is no such program%s",
			  argv[0], strchr(argv[0], '/') ? "" : " in PATH");
	return error == ENOENT ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE;
}

int run_main(int argc, char **argv)
{
	enum {
		HELP = 256,
		POLICY
	};
	/* the last is zero: the end */
	struct option options[CONFIG_POLICIES + 2] = {
		[CONFIG_POLICIES] = {"help", no_argument, NULL, HELP},
	};
	char *preload;
	int option, r;

	for (int i = 0; i < CONFIG_POLICIES; i++)
		options[i] =
			(struct option){config_policies[i].option,
					required_argument, NULL, POLICY + i};
	/* "+": options of PROG are PROG's */
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == HELP) {
			print_help();
			return CLI_OK;
		}
		if (option == '?') {
			fprintf(stderr, "Try '%s --help'.\n", argv[0]);
			return CLI_USAGE;
		}
		r = set_policy(&config_policies[option - POLICY], optarg);
		if (r)
			return r;
	}
	if (optind == argc)
		return cli_usage_error("no program is named");
	r = check_environment();
	if (r)
		return r;
	preload = preload_find();
	if (!preload)
		return CLI_NO_PRELOAD;
	r = preload_add(preload);
	if (r == 0) {
		program_warn(argv[optind], preload);
		r = become(argv + optind);
	}
	free(preload);
	return r;
}
