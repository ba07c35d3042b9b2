/* SPDX-License-Identifier: BSD-2-Clause */
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
