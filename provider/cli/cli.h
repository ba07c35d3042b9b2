/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the commands of daxmr have in common.
 *
 * Each command is a function like main(): argv[0] is "daxmr run", it returns
 * the exit status. Messages go to standard error, one sentence a line; standard
 * output has what was asked for and nothing else.
 */
#ifndef DAXMR_CLI_H
#define DAXMR_CLI_H

enum cli_exit {
	CLI_OK = 0,
	CLI_REFUSED = 1, /* check: something would not work; list: not there;
			    recall: not in time */
	CLI_USAGE = 2,	 /* also: nothing there to be checked */
	/* run, as env(1) and nice(1) do it */
	CLI_NO_PRELOAD = 125,
	CLI_NOT_EXECUTABLE = 126,
	CLI_NOT_FOUND = 127,
};

int run_main(int argc, char **argv);
int check_main(int argc, char **argv);
int list_main(int argc, char **argv);
int top_main(int argc, char **argv);
int recall_main(int argc, char **argv);

/* "daxmr run: " and the sentence on standard error. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and where to read on. Gives CLI_USAGE. */
int cli_usage_error(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/*
 * What a command's arguments may be. take() gets each option's letter and its
 * value, and returns 0 or an exit status; 'h' is the help, and is not for it.
 */
struct option;
struct cli_options {
	const char *letters; /* as getopt_long() takes both */
	const struct option *options;
	void (*print_help)(void);
	int (*take)(int letter, const char *value, void *wishes);
};

/*
 * 0, and optind is where the arguments begin that are none; an exit status, and
 * it has been said why; -1 after the help.
 */
int cli_parse(int argc, char **argv, const struct cli_options *options,
	      void *wishes);

/* The name that cli_error() begins with: argv[0] of the command. */
void cli_name_set(const char *name);

#endif
