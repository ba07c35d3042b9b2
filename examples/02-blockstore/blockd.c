/* SPDX-License-Identifier: BSD-2-Clause */
/* daxmr-blockd: serves a file in persistent memory to RDMA clients. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "say.h"
#include "server.h"

static const char usage[] =
	"usage: daxmr-blockd --format [--windows N] [--window-size SIZE] FILE\n"
	"       daxmr-blockd --listen ADDRESS:PORT FILE\n"
	"       daxmr-blockd --listen ADDRESS:PORT --memory [--windows N] "
	"[--window-size SIZE]\n"
	"       daxmr-blockd --check FILE\n"
	"\n"
	"  --format            FILE becomes an empty store; what was in it is "
	"lost.\n"
	"                      It keeps its size, which may be less than what "
	"all\n"
	"                      windows need, and gets that if it is empty\n"
	"  --listen ADDRESS:PORT\n"
	"                      serve FILE; the address is an RDMA device's\n"
	"  --memory            serve ordinary memory, which ends with the "
	"server\n"
	"  --check             of a FILE that is not served, or a copy: are "
	"all\n"
	"                      blocks as they were committed?\n"
	"  --windows N         one for each client (4)\n"
	"  --window-size SIZE  bytes in each (64M)\n"
	"\n"
	"SIGTERM and SIGINT end it. daxmr-block is the client.\n";

struct options {
	const char *listen;
	uint64_t windows;
	uint64_t window_size;
	bool is_format, is_check, is_memory;
};

/* 0, 1: it is done; or -EINVAL. */
static int read_options(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {
		{"format", no_argument, NULL, 'f'},
		{"check", no_argument, NULL, 'c'},
		{"listen", required_argument, NULL, 'l'},
		{"memory", no_argument, NULL, 'm'},
		{"windows", required_argument, NULL, 'w'},
		{"window-size", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, r = 0;

	while (!r && (c = getopt_long(argc, argv, "h", names, NULL)) != -1)
		switch (c) {
		case 'f':
			options->is_format = true;
			break;
		case 'c':
			options->is_check = true;
			break;
		case 'l':
			options->listen = optarg;
			break;
		case 'm':
			options->is_memory = true;
			break;
		case 'w':
			r = read_size("--windows", optarg, &options->windows);
			break;
		case 's':
			r = read_size("--window-size", optarg,
				      &options->window_size);
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			r = -EINVAL;
		}
	if (!r && (options->is_format + options->is_check +
				   (options->listen != NULL) !=
			   1 ||
		   argc - optind != !options->is_memory ||
		   (options->is_memory && !options->listen)))
		r = -EINVAL;
	if (r)
		fputs(usage, stderr);
	return r;
}

int main(int argc, char **argv)
{
	struct options options = {.windows = 4, .window_size = 64 << 20};
	struct store store;
	int r = read_options(argc, argv, &options);

	if (r)
		return r < 0 ? 2 : 0;
	if (options.windows > UINT32_MAX)
		options.windows = UINT32_MAX;
	if (options.is_format)
		return store_format(argv[optind], (uint32_t)options.windows,
				    options.window_size)
			       ? 1
			       : 0;
	if (options.is_check)
		return store_check(argv[optind]) ? 1 : 0;
	if (options.is_memory)
		r = store_open_memory(&store, (uint32_t)options.windows,
				      options.window_size);
	else
		r = store_open(&store, argv[optind]);
	if (r)
		return 1;
	r = serve(&store, options.listen);
	store_close(&store);
	return r ? 1 : 0;
}
