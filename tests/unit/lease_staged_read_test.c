/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file that is only read and whose mappings show a shadow: what the program
 * may do with them, what it sees of those who write the file, and that they are
 * not kept waiting.
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
#include "own_io.h"
#include "reason.h"
#include "unit.h"

#define PAGES  700UL
#define LENGTH (PAGES * PAGE)

static struct lease_engine *engine;
static struct file file;
static int reader; /* open for reading */
static const char *map;
static pthread_t idler;
static atomic_bool idle;
static _Atomic pid_t keepers;

/* So that the program isn't alone. */
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

static char byte_of(unsigned long at)
{
	return (char)(at / PAGE * 7 + 1);
}

static int set_up(void **state)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.keeper_died = keeper_died},
	};
	char page[PAGE];

	(void)state;
	file_make(&file, LENGTH);
	for (unsigned long i = 0; i < PAGES; i++) {
		memset(page, byte_of(i * PAGE), PAGE);
		assert_int_equal(pwrite(file.fd, page, PAGE, (off_t)(i * PAGE)),
				 PAGE);
	}
	/* Nobody has it open for writing. */
	close(file.fd);
	file.fd = -1;
	reader = open(file.path, O_RDONLY | O_CLOEXEC);
	map = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, reader, 0);
	assert_true(map != MAP_FAILED);
	atomic_store(&idle, true);
	atomic_store(&keepers, 0);
	pthread_create(&idler, NULL, be_there, NULL);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	atomic_store(&idle, false);
	pthread_join(idler, NULL);
	munmap((void *)map, LENGTH);
	if (reader >= 0)
		close(reader);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

