/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_program FILE KEEPER [SOCKET]
 *
 * A program that has a lease on FILE, held by a keeper of its own (KEEPER, the
 * executable) or by one from outside (SOCKET). Says on standard output, a line
 * each, what it is told of its keeper's fate, and "leased". Then does what it
 * reads: "eat" takes memory until there is none, "spin" computes for ever; at
 * the end of input it gives the lease back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lease.h"
#include "reason.h"

#define SIZE (1UL << 20)

/* By the engine's thread, whose descriptors are others. */
static char fate[1024];

static void shared_fate(void *arg, const char *text)
{
	(void)arg;
	snprintf(fate, sizeof(fate), "%s", text);
}

static void eat(void)
{
	for (;;) {
		void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory != MAP_FAILED)
			memset(memory, 1, SIZE);
	}
}

static void spin(void)
{
	for (volatile uint64_t n = 0;; n++)
		;
}

int main(int argc, char **argv)
{
	struct lease_config config = {.observer.shared_fate = shared_fate};
	struct lease_want want = {.type = F_WRLCK, .length = SIZE};
	struct lease_engine *engine;
	struct lease *lease;
	char line[16];

	if (argc < 3)
		return 2;
	config.keeper_path = argv[2];
	config.keeper_socket = argc > 3 ? argv[3] : NULL;
	want.fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (want.fd < 0 || ftruncate(want.fd, (off_t)SIZE)) {
		perror(argv[1]);
		return 1;
	}
	if (lease_engine_start(&config, &engine) ||
	    lease_acquire(engine, &want, &lease)) {
		fprintf(stderr, "no lease: %s\n", reason_text());
		return 1;
	}
	printf("fate: %s\nleased\n", fate);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "eat\n"))
			eat();
		else if (!strcmp(line, "spin\n"))
			spin();
	}
	if (lease_release(lease, 0, SIZE, INT64_MAX))
		return 1;
	lease_engine_stop(engine);
	return 0;
}
