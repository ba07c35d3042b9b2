/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads read and write a file by system calls and through its mapping while
 * parts of it get shadows and lose them, and others open it: each finds what it
 * wrote last, by whichever way, and in the end the file has all of it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "lease_stage.h"
#include "own_io.h"
#include "unit.h"

#define PAGES	96UL
#define LENGTH	(PAGES * PAGE)
#define THREADS 4
#define ROUNDS	40
/* Neighbours share a page, and a word is one thread's. */
#define PART (LENGTH / THREADS - 8)
#define MOST 30000UL

static struct lease_engine *engine;
static struct file file;
static dev_t dev;
static ino_t ino;
static char *map;
static char *model;
static atomic_bool stop;

struct thread {
	pthread_t id;
	size_t first;
	uint64_t calls;
	unsigned int seed;
	char wrong[100];
};

static uint32_t next(struct thread *thread)
{
	return (uint32_t)rand_r(&thread->seed);
}

static bool transfer(struct thread *thread, bool is_write, char *bytes,
		     size_t length, size_t at)
{
	size_t first = length ? next(thread) % length : 0;
	struct iovec list[] = {
		{bytes, first},
		{bytes + first, length - first},
	};
	struct own_io io = {
		.fd = file.fd,
		.is_write = is_write,
		.status = O_RDWR,
		.offset = (int64_t)at,
		.vector = list,
		.count = 2,
	};
	struct own_io_done done;

	return own_io(engine, dev, ino, &io, &done) &&
	       done.result == (ssize_t)length;
}

static void act(struct thread *thread, char *bytes)
{
	size_t at = next(thread) % PART, length = next(thread) % MOST;
	uint32_t what = next(thread) % 4;

	if (length > PART - at)
		length = PART - at;
	at += thread->first;
	if (what >= 2)
		for (size_t i = 0; i < length; i++)
			bytes[i] = (char)next(thread);
	if ((what == 0 || what == 2) &&
	    !transfer(thread, what == 2, bytes, length, at))
		snprintf(thread->wrong, sizeof(thread->wrong),
			 "a transfer of %zu at %zu failed", length, at);
	if (what == 1)
		memcpy(bytes, map + at, length);
	if (what == 3)
		memcpy(map + at, bytes, length);
	if (what >= 2)
		memcpy(model + at, bytes, length);
	else if (memcmp(bytes, model + at, length) != 0)
		snprintf(thread->wrong, sizeof(thread->wrong),
			 "%zu at %zu are not what was written last (%s)",
			 length, at, what ? "mapping" : "call");
	thread->calls++;
}

static void *act_at_random(void *arg)
{
	struct thread *thread = arg;
	char *bytes = malloc(MOST);

	while (!atomic_load(&stop) && !*thread->wrong)
		act(thread, bytes);
	free(bytes);
	return NULL;
}

static void come_and_go(struct thread *own)
{
	uint64_t offset = next(own) % (PAGES - 1) * PAGE;
	uint64_t length = (1 + next(own) % (PAGES - 1)) * PAGE;
	struct lease *lease;

	if (length > LENGTH - PAGE - offset)
		length = LENGTH - PAGE - offset;
	if (!length)
		return;
	lease = stage_range(engine, file.fd, F_WRLCK, offset, length);
	if (next(own) % 2)
		assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	if (next(own) % 4 == 0)
		file_check_let_in(&file, O_RDONLY);
	wait_for(stage_is_held, lease, "the file is ours");
	unstage_range(lease, offset, length);
}

static void model__calls_and_mapping_are_one(void **state)
{
	struct thread threads[THREADS] = {0}, own = {.seed = 99};
	struct lease *lease;
	uint64_t calls = 0;
	char *bytes;

	(void)state;
	/* So that all calls go our way: what is under way when a file gets its
	 * first shadow does not. */
	lease = stage_range(engine, file.fd, F_WRLCK, LENGTH - PAGE, PAGE);
	for (unsigned int i = 0; i < THREADS; i++) {
		threads[i].seed = i;
		threads[i].first = i * (PART + 8);
		pthread_create(&threads[i].id, NULL, act_at_random,
			       &threads[i]);
	}
	for (int i = 0; i < ROUNDS; i++)
		come_and_go(&own);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		assert_string_equal(threads[i].wrong, "");
		calls += threads[i].calls;
	}
	assert_memory_equal(map, model, LENGTH);
	unstage_range(lease, LENGTH - PAGE, PAGE);
	bytes = malloc(LENGTH);
	assert_int_equal(pread(file.fd, bytes, LENGTH, 0), LENGTH);
	assert_memory_equal(bytes, model, LENGTH);
	free(bytes);
	print_message("%llu calls and copies\n", (unsigned long long)calls);
}

static int set_up(void **state)
{
	struct lease_config config = {.keeper_path = KEEPER_PATH};
	struct stat st;

	(void)state;
	file_make(&file, LENGTH);
	assert_int_equal(fstat(file.fd, &st), 0);
	dev = st.st_dev;
	ino = st.st_ino;
	map = file_map(&file, LENGTH);
	model = calloc(1, LENGTH);
	return lease_engine_start(&config, &engine);
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	free(model);
	file_remove(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			model__calls_and_mapping_are_one, set_up, tear_down),
	};
	if (file_cannot_lease())
		return 77;
	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
