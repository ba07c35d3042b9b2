/* SPDX-License-Identifier: BSD-2-Clause */
/* What the benchmarks of shadows share: bench_stage.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench_stage.h"
#include "reason.h"

static struct lease *first;

void bench_die(const char *what)
{
	fprintf(stderr, "%s: %m; %s\n", what, reason_text());
	exit(2);
}

struct lease_engine *bench_start(const char *keeper_path, const char *folder)
{
	struct lease_config config = {.keeper_path = keeper_path};
	struct lease_want want = {
		.fd = bench_file(folder, PAGE),
		.type = F_WRLCK,
		.length = PAGE,
	};
	struct lease_engine *engine;

	if (lease_engine_start(&config, &engine) ||
	    lease_acquire(engine, &want, &first))
		bench_die("the keeper");
	return engine;
}

void bench_stop(struct lease_engine *engine)
{
	lease_release(first, 0, PAGE, INT64_MAX);
	lease_engine_stop(engine);
}

int bench_named_file(const char *folder, size_t length, char *ret_path)
{
	static const char bytes[1UL << 20] = {1};
	int fd;

	snprintf(ret_path, 4096, "%s/bench-XXXXXX", folder);
	fd = mkostemp(ret_path, O_CLOEXEC);
	if (fd < 0)
		bench_die(ret_path);
	for (size_t at = 0; at < length; at += sizeof(bytes))
		if (write(fd, bytes, sizeof(bytes)) != sizeof(bytes))
			bench_die(ret_path);
	if (fsync(fd))
		bench_die(ret_path);
	return fd;
}

int bench_file(const char *folder, size_t length)
{
	char path[4096];
	int fd = bench_named_file(folder, length, path);

	if (unlink(path))
		bench_die(path);
	return fd;
}

uint8_t *bench_map(int fd, size_t length)
{
	void *bytes =
		mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (bytes == MAP_FAILED)
		bench_die("mmap");
	return bytes;
}

struct lease *bench_stage(struct lease_engine *engine, int fd, uint64_t offset,
			  uint64_t length)
{
	struct lease_want want = {
		.fd = fd,
		.type = F_WRLCK,
		.offset = offset,
		.length = length,
	};
	struct lease *lease;

	if (lease_acquire(engine, &want, &lease) ||
	    lease_stage(lease, offset, length))
		bench_die("stage");
	return lease;
}

void bench_unstage(struct lease *lease, uint64_t offset, uint64_t length)
{
	if (lease_unstage(lease, offset, length) ||
	    lease_release(lease, offset, length, INT64_MAX))
		bench_die("unstage");
}
