/* SPDX-License-Identifier: BSD-2-Clause */
/* daxmr-block: the block store's client. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "say.h"
#include "work.h"

static const char usage[] =
	"usage: daxmr-block [OPTIONS] ADDRESS:PORT write|read|verify|bench\n"
	"\n"
	"  write    write all blocks of a window and commit them\n"
	"  read     read them\n"
	"  verify   read them, and compare them with what write has written\n"
	"  bench    write and read, as fast as it goes\n"
	"\n"
	"  --window N        the window, which one client has at a time (0)\n"
	"  --size SIZE       so much of it (all)\n"
	"  --rounds N        so many times (1; bench 10)\n"
	"  --depth N         blocks under way at a time (32)\n"
	"  --commit-every N  blocks in a commit, 1 to 64 (16)\n"
	"  --seed N          what is written: the same for verify (1)\n"
	"  --at-least N      verify: each block was committed so many times\n"
	"  --verify          write: verify too, at the end and after each\n"
	"                    reconnection\n"
	"  --reconnect S     when the server goes, try so many seconds (0)\n"
	"  --verbose         a line for each round\n"
	"  --json            the result for programs\n"
	"\n"
	"SIGINT and SIGTERM end it after the commits that are under way.\n"
	"Status: 0; 1 it failed, or blocks are lost or torn; 2 usage\n";

struct options {
	const char *action;
	uint64_t window, size, rounds, depth, commit_every, seed, at_least;
	uint64_t reconnect;
	int is_checked, is_verbose, is_json;
};

/* 0, 1: it is done; or -EINVAL. */
static int read_options(int argc, char **argv, struct options *options)
{
	static const char *const actions[] = {"write", "read", "verify",
					      "bench", NULL};
	const struct option names[] = {
		{"window", required_argument, NULL, 'w'},
		{"size", required_argument, NULL, 's'},
		{"rounds", required_argument, NULL, 'r'},
		{"depth", required_argument, NULL, 'd'},
		{"commit-every", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 'e'},
		{"at-least", required_argument, NULL, 'a'},
		{"reconnect", required_argument, NULL, 'n'},
		{"verify", no_argument, &options->is_checked, 1},
		{"verbose", no_argument, &options->is_verbose, 1},
		{"json", no_argument, &options->is_json, 1},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	uint64_t *const numbers[] = {
		['w'] = &options->window,	['s'] = &options->size,
		['r'] = &options->rounds,	['d'] = &options->depth,
		['c'] = &options->commit_every, ['e'] = &options->seed,
		['a'] = &options->at_least,	['n'] = &options->reconnect,
	};
	int c, which = 0, at, r = 0;

	while (!r && (c = getopt_long(argc, argv, "h", names, &at)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 1;
		}
		if (c == '?')
			r = -EINVAL;
		else if (c)
			r = read_size(names[at].name, optarg, numbers[c]);
	}
	if (!r && argc - optind == 2) {
		options->action = argv[optind + 1];
		while (actions[which] &&
		       strcmp(actions[which], options->action))
			which++;
	}
	if (r || !options->action || !actions[which] ||
	    options->commit_every < 1 || options->commit_every > WIRE_RUN ||
	    (options->size && options->size < STORE_BLOCK) ||
	    options->depth < 1 || options->depth > 4096 ||
	    options->window > UINT16_MAX || options->at_least > UINT32_MAX ||
	    options->reconnect > UINT32_MAX) {
		fputs(usage, stderr);
		return -EINVAL;
	}
	if (options->depth < options->commit_every)
		options->depth = options->commit_every;
	return 0;
}

static void on_signal(int signal)
{
	(void)signal;
	work_is_over = 1;
}

/* Without SA_RESTART: a poll() that waits has to end. */
static void hear_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void print_result(const struct work *work, const char *action,
			 bool is_json)
{
	const struct work_result *result = &work->result;
	double mb = (double)result->bytes / 1e6,
	       per_s = result->seconds > 0 ? mb / result->seconds : 0;
	const char *format =
		is_json ? "{\"action\": \"%s\", \"window\": %u, \"blocks\": "
			  "%u, \"mb\": %.3f, \"seconds\": %.3f, "
			  "\"mb_per_s\": %.2f, \"commits\": %llu, "
			  "\"refused\": %llu, \"empty\": %llu, "
			  "\"reconnects\": %llu, \"lost\": %llu, \"torn\": "
			  "%llu}\n"
			: "%s: window %u of %u blocks: %.3f MB in %.3f s, %.2f "
			  "MB/s; %llu commits, %llu blocks refused, %llu "
			  "empty, %llu reconnections, %llu lost, %llu torn\n";

	printf(format, action, work->target.window, work_blocks(work), mb,
	       result->seconds, per_s, (unsigned long long)result->commits,
	       (unsigned long long)result->refused,
	       (unsigned long long)result->empty,
	       (unsigned long long)result->reconnects,
	       (unsigned long long)result->lost,
	       (unsigned long long)result->torn);
	fflush(stdout);
}

/* Write first: what is read then is what was written. */
static int bench(struct work *work, bool is_json)
{
	int r = work_write(work, false);

	if (r)
		return r;
	print_result(work, "bench-write", is_json);
	memset(&work->result, 0, sizeof(work->result));
	r = work_read(work, false, work->rounds);
	if (!r)
		print_result(work, "bench-read", is_json);
	return r;
}

static int act(struct work *work, const struct options *options)
{
	int r;

	if (!strcmp(options->action, "bench"))
		return bench(work, options->is_json);
	if (!strcmp(options->action, "write"))
		r = work_write(work, true);
	else
		r = work_read(work, !strcmp(options->action, "verify"),
			      work->rounds);
	print_result(work, options->action, options->is_json);
	if (!r && (work->result.lost || work->result.torn))
		r = -EILSEQ;
	return r;
}

int main(int argc, char **argv)
{
	struct options options = {.depth = 32, .commit_every = 16, .seed = 1};
	static struct work work;
	int r = read_options(argc, argv, &options);

	if (r)
		return r < 0 ? 2 : 0;
	if (read_address(argv[optind], work.target.host, work.target.port))
		return 2;
	if (!options.rounds)
		options.rounds = strcmp(options.action, "bench") ? 1 : 10;
	work.target.window = (uint32_t)options.window;
	work.target.depth = (uint32_t)options.depth;
	work.commit_every = (uint32_t)options.commit_every;
	work.rounds = options.rounds;
	work.seed = options.seed;
	work.at_least = (uint32_t)options.at_least;
	work.reconnect_s = (uint32_t)options.reconnect;
	work.is_checked = options.is_checked;
	work.is_verbose = options.is_verbose;
	work.is_bar = isatty(STDERR_FILENO) && !options.is_verbose;
	work.limit = options.size ? (uint32_t)(options.size / STORE_BLOCK)
				  : WORK_NO_LIMIT;
	hear_signals();
	r = work_open(&work);
	if (!r)
		r = act(&work, &options);
	work_close(&work);
	return r ? 1 : 0;
}
