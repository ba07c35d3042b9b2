/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The options of daxmr-keeper: keeper_command.h.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "keeper_command.h"
#include "keeper_listen.h"
#include "keeper_proto.h"

enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2
};

bool keeper_command_is_kept(void)
{
	socklen_t size = sizeof(int);
	int type;

	return !getsockopt(KEEPER_SOCKET_FD, SOL_SOCKET, SO_TYPE, &type,
			   &size) &&
	       type == SOCK_SEQPACKET;
}

static int print(const char *text)
{
	fputs(text, stdout);
	if (fflush(stdout)) {
		fprintf(stderr,
			KEEPER_NAME ": cannot write to standard output: %s\n",
			strerror(errno));
		return EXIT_USAGE;
	}
	return EXIT_OK;
}

static int usage(void)
{
	fputs("Try '" KEEPER_NAME " --help'.\n", stderr);
	return EXIT_USAGE;
}

int keeper_command(int argc, char **argv)
{
	enum {
		HELP = 256,
		VERSION,
		LISTEN
	};
	static const struct option options[] = {
		{"listen", required_argument, NULL, LISTEN},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{NULL, 0, NULL, 0},
	};
	const char *path = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case HELP:
			return print(
				"usage: daxmr-keeper --listen=PATH\n"
				"\n"
				"Hold the leases of programs, whatever becomes "
				"of them. A program starts its own\n"
				"keeper; one that is to outlive the program's "
				"container or unit is asked for here.\n"
				"\n"
				"  --listen=PATH  make a socket at PATH and "
				"start a keeper for each program\n"
				"                 that names it by "
				"DAXMR_KEEPER\n"
				"  --help         this text\n"
				"  --version      the version\n"
				"\n"
				"Exit status: 0 ended by a signal, 1 cannot "
				"listen, 2 these arguments are not\n"
				"understood.\n"
				"\n"
				"See daxmr-keeper(8).\n");
		case VERSION:
			return print(KEEPER_NAME " " DAXMR_VERSION "\n");
		case LISTEN:
			path = optarg;
			break;
		default:
			return usage();
		}
	}
	if (optind < argc) {
		fprintf(stderr, KEEPER_NAME ": '%s' is not an option\n",
			argv[optind]);
		return usage();
	}
	if (!path) {
		fputs(KEEPER_NAME ": programs start it themselves, with the "
				  "descriptors that it works on; by hand it "
				  "takes --listen\n",
		      stderr);
		return usage();
	}
	return keeper_listen(path) ? EXIT_FAILED : EXIT_OK;
}
