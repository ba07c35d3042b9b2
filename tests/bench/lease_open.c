/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_open KEEPER [FOLDER]
 *
 * How long an outsider's open() of an idle leased file takes (nothing to
 * flush), over 1,000 breaks, against the round trip of a signal between two
 * processes in the same run. Fails where the 99th percentile is more than ten
 * round trips.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "pairs.h"
#include "reason.h"
#include "round_trip.h"

#define BREAKS 1000

static void print(const char *what, double *us)
{
	spread_of(us, BREAKS);
	printf("%-24s median %7.1f us, p99 %7.1f us, max %8.1f us\n", what,
	       us[BREAKS / 2], us[BREAKS * 99 / 100], us[BREAKS - 1]);
}

/* In a process of its own; with the description it sees when to go on. */
static void opens(const char *path, int leased, double *us)
{
	pid_t child = fork();

	if (!child) {
		for (int i = 0; i < BREAKS; i++) {
			double start;
			int fd;

			while (fcntl(leased, F_GETLEASE) != F_WRLCK)
				usleep(50);
			/* it is idle: not on its way round any more */
			usleep(500);
			start = pairs_now_ms();
			fd = open(path, O_RDONLY | O_CLOEXEC);
			us[i] = (pairs_now_ms() - start) * 1e3;
			if (fd < 0)
				_exit(1);
			close(fd);
		}
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	struct lease_config config = {
		.keeper_path = argv[1],
		.pause_min_ns = 100000,
		.pause_max_ns = 100000,
	};
	struct lease_want want = {.type = F_WRLCK, .length = 4096};
	double *trips, *us;
	struct lease_engine *engine;
	struct lease *lease;
	char path[4096];
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
	round_trips(trips, BREAKS);
	want.fd = fd;
	if (lease_engine_start(&config, &engine) ||
	    lease_acquire(engine, &want, &lease)) {
		fprintf(stderr, "%s\n", reason_text());
		unlink(path);
		return 2;
	}
	opens(path, fd, us);
	lease_release(lease, 0, 4096, INT64_MAX);
	lease_engine_stop(engine);
	unlink(path);
	print("signal round trip", trips);
	print("open of a leased file", us);
	printf("p99 of open over the median round trip: %.1f (goal: 10)\n",
	       us[BREAKS * 99 / 100] / trips[BREAKS / 2]);
	return us[BREAKS * 99 / 100] > 10 * trips[BREAKS / 2];
}
