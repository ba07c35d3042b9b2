/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * regions KEEPER [FOLDER [COUNT [threads]]]
 *
 * COUNT regions (1,000) of 64 KiB of one file that is mapped whole, with a page
 * between two: what registering one costs, in the median of the first 100 and
 * of the last; for each region what an outsider's open() waits when there are
 * 100 of them and when there are all; and what deregistering one costs, of the
 * first 100 that go and of the last. With "threads" the program has a second
 * one, which any registration has to hold up.
 * It is told, not judged: who registers has to look at all that is mapped.
 * Points for a plot: the same when there are 100, 1,000 and so on.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench_stage.h"
#include "budget.h"
#include "pairs.h"

#define FIRST  100U
#define WARM   20U
#define BREAKS 3U
#define LENGTH (64UL << 10)
#define STRIDE (LENGTH + PAGE)

static struct lease_engine *engine;
static struct lease *lease;
static char path[4096];
static int fd;
static unsigned int total = 1000;

static double now_us(void)
{
	return pairs_now_ms() * 1e3;
}

static void tell(const char *what, struct spread few, struct spread many)
{
	char text[128];

	snprintf(text, sizeof(text), "%s, %u regions of a file", what, total);
	budget_print_growth(text, many.median, few.median, 0);
}

/* The quickest, and up to the median: what else the machine does is not meant.
 */
static void point(const char *series, unsigned int regions, struct spread us)
{
	budget_point("scale-regions", series, regions, us.min, us.min,
		     us.median);
}

/* An outsider, forked before there is anything to inherit. */
static int ask[2], answer[2];

static void start_outsider(void)
{
	char go;

	if (pipe2(ask, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		bench_die("pipe");
	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(fd);
	close(ask[1]);
	while (read(ask[0], &go, 1) == 1) {
		double us = now_us();
		int opened = open(path, O_RDONLY | O_CLOEXEC);

		us = now_us() - us;
		close(opened);
		if (opened < 0 ||
		    write(answer[1], &us, sizeof(us)) != sizeof(us))
			break;
	}
	_exit(0);
}

static struct spread break_us(unsigned int regions)
{
	double us[BREAKS];

	for (unsigned int i = 0; i < BREAKS; i++) {
		if (write(ask[1], "", 1) != 1 ||
		    read(answer[0], &us[i], sizeof(*us)) != sizeof(*us))
			bench_die("an outsider's open()");
		while (lease_state(lease) != RECALL_HELD)
			usleep(1000);
	}
	for (unsigned int i = 0; i < BREAKS; i++)
		us[i] /= regions;
	return spread_of(us, BREAKS);
}

static struct spread stage_us(unsigned int from)
{
	double us[FIRST];

	for (unsigned int i = 0; i < FIRST; i++) {
		us[i] = now_us();
		lease = bench_stage(engine, fd, (from + i) * STRIDE, LENGTH);
		us[i] = now_us() - us[i];
	}
	return spread_of(us, FIRST);
}

static struct spread unstage_us(unsigned int from)
{
	double us[FIRST];

	for (unsigned int i = 0; i < FIRST; i++) {
		us[i] = now_us();
		bench_unstage(lease, (from + i) * STRIDE, LENGTH);
		us[i] = now_us() - us[i];
	}
	return spread_of(us, FIRST);
}

/* At least FIRST more. */
static unsigned int next_stop(unsigned int regions)
{
	return regions * 10 + FIRST > total ? total : regions * 10;
}

/* There are as many, and the last FIRST were among them. */
static void tell_point(unsigned int regions, struct spread staged_us,
		       struct spread broken_us)
{
	point("registering one more", regions, staged_us);
	point("a region's part of a break", regions, broken_us);
}

static void measure(void)
{
	struct spread few, few_broken, many, broken;
	double all_us = now_us();
	unsigned int rest = total - FIRST, there = FIRST;

	few = many = stage_us(0);
	few_broken = broken = break_us(FIRST);
	tell_point(there, few, few_broken);
	while (there < total) {
		unsigned int stop = next_stop(there);

		for (unsigned int i = there; i < stop - FIRST; i++)
			lease = bench_stage(engine, fd, i * STRIDE, LENGTH);
		many = stage_us(stop - FIRST);
		broken = break_us(stop);
		there = stop;
		tell_point(there, many, broken);
	}
	tell("registering one", few, many);
	tell("a region's part of a break", few_broken, broken);
	many = unstage_us(rest);
	point("deregistering one", total, many);
	for (unsigned int i = FIRST; i < rest; i++)
		bench_unstage(lease, i * STRIDE, LENGTH);
	few = unstage_us(0);
	point("deregistering one", FIRST, few);
	tell("deregistering one", few, many);
	printf("# all of it, %u regions: %.2f s\n", total,
	       (now_us() - all_us) / 1e6);
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* A descriptor each, here and in the keeper. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		bench_die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		bench_die("setrlimit");
}

int main(int argc, char **argv)
{
	const char *folder = argc > 2 ? argv[2] : ".";
	pthread_t thread;

	if (argc > 3)
		total = (unsigned int)atoi(argv[3]);
	if (argc < 2 || total < 2 * FIRST + WARM) {
		fprintf(stderr, "usage: regions KEEPER [FOLDER [COUNT "
				"[threads]]]\n");
		return 2;
	}
	raise_limit();
	fd = bench_named_file(folder, (total + WARM) * STRIDE, path);
	start_outsider();
	bench_map(fd, (total + WARM) * STRIDE);
	engine = bench_start(argv[1], folder);
	if (argc > 4 && pthread_create(&thread, NULL, wait_for_ever, NULL))
		bench_die("pthread_create");
	for (unsigned int i = 0; i < WARM; i++)
		lease = bench_stage(engine, fd, (total + i) * STRIDE, LENGTH);
	measure();
	unlink(path);
	return 0;
}
