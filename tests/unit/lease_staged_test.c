/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file whose mappings show a shadow, with engine and keeper: what others see
 * of it, what the program sees of what others do, and what is left of both.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "mapping.h"
#include "reason.h"
#include "shadows.h"
#include "trap.h"
#include "unit.h"

#define PAGES  700UL
#define LENGTH (PAGES * PAGE)

static struct lease_engine *engine;
static struct file file;
static char *map;
static pthread_t idler;
static atomic_bool idle;
static _Atomic pid_t keepers;
static _Atomic uint64_t compared, copied;

/* So that it isn't alone. */
static void *be_there(void *arg)
{
	while (atomic_load(&idle))
		usleep(1000);
	return arg;
}

static void keeper_died(void *arg, int error)
{
	(void)arg;
	atomic_fetch_add(&keepers, !error);
}

static void looked(void *arg, struct lease *lease)
{
	struct lease_flushed flushed;

	(void)arg;
	lease_flushed(lease, &flushed);
	atomic_store(&compared, flushed.compared);
	atomic_store(&copied, flushed.copied);
}

static void start_engine(void)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.keeper_died = keeper_died, .looked = looked},
	};

	assert_int_equal(lease_engine_start(&config, &engine), 0);
}

static void start_threads(void)
{
	atomic_store(&idle, true);
	atomic_store(&keepers, 0);
	atomic_store(&compared, 0);
	atomic_store(&copied, 0);
	pthread_create(&idler, NULL, be_there, NULL);
	start_engine();
}

