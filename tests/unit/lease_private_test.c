/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A private copy takes the place of private mappings of a file under threads
 * that store all the time: what was there is there, not one store is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "lease_stage.h"
#include "mapping.h"
#include "reason.h"
#include "unit.h"

#define LENGTH	(5 * (1UL << 20) + 3 * PAGE) /* not whole chunks */
#define WORDS	(LENGTH / sizeof(uint64_t))
#define WRITERS 3
#define ROUNDS	12
#define MANY	40UL

static struct lease_engine *engine;
static struct file file;

/* What the file has in each word. */
static uint64_t word_of(size_t i)
{
	return i * 0x9E3779B97F4A7C15 + 1;
}

static void fill_file(void)
{
	uint64_t *words = malloc(LENGTH);

	assert_non_null(words);
	for (size_t i = 0; i < WORDS; i++)
		words[i] = word_of(i);
	assert_int_equal(pwrite(file.fd, words, LENGTH, 0), LENGTH);
	free(words);
}

static int set_up_alone(void **state)
{
	struct lease_config config = {.keeper_path = "/no/keeper"};

	(void)state;
	file_make(&file, LENGTH);
	fill_file();
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

/* With one thread more, so that the program isn't alone. */
static int set_up(void **state)
{
	idler_start();
	return set_up_alone(state);
}

static int tear_down_alone(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	file_remove(&file);
	return 0;
}

static int tear_down(void **state)
{
	idler_stop();
	return tear_down_alone(state);
}

static _Atomic uint64_t *map_file(int protection)
{
	void *map = mmap(NULL, LENGTH, protection, MAP_PRIVATE, file.fd, 0);

	assert_true(map != MAP_FAILED);
	return map;
}

static void privatize(const void *at, size_t length)
{
	int r = lease_privatize(engine, (uintptr_t)at, length);

	if (r)
		fail_msg("%d: %s", r, reason_text());
}

static bool is_file_at(const void *at)
{
	struct mapping mapping;

	assert_int_equal(mapping_at((uintptr_t)at, &mapping, NULL), 0);
	return mapping.ino != 0;
}

static int protection_at(const void *at)
{
	struct mapping mapping;

	assert_int_equal(mapping_at((uintptr_t)at, &mapping, NULL), 0);
	return mapping.protection;
}

/* Has the mapping this flag in smaps? */
static bool has_flag(const void *at, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	uintptr_t start, end, wanted = (uintptr_t)at;
	bool is_there = false, has = false;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			is_there = start <= wanted && wanted < end;
		else if (is_there && !strncmp(line, "VmFlags:", 8))
			has = strstr(line, flag);
	}
	fclose(smaps);
	return has;
}

static void check_file(void)
{
	uint64_t *words = malloc(LENGTH);

	assert_int_equal(pread(file.fd, words, LENGTH, 0), LENGTH);
	for (size_t i = 0; i < WORDS; i++)
		assert_int_equal(words[i], word_of(i));
	free(words);
}

/* Each word but those that were stored to: every 1000th. */
static void check_bytes(const _Atomic uint64_t *words)
{
	for (size_t i = 0; i < WORDS; i++)
		assert_int_equal(words[i], i % 1000 ? word_of(i) : i);
}

static void private__what_was_there_is_there(void **state)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	uint64_t theirs = 7;

	(void)state;
	for (size_t i = 0; i < WORDS; i += 1000)
		words[i] = i;
	privatize((void *)words, LENGTH);
	assert_false(is_file_at((void *)words));
	assert_false(is_file_at((void *)&words[WORDS - 1]));
	check_bytes(words);
	check_file();
	/* It is a copy by now. */
	assert_int_equal(pwrite(file.fd, &theirs, 8, 8), 8);
	check_bytes(words);
	/* Nothing is left to be done. */
	privatize((void *)words, LENGTH);
	check_bytes(words);
	munmap((void *)words, LENGTH);
}

/* Each writer has every WRITERS-th word. */
struct writer {
	pthread_t thread;
	_Atomic uint64_t *words;
	unsigned int first;
	atomic_bool *stop;
	uint64_t stores;
	uint64_t wrong;
};

static size_t words_of(const struct writer *writer)
{
	return (WORDS - writer->first + WRITERS - 1) / WRITERS;
}

/* What the i-th of `words` has after n stores in turn. */
static uint64_t expected(const struct writer *writer, uint64_t i, uint64_t n)
{
	uint64_t words = words_of(writer);

	return i >= n ? word_of(i * WRITERS + writer->first)
		      : (n - 1 - i) / words * words + i + 1;
}

static void *write_all_the_time(void *arg)
{
	struct writer *writer = arg;
	size_t words = words_of(writer);

	while (!atomic_load_explicit(writer->stop, memory_order_relaxed)) {
		uint64_t i = writer->stores % words;
		_Atomic uint64_t *at =
			&writer->words[i * WRITERS + writer->first];

		writer->wrong +=
			atomic_load(at) != expected(writer, i, writer->stores);
		atomic_store_explicit(at, ++writer->stores,
				      memory_order_relaxed);
	}
	return NULL;
}

