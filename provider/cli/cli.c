/* SPDX-License-Identifier: BSD-2-Clause */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "cli.h"

static const char *cli_name = "daxmr";

void cli_name_set(const char *name)
{
	cli_name = name;
}

static void print_error(const char *format, va_list args)
{
	fprintf(stderr, "%s: ", cli_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void cli_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_error(format, args);
	va_end(args);
}

int cli_usage_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_error(format, args);
	va_end(args);
	fprintf(stderr, "Try '%s --help'.\n", cli_name);
	return CLI_USAGE;
}

int cli_parse(int argc, char **argv, const struct cli_options *options,
	      void *wishes)
{
	int letter, status = 0;

	while (!status &&
	       (letter = getopt_long(argc, argv, options->letters,
				     options->options, NULL)) != -1) {
		switch (letter) {
		case 'h':
			options->print_help();
			return -1;
		case '?': /* getopt_long() has said why */
			fprintf(stderr, "Try '%s --help'.\n", cli_name);
			return CLI_USAGE;
		default:
			status = options->take(letter, optarg, wishes);
		}
	}
	return status;
}
