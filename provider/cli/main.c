/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr: dispatch to the commands.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "daxmr.h"

#define STRING(x)    #x
#define STRING_OF(x) STRING(x)

static const struct {
	const char *name;
	const char *full_name; /* in messages */
	int (*main)(int argc, char **argv);
} commands[] = {
	{"run", "daxmr run", run_main},
	{"check", "daxmr check", check_main},
	{"list", "daxmr list", list_main},
	{"top", "daxmr top", top_main},
	{"recall", "daxmr recall", recall_main},
};

static void print_help(FILE *to)
{
	fputs("usage: daxmr COMMAND [ARGUMENT]...\n"
	      "\n"
	      "RDMA registration of files in persistent memory, for programs "
	      "nobody changes.\n"
	      "\n"
	      "  run       run a program whose registrations daxmr does\n"
	      "  check     what a registration of a file would do, and why\n"
	      "  list      what running programs have registered\n"
	      "  top       the same on the whole screen, again and again\n"
	      "  recall    have a file handed back by who has leased it\n"
	      "\n"
	      "  --help     this text; daxmr COMMAND --help for a command\n"
	      "  --version  the version\n"
	      "\n"
	      "See daxmr(1) and daxmr(7).\n",
	      to);
}

static int dispatch(int argc, char **argv)
{
	size_t i;

	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0) {
		print_help(stdout);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("daxmr " STRING_OF(DAXMR_VERSION_MAJOR) "." STRING_OF(
			DAXMR_VERSION_MINOR) "." STRING_OF(DAXMR_VERSION_PATCH));
		return CLI_OK;
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			cli_name_set(commands[i].full_name);
			/* getopt_long() begins its messages with it */
			argv[1] = (char *)commands[i].full_name;
			return commands[i].main(argc - 1, argv + 1);
		}
	}
	return cli_usage_error("there is no %s '%s', only the commands run, "
			       "check, list, top and "
			       "recall",
			       argv[1][0] == '-' ? "option" : "command",
			       argv[1]);
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_error("cannot write to standard output: %s",
			  strerror(errno));
		return CLI_USAGE;
	}
	return status;
}
