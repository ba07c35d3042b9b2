/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr recall: asks for a file as anybody does who opens it, and says when it
 * was there. Whoever has leased it need not be daxmr.
 *
 * The first open waits for nobody and tells whether there is a lease. The next
 * one waits in the kernel, which lets it in at the moment the file is handed
 * over; a timer interrupts it, again and again, as a signal may come just
 * before the call does. It is opened for writing where that is allowed, since
 * for reading a lease of who only reads need not be given up.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "cli.h"
#include "clock.h"
#include "json_put.h"

#define TICK_US 20000

static void print_help(void)
{
	fputs("usage: daxmr recall [OPTION]... PATH...\n"
	      "\n"
	      "Have each file handed back now by who has leased it, and say "
	      "how long that took.\n"
	      "\n"
	      "  --timeout=S     seconds to wait for each (as long as the "
	      "kernel does)\n"
	      "  --json          one JSON document\n"
	      "  --help          this text\n"
	      "\n"
	      "Exit status: 0 all are free, 1 one was not in time, 2 one could "
	      "not be opened, or\n"
	      "these arguments are not understood.\n"
	      "\n"
	      "See daxmr-recall(1).\n",
	      stdout);
}

struct wishes {
	int64_t timeout_ns; /* INT64_MAX: none */
	bool json;
};

struct recalled {
	const char *path;
	bool was_leased;
	int64_t took_ns;
	int error; /* 0: it is free */
};

/* As a decimal number; 0: it is none that makes sense. */
static int64_t read_timeout(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || end == text || !(seconds > 0 && seconds < 1e6))
		return 0;
	return (int64_t)(seconds * 1e9) + 1;
}

static int take(int letter, const char *value, void *arg)
{
	struct wishes *wishes = arg;

	if (letter == 'j') {
		wishes->json = true;
		return 0;
	}
	wishes->timeout_ns = read_timeout(value);
	return wishes->timeout_ns
		       ? 0
		       : cli_usage_error(
				 "--timeout=%s is not a number of seconds",
				 value);
}

static int parse(int argc, char **argv, struct wishes *ret)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static const struct cli_options all = {"", options, print_help, take};
	int status;

	*ret = (struct wishes){.timeout_ns = INT64_MAX};
	status = cli_parse(argc, argv, &all, ret);
	if (!status && optind == argc)
		status = cli_usage_error("no file is named");
	return status;
}

static void interrupt(int signal)
{
	(void)signal;
}

static void start_timer(void)
{
	const struct sigaction action = {.sa_handler = interrupt};
	const struct itimerval every = {{0, TICK_US}, {0, TICK_US}};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static void stop_timer(void)
{
	const struct itimerval never = {{0, 0}, {0, 0}};

	setitimer(ITIMER_REAL, &never, NULL);
}

/* For writing, else for reading; -errno. */
static int open_as_may_be(const char *path, int flags)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | flags);

	if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS ||
		       errno == ETXTBSY))
		fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	return fd < 0 ? -errno : fd;
}

/* The descriptor, or -errno: -ETIMEDOUT. */
static int wait_for(const char *path, int64_t until_ns)
{
	int fd;

	start_timer();
	do {
		fd = open_as_may_be(path, 0);
	} while (fd == -EINTR && clock_now_ns() < until_ns);
	stop_timer();
	return fd == -EINTR ? -ETIMEDOUT : fd;
}

/* By this path, which is the one file that was looked at. */
static int get(const char *path, int64_t timeout_ns, struct recalled *ret)
{
	int64_t begun_ns = clock_now_ns(), until_ns;
	int fd = open_as_may_be(path, O_NONBLOCK);

	until_ns = timeout_ns > INT64_MAX - begun_ns ? INT64_MAX
						     : begun_ns + timeout_ns;
	ret->was_leased = fd == -EAGAIN;
	if (ret->was_leased)
		fd = wait_for(path, until_ns);
	ret->took_ns = clock_now_ns() - begun_ns;
	if (fd < 0)
		return -fd;
	close(fd);
	return 0;
}

static int recall(const char *path, int64_t timeout_ns, struct recalled *ret)
{
	int fd = open(path, O_PATH | O_CLOEXEC), error;
	char link[64];
	struct stat st;

	if (fd < 0)
		return errno;
	error = fstat(fd, &st) ? errno : 0;
	if (!error && !S_ISREG(st.st_mode))
		error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (!error)
		error = get(link, timeout_ns, ret);
	close(fd);
	return error;
}

static void print_line(const struct recalled *recalled)
{
	if (recalled->error == ETIMEDOUT)
		cli_error("%s: not free after %lld us", recalled->path,
			  (long long)recalled->took_ns / 1000);
	else if (recalled->error)
		cli_error("%s: %s", recalled->path,
			  recalled->error == EINVAL
				  ? "not a regular file"
				  : strerrordesc_np(recalled->error));
	else if (recalled->was_leased)
		printf("%s: free after %lld us\n", recalled->path,
		       (long long)recalled->took_ns / 1000);
	else
		printf("%s: nobody has leased it\n", recalled->path);
}

static struct json_object *object_of(const struct recalled *recalled)
{
	struct json_object *object = json_made(json_object_new_object());

	json_put_text(object, "path", recalled->path);
	json_put_bool(object, "free", !recalled->error);
	json_put_bool(object, "leased", recalled->was_leased);
	json_put_number(object, "took_us", (uint64_t)recalled->took_ns / 1000);
	json_put_text(object, "errno",
		      recalled->error ? strerrorname_np(recalled->error)
				      : NULL);
	return object;
}

static int status_of(const struct recalled *recalled)
{
	if (!recalled->error)
		return CLI_OK;
	return recalled->error == ETIMEDOUT ? CLI_REFUSED : CLI_USAGE;
}

int recall_main(int argc, char **argv)
{
	struct json_object *files;
	struct wishes wishes;
	int status = parse(argc, argv, &wishes), worst = CLI_OK;

	if (status)
		return status < 0 ? CLI_OK : status;
	files = json_made(json_object_new_array());
	for (; optind < argc; optind++) {
		struct recalled recalled = {.path = argv[optind]};

		recalled.error =
			recall(recalled.path, wishes.timeout_ns, &recalled);
		if (!wishes.json || recalled.error)
			print_line(&recalled);
		fflush(stdout);
		json_append(files, object_of(&recalled));
		status = status_of(&recalled);
		worst = status > worst ? status : worst;
	}
	if (!wishes.json) {
		json_object_put(files);
	} else {
		struct json_object *document =
			json_made(json_object_new_object());

		json_put(document, "files", files);
		json_put_number(document, "exit_status", (uint64_t)worst);
		if (json_print(document)) {
			cli_error("no memory");
			worst = CLI_USAGE;
		}
	}
	return worst;
}