static void start_writers(struct writer *writers, _Atomic uint64_t *words,
			  atomic_bool *stop)
{
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){
			.words = words, .first = i, .stop = stop};
		assert_int_equal(pthread_create(&writers[i].thread, NULL,
						write_all_the_time,
						&writers[i]),
				 0);
	}
}

static void check_writers(struct writer *writers, atomic_bool *stop)
{
	atomic_store(stop, true);
	for (unsigned int w = 0; w < WRITERS; w++)
		pthread_join(writers[w].thread, NULL);
	for (unsigned int w = 0; w < WRITERS; w++) {
		assert_int_equal(writers[w].wrong, 0);
		for (size_t i = 0; i < words_of(&writers[w]); i++)
			assert_int_equal(
				writers[w].words[i * WRITERS + w],
				expected(&writers[w], i, writers[w].stores));
	}
}

static void copy_under_writers(void)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	struct writer writers[WRITERS];
	atomic_bool stop = false;

	start_writers(writers, words, &stop);
	privatize((void *)words, LENGTH);
	usleep(1000);
	check_writers(writers, &stop);
	assert_false(is_file_at((void *)words));
	munmap((void *)words, LENGTH);
}

static void private__threads_store_none_is_lost(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		copy_under_writers();
	check_file();
}

static void private__everything_is_locked_none_is_lost(void **state)
{
	(void)state;
	assert_int_equal(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
	for (int i = 0; i < 3; i++)
		copy_under_writers();
	assert_int_equal(munlockall(), 0);
}

struct receiver {
	pthread_t thread;
	int fd;
	_Atomic uint64_t *words;
	atomic_bool is_through;
	bool failed;
};

/* Raw: of two tables ThreadSanitizer takes the same number for one. */
static void *receive(void *arg)
{
	struct receiver *receiver = arg;
	uint64_t *words = (uint64_t *)receiver->words;
	size_t at = 0;
	ssize_t n;

	while (at < LENGTH &&
	       (n = syscall(SYS_read, receiver->fd, (char *)words + at,
			    LENGTH - at < 4000 ? LENGTH - at : 4000)) > 0)
		at += (size_t)n;
	receiver->failed = at != LENGTH;
	atomic_store(&receiver->is_through, true);
	return NULL;
}

/* A system call that consumed what it could not store would lose it. */
static void private__system_calls_into_the_range_lose_nothing(void **state)
{
	struct receiver receiver = {.words = map_file(PROT_READ | PROT_WRITE)};
	uint64_t numbers[512];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	receiver.fd = ends[0];
	pthread_create(&receiver.thread, NULL, receive, &receiver);
	for (size_t i = 0; i < WORDS; i += 512) {
		size_t count = WORDS - i < 512 ? WORDS - i : 512;

		for (size_t j = 0; j < count; j++)
			numbers[j] = ~(i + j);
		assert_int_equal(write(ends[1], numbers, 8 * count), 8 * count);
		if (i == 512UL * 20)
			privatize((void *)receiver.words, LENGTH);
	}
	pthread_join(receiver.thread, NULL);
	assert_false(receiver.failed);
	for (size_t i = 0; i < WORDS; i++)
		assert_int_equal(receiver.words[i], ~i);
	close(ends[0]);
	close(ends[1]);
	munmap((void *)receiver.words, LENGTH);
}

/* The pages that both have, till one of them writes. */
static void private__a_child_that_was_forked_keeps_its_own(void **state)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	int go[2], status;
	pid_t child;
	char byte;

	(void)state;
	for (size_t i = 0; i < WORDS; i += 1000)
		words[i] = i;
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	child = fork();
	if (!child) {
		close(go[1]);
		if (read(go[0], &byte, 1) != 0)
			_exit(1);
		for (size_t i = 0; i < WORDS; i += 1000)
			if (words[i] != i)
				_exit(2);
		_exit(0);
	}
	privatize((void *)words, LENGTH);
	check_bytes(words);
	for (size_t i = 0; i < WORDS; i += 1000)
		words[i] = 0;
	close(go[0]);
	close(go[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	munmap((void *)words, LENGTH);
}

static void private__children_inherit_it(void **state)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	pid_t child;
	int status;

	(void)state;
	privatize((void *)words, LENGTH);
	child = fork();
	if (!child)
		_exit(words[WORDS - 1] != word_of(WORDS - 1));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	munmap((void *)words, LENGTH);
}

static void private__flags_stay(void **state)
{
	void *map = (void *)map_file(PROT_READ | PROT_WRITE);
	bool is_locked;

	(void)state;
	/* Not for fs-dax. AddressSanitizer's mlock() never does. */
	assert_int_equal(syscall(SYS_mlock, map, LENGTH), 0);
	is_locked = has_flag(map, " lo");
	assert_int_equal(madvise(map, LENGTH, MADV_DONTFORK), 0);
	assert_int_equal(madvise(map, LENGTH, MADV_DONTDUMP), 0);
	assert_int_equal(madvise(map, LENGTH, MADV_SEQUENTIAL), 0);
	privatize(map, LENGTH);
	assert_false(is_file_at(map));
	assert_int_equal(has_flag(map, " lo"), is_locked);
	assert_true(has_flag(map, " dc"));
	assert_true(has_flag(map, " dd"));
	assert_true(has_flag(map, " sr"));
	munmap(map, LENGTH);

	map = (void *)map_file(PROT_READ | PROT_WRITE);
	privatize(map, LENGTH);
	assert_false(has_flag(map, " lo"));
	assert_false(has_flag(map, " dc"));
	munmap(map, LENGTH);
}

/* One mapping, of whose first pages each has one of these. */
static void private__protection_stays(void **state)
{
	static const int protections[] = {
		PROT_NONE,
		PROT_READ,
		PROT_READ | PROT_WRITE,
		PROT_READ | PROT_EXEC,
	};
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	char *map = (char *)words;

	(void)state;
	for (size_t i = 0; i < WORDS; i += 1000)
		words[i] = i;
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(
			mprotect(map + i * PAGE, PAGE, protections[i % 4]), 0);
	privatize(map, LENGTH);
	for (size_t i = 0; i < MANY; i++) {
		assert_false(is_file_at(map + i * PAGE));
		assert_int_equal(protection_at(map + i * PAGE),
				 protections[i % 4]);
	}
	assert_int_equal(mprotect(map, MANY * PAGE, PROT_READ | PROT_WRITE), 0);
	check_bytes(words);
	munmap(map, LENGTH);
}

/* Of what else lies there nothing is touched. */
static void private__what_is_no_private_file_stays(void **state)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	char *map = (char *)words;
	void *shared, *heap;

	(void)state;
	shared = mmap(map + 8 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED, file.fd, 8 * PAGE);
	heap = mmap(map + 12 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	assert_true(shared != MAP_FAILED && heap != MAP_FAILED);
	strcpy(heap, "heap");
	privatize(map + 4 * PAGE + 1, 16 * PAGE);
	assert_true(is_file_at(map + 3 * PAGE));
	assert_false(is_file_at(map + 4 * PAGE));
	assert_true(is_file_at(shared));
	assert_string_equal(heap, "heap");
	assert_false(is_file_at(map + 14 * PAGE));
	assert_false(is_file_at(map + 20 * PAGE));
	assert_true(is_file_at(map + 21 * PAGE));
	for (size_t i = 0; i < WORDS; i++)
		if (i / 512 < 12 || i / 512 > 13)
			assert_int_equal(words[i], word_of(i));
	munmap(map, LENGTH);
}

static void private__beyond_the_end_of_the_file_is_refused(void **state)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);
	const _Atomic uint64_t *only_read = map_file(PROT_READ);

	(void)state;
	words[1] = 11;
	assert_int_equal(ftruncate(file.fd, 10 * PAGE), 0);
	assert_int_equal(lease_privatize(engine, (uintptr_t)words, 11 * PAGE),
			 -EFAULT);
	assert_non_null(strstr(reason_text(), "beyond the end"));
	assert_int_equal(
		lease_privatize(engine, (uintptr_t)only_read, 11 * PAGE),
		-EFAULT);
	assert_int_equal(words[1], 11);
	assert_int_equal(words[512], word_of(512));
	privatize((void *)words, 10 * PAGE);
	privatize((void *)only_read, 10 * PAGE);
	assert_int_equal(words[1], 11);
	assert_int_equal(words[10 * 512 - 1], word_of(10 * 512 - 1));
	assert_int_equal(only_read[10 * 512 - 1], word_of(10 * 512 - 1));
	munmap((void *)words, LENGTH);
	munmap((void *)only_read, LENGTH);
}