static int set_up(void **state)
{
	(void)state;
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	start_threads();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	atomic_store(&idle, false);
	pthread_join(idler, NULL);
	munmap(map, LENGTH);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

static struct lease *stage(uint64_t offset, uint64_t length)
{
	struct lease_want want = {
		.fd = -1,
		.addr = (uintptr_t)map + offset,
		.type = F_WRLCK,
		.offset = offset,
		.length = length,
	};
	struct lease *lease = NULL;
	int r = lease_acquire(engine, &want, &lease);

	if (!r)
		r = lease_stage(lease, offset, length);
	if (r)
		fail_msg("%d: %s", r, reason_text());
	return lease;
}

static void unstage(struct lease *lease, uint64_t offset, uint64_t length)
{
	int r = lease_unstage(lease, offset, length);

	if (!r)
		r = lease_release(lease, offset, length, INT64_MAX);
	if (r)
		fail_msg("%d: %s", r, reason_text());
}

/* What lies at this address: the file itself, or something else? */
static bool is_file_at(const char *at)
{
	struct mapping mapping;
	struct stat st;

	assert_int_equal(mapping_at((uintptr_t)at, &mapping, NULL), 0);
	assert_int_equal(fstat(file.fd, &st), 0);
	return mapping.dev == st.st_dev && mapping.ino == st.st_ino;
}

static bool is_held(void *lease)
{
	return lease_state(lease) == RECALL_HELD;
}

static bool is_yielded(void *lease)
{
	return lease_state(lease) == RECALL_YIELDED;
}

/* Another process opens it and runs fn(fd): true is well. */
static void outsider(int flags, bool (*fn)(int fd))
{
	pid_t child = fork();
	int status;

	if (!child) {
		int fd = open(file.path, flags | O_CLOEXEC);

		_exit(fd < 0 ? 2 : !fn(fd));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static bool reads_what_we_stored(int fd)
{
	char text[16] = "";

	return pread(fd, text, 7, (off_t)(650 * PAGE)) == 7 &&
	       !strcmp(text, "stored!") && pread(fd, text, 2, 1) == 2 &&
	       text[0] == 'a' && text[1] == 'b';
}

/* As a hook asks, which knows a descriptor or an address. */
static void staged__is_found_and_flushed_by_file_and_by_shadow(void **state)
{
	struct lease *lease = stage(2 * PAGE, 4 * PAGE);
	struct mapping mapping;
	struct stat st;
	char text[8] = "";

	(void)state;
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(mapping_at((uintptr_t)map + 3 * PAGE, &mapping, NULL),
			 0);
	assert_int_equal(atomic_load(&shadows_count), 1);
	assert_int_equal(atomic_load(&shadows_bytes), 4 * PAGE);
	assert_true(shadows_has_file(engine, st.st_dev, st.st_ino));
	assert_false(shadows_has_file(engine, mapping.dev, mapping.ino));
	assert_true(shadows_has_memfd(engine, mapping.dev, mapping.ino));
	assert_false(shadows_has_memfd(engine, st.st_dev, st.st_ino));

	memcpy(map + 3 * PAGE, "file", 4);
	assert_int_equal(
		lease_flush_file(engine, st.st_dev, st.st_ino, 0, UINT64_MAX),
		0);
	assert_int_equal(pread(file.fd, text, 4, 3 * PAGE), 4);
	assert_string_equal(text, "file");
	memcpy(map + 3 * PAGE, "memfd", 5);
	assert_int_equal(
		lease_flush_file(engine, mapping.dev, mapping.ino, PAGE, 5), 0);
	assert_int_equal(pread(file.fd, text, 5, 3 * PAGE), 5);
	assert_string_equal(text, "memfd");
	assert_int_equal(lease_flush_file(engine, 1, 1, 0, PAGE), 0);

	unstage(lease, 2 * PAGE, 4 * PAGE);
	assert_int_equal(atomic_load(&shadows_count), 0);
	assert_int_equal(atomic_load(&shadows_bytes), 0);
	assert_false(shadows_has_file(engine, st.st_dev, st.st_ino));
	assert_false(shadows_has_memfd(engine, mapping.dev, mapping.ino));
}

static void staged__others_see_what_was_stored_before_they_opened(void **state)
{
	struct lease *lease = stage(0, LENGTH);

	(void)state;
	assert_false(is_file_at(map));
	assert_false(is_file_at(map + LENGTH - PAGE));
	for (int i = 0; i < 10; i++) {
		memcpy(map + 650 * PAGE, i % 2 ? "stored!" : "Stored!", 7);
		memcpy(map + 1, "ab", 2);
		map[650 * PAGE] = 's';
		outsider(O_RDONLY, reads_what_we_stored);
	}
	wait_for(is_held, lease, "the file is ours again");
	unstage(lease, 0, LENGTH);
	assert_true(is_file_at(map));
	assert_true(is_file_at(map + LENGTH - PAGE));
	assert_memory_equal(map + 650 * PAGE, "stored!", 7);
}

static bool writes(int fd)
{
	return pwrite(fd, "theirs", 6, 5 * PAGE + 100) == 6;
}

static bool shows_theirs(void *arg)
{
	return !memcmp((char *)arg + 5 * PAGE + 100, "theirs", 6);
}

static void staged__what_others_wrote_is_in_the_mapping(void **state)
{
	struct lease *lease = stage(0, LENGTH);

	(void)state;
	memcpy(map + 7 * PAGE, "ours", 4);
	outsider(O_RDWR, writes);
	wait_for(shows_theirs, map, "it is in the shadow");
	assert_memory_equal(map + 7 * PAGE, "ours", 4);
	wait_for(is_held, lease, "the file is ours again");
	unstage(lease, 0, LENGTH);
	assert_memory_equal(map + 5 * PAGE + 100, "theirs", 6);
	assert_memory_equal(map + 7 * PAGE, "ours", 4);
}

static void staged__flushed_is_in_the_file(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	char text[8] = "";

	(void)state;
	for (int i = 0; i < 20; i++) {
		memcpy(map + 3 * PAGE * (size_t)i, "flushed", 8);
		assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
		assert_int_equal(pread(file.fd, text, 8, 3 * (off_t)PAGE * i),
				 8);
		assert_string_equal(text, "flushed");
	}
	unstage(lease, 0, LENGTH);
}

static bool has_copied(void *least)
{
	return atomic_load(&copied) >= *(uint64_t *)least;
}

static void staged__what_the_keeper_does_is_counted(void **state)
{
	struct lease *first = stage(0, 100 * PAGE);
	struct lease *second = stage(100 * PAGE, 100 * PAGE);
	uint64_t least = 20;

	(void)state;
	assert_ptr_equal(first, second);
	for (size_t i = 0; i < least; i++)
		memcpy(map + i * PAGE, "counted", 8);
	assert_int_equal(lease_flush(first, 0, 100 * PAGE), 0);
	wait_for(has_copied, &least, "what was flushed is counted");
	assert_true(atomic_load(&compared) >= least);
	/* Of a shadow that is gone, too. */
	unstage(first, 0, 100 * PAGE);
	least++;
	memcpy(map + 150 * PAGE, "counted", 8);
	assert_int_equal(lease_flush(second, 100 * PAGE, 100 * PAGE), 0);
	wait_for(has_copied, &least, "and goes on from there");
	unstage(second, 100 * PAGE, 100 * PAGE);
}

static void
staged__regions_overlap_the_file_is_back_after_the_last(void **state)
{
	struct lease *a = stage(0, 100 * PAGE);
	struct lease *b = stage(50 * PAGE + 1, 100 * PAGE);
	struct lease *c = stage(0, LENGTH);

	(void)state;
	assert_ptr_equal(a, b);
	assert_ptr_equal(a, c);
	memcpy(map + 60 * PAGE, "both", 4);
	unstage(c, 0, LENGTH);
	assert_false(is_file_at(map));
	assert_true(is_file_at(map + 151 * PAGE));
	unstage(a, 0, 100 * PAGE);
	assert_false(is_file_at(map + 60 * PAGE));
	assert_memory_equal(map + 60 * PAGE, "both", 4);
	unstage(b, 50 * PAGE + 1, 100 * PAGE);
	assert_true(is_file_at(map + 60 * PAGE));
	assert_memory_equal(map + 60 * PAGE, "both", 4);
}

static int reader_gate[2];

static bool stays_until_told(int fd)
{
	char byte;

	(void)fd;
	close(reader_gate[1]);
	return read(reader_gate[0], &byte, 1) == 0;
}

static bool has_no_lease(void *arg)
{
	return file_lease_holder(arg) == 0 && is_file_at(map);
}

/* The region goes while somebody reads the file: nothing is lost. */
static void staged__given_back_while_others_have_it_it_goes_later(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	pid_t reader;
	int status;

	(void)state;
	assert_int_equal(pipe2(reader_gate, O_CLOEXEC), 0);
	reader = fork();
	if (!reader) {
		int fd = open(file.path, O_RDONLY | O_CLOEXEC);

		_exit(fd < 0 ? 2 : !stays_until_told(fd));
	}
	wait_for(is_yielded, lease, "the reader has it");
	memcpy(map, "meanwhile", 9);
	assert_int_equal(lease_unstage(lease, 0, LENGTH), -EAGAIN);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), -EAGAIN);
	assert_false(is_file_at(map));
	close(reader_gate[0]);
	close(reader_gate[1]);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_int_equal(status, 0);
	wait_for(has_no_lease, &file, "all is given back");
	assert_memory_equal(map, "meanwhile", 9);
}

/*
 * Nobody waits then: the program's one thread runs on and stores, and the
 * engine must not take it for one that stands still.
 */
static void staged__it_goes_later_under_a_thread_that_stores(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	_Atomic uint64_t *words = (void *)map;
	double deadline = now_sec() + WAIT_SEC;
	uint64_t stores = 0, lost = 0;
	pid_t reader;

	(void)state;
	/* that one is not there any more */
	atomic_store(&idle, false);
	pthread_join(idler, NULL);
	assert_int_equal(pipe2(reader_gate, O_CLOEXEC), 0);
	reader = fork();
	if (!reader) {
		int fd = open(file.path, O_RDONLY | O_CLOEXEC);

		_exit(fd < 0 ? 2 : !stays_until_told(fd));
	}
	wait_for(is_yielded, lease, "the reader has it");
	assert_int_equal(lease_unstage(lease, 0, LENGTH), -EAGAIN);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), -EAGAIN);
	close(reader_gate[0]);
	close(reader_gate[1]);
	assert_int_equal(waitpid(reader, NULL, 0), reader);
	/* Round after round a number in each page. */
	while (stores % (1000 * PAGES) || !has_no_lease(&file)) {
		uint64_t page = stores % PAGES;
		uint64_t was = stores < PAGES ? 0 : stores - PAGES + 1;

		lost += words[page * PAGE / 8] != was;
		words[page * PAGE / 8] = ++stores;
		assert_true(stores % PAGES || now_sec() < deadline);
	}
	assert_int_equal(lost, 0);
	/* for the tear-down */
	pthread_create(&idler, NULL, be_there, NULL);
}