static struct lease *stage(uint64_t offset, uint64_t length)
{
	struct lease_want want = {
		.fd = -1,
		.addr = (uintptr_t)map + offset,
		.type = LEASE_TYPE_AUTO,
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

static bool is_file_at(const char *at)
{
	struct mapping mapping;
	struct stat st;

	assert_int_equal(mapping_at((uintptr_t)at, &mapping, NULL), 0);
	assert_int_equal(stat(file.path, &st), 0);
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

static void assert_shows_file(void)
{
	for (unsigned long at = 0; at < LENGTH; at += PAGE - 1)
		assert_int_equal(map[at], byte_of(at));
}

static void assert_read_only(void)
{
	errno = 0;
	assert_int_equal(mprotect((void *)map, LENGTH, PROT_READ | PROT_WRITE),
			 -1);
	assert_int_equal(errno, EACCES);
}

static void read__the_shadow_can_be_written_as_little_as_the_file(void **state)
{
	struct lease *lease = stage(0, LENGTH);

	(void)state;
	assert_false(is_file_at(map));
	assert_false(is_file_at(map + LENGTH - PAGE));
	assert_shows_file();
	assert_read_only();
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	unstage(lease, 0, LENGTH);
	assert_true(is_file_at(map));
	assert_true(is_file_at(map + LENGTH - PAGE));
	assert_shows_file();
	assert_read_only();
}

/* The mapping alone keeps the file open. */
static void read__the_descriptor_may_be_closed(void **state)
{
	struct lease *lease;

	(void)state;
	close(reader);
	reader = -1;
	lease = stage(2 * PAGE + 1, 4 * PAGE);
	assert_true(is_file_at(map));
	assert_false(is_file_at(map + 2 * PAGE));
	assert_true(is_file_at(map + 7 * PAGE));
	assert_shows_file();
	unstage(lease, 2 * PAGE + 1, 4 * PAGE);
	assert_true(is_file_at(map + 2 * PAGE));
	assert_shows_file();
}

static bool reads(int fd)
{
	char byte;

	return pread(fd, &byte, 1, 5 * PAGE) == 1 && byte == byte_of(5 * PAGE);
}

static void read__other_readers_are_nothing_to_us(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	uint64_t reports = lease_reports(lease);

	(void)state;
	for (int i = 0; i < 5; i++)
		outsider(O_RDONLY, reads);
	assert_true(is_held(lease));
	assert_int_equal(lease_reports(lease), reports);
	unstage(lease, 0, LENGTH);
}

static bool writes(int fd)
{
	return pwrite(fd, "theirs", 6, 5 * PAGE + 100) == 6;
}

static bool shows_theirs(void *arg)
{
	(void)arg;
	return !memcmp(map + 5 * PAGE + 100, "theirs", 6);
}

static void read__what_others_wrote_is_in_the_mapping(void **state)
{
	struct lease *lease = stage(0, LENGTH);

	(void)state;
	outsider(O_RDWR, writes);
	wait_for(shows_theirs, NULL, "it is in the shadow");
	assert_false(is_file_at(map));
	assert_int_equal(map[5 * PAGE + 99], byte_of(5 * PAGE));
	assert_int_equal(map[5 * PAGE + 106], byte_of(5 * PAGE));
	assert_int_equal(map[6 * PAGE], byte_of(6 * PAGE));
	wait_for(is_held, lease, "it is leased again");
	unstage(lease, 0, LENGTH);
	assert_true(shows_theirs(NULL));
}

static bool cuts(int fd)
{
	return !ftruncate(fd, 5 * PAGE + 10);
}

static bool grows(int fd)
{
	return !ftruncate(fd, LENGTH) &&
	       pwrite(fd, "grown", 5, 600 * PAGE) == 5;
}

static bool shows_cut(void *arg)
{
	(void)arg;
	return !map[5 * PAGE + 10] && !map[300 * PAGE] && !map[LENGTH - 1];
}

static bool shows_grown(void *arg)
{
	(void)arg;
	return !memcmp(map + 600 * PAGE, "grown", 6);
}

/* A read beyond the end of the file is no SIGBUS any more. */
static void read__a_file_that_was_cut_is_zeroes_there(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	struct stat st;

	(void)state;
	outsider(O_WRONLY, cuts);
	wait_for(shows_cut, NULL, "what was cut off is zeroes");
	assert_int_equal(map[5 * PAGE + 9], byte_of(5 * PAGE));
	assert_int_equal(stat(file.path, &st), 0);
	assert_int_equal(st.st_size, 5 * PAGE + 10);
	outsider(O_WRONLY, grows);
	wait_for(shows_grown, NULL, "what it was grown by");
	assert_int_equal(map[5 * PAGE + 10], 0);
	wait_for(is_held, lease, "it is leased again");
	unstage(lease, 0, LENGTH);
	assert_true(shows_grown(NULL));
}

static int gate[2];

static pid_t start_writer(void)
{
	char byte;
	pid_t child;

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	child = fork();
	if (!child) {
		int fd = open(file.path, O_RDWR | O_CLOEXEC);

		close(gate[1]);
		_exit(fd < 0 || !writes(fd) || read(gate[0], &byte, 1) != 0);
	}
	close(gate[0]);
	return child;
}

static void end_writer(pid_t writer)
{
	int status;

	close(gate[1]);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
}

/* There is nothing in the shadow that would be lost. */
static void read__goes_while_a_writer_has_the_file(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	pid_t writer = start_writer();

	(void)state;
	wait_for(is_yielded, lease, "the writer has it");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	unstage(lease, 0, LENGTH);
	assert_true(is_file_at(map));
	wait_for(shows_theirs, NULL, "the file is what is mapped");
	end_writer(writer);
}

static void read__a_region_more_while_a_writer_has_the_file(void **state)
{
	struct lease *lease = stage(0, 10 * PAGE);
	pid_t writer = start_writer();

	(void)state;
	wait_for(is_yielded, lease, "the writer has it");
	assert_ptr_equal(stage(8 * PAGE, 10 * PAGE), lease);
	assert_false(is_file_at(map + 15 * PAGE));
	end_writer(writer);
	wait_for(shows_theirs, NULL, "what he wrote is there");
	wait_for(is_held, lease, "it is leased again");
	unstage(lease, 0, 10 * PAGE);
	assert_false(is_file_at(map + 8 * PAGE));
	unstage(lease, 8 * PAGE, 10 * PAGE);
	assert_true(is_file_at(map));
	assert_true(is_file_at(map + 15 * PAGE));
}

/*
 * The program itself opens it for writing: what it writes by system calls is
 * in the file, which nobody would carry there later, and in the mapping.
 */
static void read__what_the_program_writes_is_in_file_and_mapping(void **state)
{
	struct lease *lease = stage(0, LENGTH);
	char text[] = "our own";
	struct own_io io = {.is_write = true, .status = O_RDWR};
	struct own_io_done done;
	struct stat st;

	(void)state;
	io.fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_true(io.fd >= 0);
	assert_int_equal(fstat(io.fd, &st), 0);
	io.buffer = (struct iovec){text, sizeof(text)};
	io.offset = 5 * PAGE + 100;
	assert_true(own_io(engine, st.st_dev, st.st_ino, &io, &done));
	assert_int_equal(done.result, sizeof(text));
	assert_string_equal(map + 5 * PAGE + 100, text);
	memset(text, 0, sizeof(text));
	assert_int_equal(pread(io.fd, text, sizeof(text), 5 * PAGE + 100),
			 sizeof(text));
	assert_string_equal(text, "our own");
	close(io.fd);
	wait_for(is_held, lease, "it is leased again");
	assert_string_equal(map + 5 * PAGE + 100, "our own");
	unstage(lease, 0, LENGTH);
	assert_string_equal(map + 5 * PAGE + 100, "our own");
}

static bool another_keeper(void *arg)
{
	(void)arg;
	return atomic_load(&keepers) == 1;
}

static void read__the_keeper_dies_another_follows_the_file(void **state)
{
	struct lease *lease = stage(0, LENGTH);

	(void)state;
	assert_int_equal(kill(file_lease_holder(&file), SIGKILL), 0);
	wait_for(another_keeper, NULL, "another keeper");
	outsider(O_RDWR, writes);
	wait_for(shows_theirs, NULL, "it is in the shadow");
	wait_for(is_held, lease, "it is leased again");
	unstage(lease, 0, LENGTH);
}

static bool has_no_lease(void *arg)
{
	return file_lease_holder(arg) == 0;
}

/* Nobody waits for what nobody can have written. */
static void read__the_program_is_killed_the_keeper_goes(void **state)
{
	pid_t program = fork();
	int status;

	(void)state;
	if (!program) {
		struct lease_config config = {.keeper_path = KEEPER_PATH};

		if (lease_engine_start(&config, &engine))
			_exit(1);
		stage(0, LENGTH);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(program, &status, 0), program);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	wait_for(has_no_lease, &file, "the lease is given back");
	outsider(O_RDWR, writes);
}

struct looker {
	atomic_bool stop;
	unsigned long looks;
	unsigned long wrong;
};

static void *look_all_over(void *arg)
{
	struct looker *looker = arg;
	unsigned long at = 0;

	while (!atomic_load_explicit(&looker->stop, memory_order_relaxed)) {
		const volatile char *byte = map + at;

		looker->wrong += *byte != byte_of(at);
		looker->looks++;
		at = (at + 1021) % LENGTH;
	}
	return NULL;
}

static void read__threads_see_the_file_all_the_time(void **state)
{
	struct looker lookers[3] = {0};
	pthread_t threads[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, look_all_over, &lookers[i]);
	for (int i = 0; i < 15; i++)
		unstage(stage(0, LENGTH), 0, LENGTH);
	for (int i = 0; i < 3; i++)
		atomic_store(&lookers[i].stop, true);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(lookers[i].wrong, 0);
		assert_true(lookers[i].looks > 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(read__the_shadow_can_be_written_as_little_as_the_file),
		TEST(read__the_descriptor_may_be_closed),
		TEST(read__other_readers_are_nothing_to_us),
		TEST(read__what_others_wrote_is_in_the_mapping),
		TEST(read__a_file_that_was_cut_is_zeroes_there),
		TEST(read__goes_while_a_writer_has_the_file),
		TEST(read__a_region_more_while_a_writer_has_the_file),
		TEST(read__what_the_program_writes_is_in_file_and_mapping),
		TEST(read__the_keeper_dies_another_follows_the_file),
		TEST(read__the_program_is_killed_the_keeper_goes),
		TEST(read__threads_see_the_file_all_the_time),
	};
	int r = file_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