static void private__nothing_mapped_is_refused(void **state)
{
	char *map = (void *)map_file(PROT_READ | PROT_WRITE);

	(void)state;
	munmap(map + PAGE, PAGE);
	assert_int_equal(lease_privatize(engine, (uintptr_t)map, 2 * PAGE),
			 -EFAULT);
	assert_non_null(strstr(reason_text(), "nothing is mapped"));
	munmap(map, LENGTH);
}

static void private__one_thread_needs_no_trap(void **state)
{
	_Atomic uint64_t *words = map_file(PROT_READ | PROT_WRITE);

	(void)state;
	for (size_t i = 0; i < WORDS; i += 1000)
		words[i] = i;
	privatize((void *)words, LENGTH);
	assert_false(is_file_at((void *)words));
	check_bytes(words);
	check_file();
	munmap((void *)words, LENGTH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(private__what_was_there_is_there),
		TEST(private__threads_store_none_is_lost),
		TEST(private__everything_is_locked_none_is_lost),
		TEST(private__system_calls_into_the_range_lose_nothing),
		TEST(private__a_child_that_was_forked_keeps_its_own),
		TEST(private__children_inherit_it),
		TEST(private__flags_stay),
		TEST(private__protection_stays),
		TEST(private__what_is_no_private_file_stays),
		TEST(private__beyond_the_end_of_the_file_is_refused),
		TEST(private__nothing_mapped_is_refused),
		cmocka_unit_test_setup_teardown(
			private__one_thread_needs_no_trap, set_up_alone,
			tear_down_alone),
	};

	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