static bool another_keeper(void *arg)
{
	(void)arg;
	return atomic_load(&keepers) == 1;
}

static void staged__the_keeper_dies_another_carries_on(void **state)
{
	struct lease *lease = stage(0, LENGTH);

	(void)state;
	memcpy(map + 1, "ab", 2);
	assert_int_equal(kill(file_lease_holder(&file), SIGKILL), 0);
	memcpy(map + 650 * PAGE, "stored!", 7);
	wait_for(another_keeper, NULL, "another keeper");
	outsider(O_RDONLY, reads_what_we_stored);
	wait_for(is_held, lease, "the file is ours again");
	unstage(lease, 0, LENGTH);
}

/* Of a program that is killed at once after its stores: forked by one thread.
 */
static void
staged__the_program_is_killed_others_see_what_it_stored(void **state)
{
	struct file mine;
	pid_t program;
	int status;
	char text[8] = "";

	(void)state;
	file_make(&mine, LENGTH);
	close(mine.fd);
	program = fork();
	if (!program) {
		file = mine;
		file.fd = open(file.path, O_RDWR | O_CLOEXEC);
		map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
			   file.fd, 0);
		close(file.fd);
		start_threads();
		stage(0, LENGTH);
		memcpy(map + 123 * PAGE, "acked!", 7);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(program, &status, 0), program);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	mine.fd = open(mine.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(mine.fd, text, 7, 123 * PAGE), 7);
	assert_string_equal(text, "acked!");
	file_remove(&mine);
}

