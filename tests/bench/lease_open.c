/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_open KEEPER [FOLDER]
 *
 * How long an outsider's open() of an idle leased file takes (nothing to
 * flush), over 1,000 breaks, against the round trip of a signal between two
 * processes. Before each open there is a round trip, with a process that has
 * slept as long as the keeper has: both wake from the same idle machine, and
 * what else happens on it meets both alike. Fails where the 99th percentile of
 * the opens is more than ten times the median round trip.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "budget.h"
#include "lease.h"
#include "pairs.h"
#include "reason.h"
#include "round_trip.h"

#define BREAKS 1000

static void print(const char *what, double *us)
{
	spread_of(us, BREAKS);
	printf("# %s: median %7.1f us, p99 %7.1f us, max %8.1f us\n", what,
	       us[BREAKS / 2], us[BREAKS * 99 / 100], us[BREAKS - 1]);
}

/* It is idle: not on its way round any more. */
static void wait_until_idle(int leased)
{
	while (fcntl(leased, F_GETLEASE) != F_WRLCK)
		usleep(50);
	usleep(500);
}

/* In a process of its own; with the description it sees when to go on. */
static bool opens(const char *path, int leased, double *trips, double *us)
{
	pid_t child = fork(), partner;
	int status;

	if (!child) {
		partner = round_trip_start();
		if (partner < 0)
			_exit(1);
		for (int i = 0; i < BREAKS; i++) {
			double start;
			int fd;

			wait_until_idle(leased);
			trips[i] = round_trip_us(partner);
			usleep(500);
			start = pairs_now_ms();
			fd = open(path, O_RDONLY | O_CLOEXEC);
			us[i] = (pairs_now_ms() - start) * 1e3;
			if (fd < 0)
				_exit(1);
			close(fd);
		}
		round_trip_end(partner);
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && !status;
}

int main(int argc, char **argv)
{
	struct lease_config config = {
		.keeper_path = argv[1],
		.pause_min_ns = 100000,
		.pause_max_ns = 100000,
	};
	struct lease_want want = {.type = F_WRLCK, .length = 4096};
	double *trips, *us, late, trip;
	struct lease_engine *engine;
	struct lease *lease;
	char path[4096];
	bool done;
	int fd;

	if (argc < 2) {
		fprintf(stderr, "usage: lease_open KEEPER [FOLDER]\n");
		return 2;
	}
	trips = mmap(NULL, 2 * BREAKS * sizeof(*trips), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trips == MAP_FAILED)
		return 2;
	us = trips + BREAKS;
	snprintf(path, sizeof(path), "%s/lease-open-XXXXXX",
		 argc > 2 ? argv[2] : ".");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 4096)) {
		perror(path);
		return 2;
	}
	want.fd = fd;
	if (lease_engine_start(&config, &engine) ||
	    lease_acquire(engine, &want, &lease)) {
		fprintf(stderr, "%s\n", reason_text());
		unlink(path);
		return 2;
	}
	done = opens(path, fd, trips, us);
	lease_release(lease, 0, 4096, INT64_MAX);
	lease_engine_stop(engine);
	unlink(path);
	if (!done) {
		fprintf(stderr, "the process that opens has failed\n");
		return 2;
	}
	print("signal round trip", trips);
	print("open of a leased file", us);
	late = us[BREAKS * 99 / 100];
	trip = trips[BREAKS / 2];
	return !budget_print(&(struct budget){
		.what = "open of an idle leased file, p99",
		.unit = "us",
		.base_name = "signal round trip, median",
		.ours = late,
		.base = trip,
		.ratio = late / trip,
		.min = us[BREAKS / 2] / trip,
		.max = us[BREAKS - 1] / trip,
		.count = BREAKS,
		.goal = 10,
	});
}