static bool shows_the_childs(void *arg)
{
	const struct file *of = arg;
	int fd = open(of->path, O_RDONLY | O_CLOEXEC);
	char text[8] = "";
	bool shows = pread(fd, text, 7, 123 * PAGE) == 7;

	close(fd);
	return shows && !strcmp(text, "acked!");
}

/*
 * Killed, but a child that it forked still has the shadow and stores: what the
 * keeper flushed at the death was not the last.
 */
static void
staged__a_child_outlives_the_program_its_stores_are_not_lost(void **state)
{
	struct file mine;
	pid_t program, keeper;
	int status, go[2];
	char text[8] = "", byte = 0;

	(void)state;
	file_make(&mine, LENGTH);
	close(mine.fd);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	program = fork();
	if (!program) {
		file = mine;
		file.fd = open(file.path, O_RDWR | O_CLOEXEC);
		map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
			   file.fd, 0);
		close(file.fd);
		start_threads();
		stage(0, LENGTH);
		close(go[1]);
		if (fork())
			kill(getpid(), SIGKILL);
		/* before it is looked for, and after */
		for (int i = 0; i < 2; i++) {
			if (read(go[0], &byte, 1) != 1)
				_exit(1);
			memcpy(map + 123 * PAGE + 8 * i, "acked!", 7);
		}
		_exit(0);
	}
	close(go[0]);
	assert_int_equal(waitpid(program, &status, 0), program);
	keeper = file_lease_holder(&mine);
	assert_true(keeper > 0);
	assert_int_equal(write(go[1], &byte, 1), 1);
	wait_for(shows_the_childs, &mine, "an opener sees what it stored");
	assert_int_equal(write(go[1], &byte, 1), 1);
	wait_for(process_is_gone, &keeper, "the keeper ends");
	assert_int_equal(file_lease_holder(&mine), 0);
	mine.fd = open(mine.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(mine.fd, text, 7, 123 * PAGE + 8), 7);
	assert_string_equal(text, "acked!");
	close(go[1]);
	file_remove(&mine);
}

static bool changes_one_word_of_each_page(int fd)
{
	for (unsigned long page = 0; page < PAGES; page++)
		if (pwrite(fd, "12345678", 8, (off_t)(page * PAGE + 4088)) != 8)
			return false;
	return true;
}

struct storm {
	atomic_bool stop;
	uint64_t stores;
	uint64_t lost;
};

/* Each of the first 64 words of each page but the last ones is ours alone. */
static void *store_all_over(void *arg)
{
	struct storm *storm = arg;
	uint64_t words = PAGES * 64;

	while (!atomic_load_explicit(&storm->stop, memory_order_relaxed)) {
		uint64_t i = storm->stores % words;
		_Atomic uint64_t *at =
			(void *)(map + i / 64 * PAGE + i % 64 * 8);
		uint64_t was =
			storm->stores < words ? 0 : storm->stores - words + 1;

		storm->lost += atomic_load(at) != was;
		atomic_store(at, ++storm->stores);
	}
	return NULL;
}

/*
 * A thread stores all the time; the file is staged, flushed, taken by others
 * and unstaged: not one store is missing, in the mapping or in the file.
 */
static void staged__stores_all_the_time_none_is_lost(void **state)
{
	struct storm storm = {.stop = false};
	uint64_t words = PAGES * 64;
	pthread_t thread;
	char *bytes = malloc(LENGTH);

	(void)state;
	pthread_create(&thread, NULL, store_all_over, &storm);
	for (int i = 0; i < 8; i++) {
		struct lease *lease = stage(0, LENGTH);

		assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
		/* Conflicts in every block: ours win, word by word or not. */
		if (i % 2)
			outsider(O_RDWR, changes_one_word_of_each_page);
		wait_for(is_held, lease, "the file is ours");
		unstage(lease, 0, LENGTH);
	}
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(storm.lost, 0);
	assert_int_equal(pread(file.fd, bytes, LENGTH, 0), LENGTH);
	for (uint64_t i = 0; i < words; i++) {
		uint64_t n = storm.stores;
		uint64_t last =
			i >= n ? 0 : (n - 1 - i) / words * words + i + 1;

		assert_int_equal(
			*(uint64_t *)(bytes + i / 64 * PAGE + i % 64 * 8),
			last);
	}
	free(bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(staged__is_found_and_flushed_by_file_and_by_shadow),
		TEST(staged__others_see_what_was_stored_before_they_opened),
		TEST(staged__what_others_wrote_is_in_the_mapping),
		TEST(staged__flushed_is_in_the_file),
		TEST(staged__what_the_keeper_does_is_counted),
		TEST(staged__regions_overlap_the_file_is_back_after_the_last),
		TEST(staged__given_back_while_others_have_it_it_goes_later),
		TEST(staged__it_goes_later_under_a_thread_that_stores),
		TEST(staged__the_keeper_dies_another_carries_on),
		cmocka_unit_test(
			staged__the_program_is_killed_others_see_what_it_stored),
		cmocka_unit_test(
			staged__a_child_outlives_the_program_its_stores_are_not_lost),
		TEST(staged__stores_all_the_time_none_is_lost),
	};
	struct trap trap;

	if (file_cannot_lease())
		return 77;
	if (trap_open(UFFD_FULL, &trap)) {
		print_message("%s\n", reason_text());
		return 77;
	}
	trap_close(&trap);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
