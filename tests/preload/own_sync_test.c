/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of the C library that make stores durable, on a file that has a shadow:
 * what was stored before is in the file, also while others have it; where they
 * have written to the same block the call says so, and returns.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "own_staged.h"
#include "unit.h"

static bool can_stage;

static int set_up(void **state)
{
	own_setup(state);
	can_stage = own_stage();
	return 0;
}

static int tear_down(void **state)
{
	if (can_stage)
		own_unstage();
	return own_teardown(state);
}

/* at: of a page of its own, the first byte of which has been stored. */
static int by_msync(char *at)
{
	return msync(at, PAGE, MS_SYNC);
}
static int by_msync_of_all(char *at)
{
	(void)at;
	return msync(own_map, FILE_SIZE, MS_SYNC);
}
static int by_fsync(char *at)
{
	(void)at;
	return fsync(own_fd);
}
static int by_fdatasync(char *at)
{
	(void)at;
	return fdatasync(own_fd);
}
static int by_sync_file_range(char *at)
{
	return sync_file_range(own_fd, at - own_map, PAGE,
			       SYNC_FILE_RANGE_WRITE |
				       SYNC_FILE_RANGE_WAIT_AFTER);
}
static int by_sync_file_range_to_the_end(char *at)
{
	return sync_file_range(own_fd, at - own_map, 0,
			       SYNC_FILE_RANGE_WAIT_BEFORE);
}
static int by_syncfs(char *at)
{
	(void)at;
	return syncfs(own_fd);
}
static int by_sync(char *at)
{
	(void)at;
	sync();
	return 0;
}

static const struct {
	const char *name;
	int (*call)(char *at);
	bool can_fail;
} calls[] = {
	{"msync", by_msync, true},
	{"msync of all", by_msync_of_all, true},
	{"fsync", by_fsync, true},
	{"fdatasync", by_fdatasync, true},
	{"sync_file_range", by_sync_file_range, true},
	{"sync_file_range to the end", by_sync_file_range_to_the_end, true},
	{"syncfs", by_syncfs, true},
	{"sync", by_sync, false},
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void sync__what_was_stored_is_in_the_file(void **state)
{
	(void)state;
	if (!can_stage)
		skip();
	for (unsigned int i = 0; i < CALLS; i++) {
		char *at = own_map + i * PAGE;

		strcpy(at, calls[i].name);
		errno = 77;
		assert_int_equal(calls[i].call(at), 0);
		assert_int_equal(errno, 77);
		own_check_file(i * PAGE, calls[i].name, strlen(calls[i].name),
			       calls[i].name);
	}
}

static void sync__what_the_kernel_refuses_is_refused(void **state)
{
	int pipes[2];

	(void)state;
	if (!can_stage)
		skip();
	strcpy(own_map, "kept");
	assert_int_equal(msync(own_map + 1, PAGE, MS_SYNC), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(msync(own_map, PAGE, MS_SYNC | MS_ASYNC), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(fsync(-1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(syncfs(-1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(sync_file_range(own_fd, -1, 1, 2), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(fsync(pipes[0]), -1);
	assert_int_equal(errno, EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(msync(own_map, PAGE, MS_ASYNC), 0);
	assert_int_equal(msync(own_map, 0, MS_SYNC), 0);
}

/* A hole in the range: ENOMEM, and what is behind it has been written. */
static void sync__a_range_with_holes_and_other_memory(void **state)
{
	char *others = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (!can_stage)
		skip();
	assert_ptr_not_equal(others, MAP_FAILED);
	assert_int_equal(msync(others, FILE_SIZE, MS_SYNC), 0);
	assert_int_equal(munmap(own_map + PAGE, PAGE), 0);
	strcpy(own_map, "before");
	strcpy(own_map + 2 * PAGE, "behind");
	assert_int_equal(msync(own_map, 3 * PAGE, MS_SYNC), -1);
	assert_int_equal(errno, ENOMEM);
	own_check_file(0, "before", 6, "msync");
	own_check_file(2 * PAGE, "behind", 6, "msync");
	munmap(others, FILE_SIZE);
}

/* Each page a mapping of its own, in another order than in the file. */
static void sync__many_mappings_in_disorder(void **state)
{
	char *views;

	(void)state;
	if (!can_stage)
		skip();
	views = mmap(NULL, 20 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	assert_ptr_not_equal(views, MAP_FAILED);
	/* a second view of the shadow's pages, as mremap() makes them */
	for (unsigned int i = 0; i < 20; i++)
		assert_ptr_not_equal(mremap(own_map + (19 - i) % 16 * PAGE, 0,
					    PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					    views + i * PAGE),
				     MAP_FAILED);
	for (unsigned int i = 4; i < 20; i++) {
		char text[16];
		int n = snprintf(text, sizeof(text), "view %u", i);

		memcpy(views + i * PAGE, text, (size_t)n);
		assert_int_equal(msync(views, 20 * PAGE, MS_SYNC), 0);
		own_check_file((19 - i) % 16 * PAGE, text, (size_t)n, "msync");
	}
	munmap(views, 20 * PAGE);
}

static void check_synced_at(char *at, size_t offset, const char *text)
{
	strcpy(at, text);
	assert_int_equal(msync(at, PAGE, MS_SYNC), 0);
	own_check_file(offset, text, strlen(text), text);
}

/* At addresses that came to show it after it had been staged. */
static void sync__mappings_made_and_moved_later(void **state)
{
	const int both = PROT_READ | PROT_WRITE;
	char *view, *room, *moved;

	(void)state;
	if (!can_stage)
		skip();
	room = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	view = mmap(NULL, 4 * PAGE, both, MAP_SHARED, own_fd, PAGE);
	assert_true(room != MAP_FAILED && view != MAP_FAILED);
	check_synced_at(view + PAGE, 2 * PAGE, "mapped");
	moved = mremap(view, 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       room + 30 * PAGE);
	assert_ptr_equal(moved, room + 30 * PAGE);
	check_synced_at(moved + PAGE, 2 * PAGE, "moved");
	moved = mremap(moved, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       room + 50 * PAGE);
	assert_ptr_equal(moved, room + 50 * PAGE);
	check_synced_at(moved + 7 * PAGE, 8 * PAGE, "grown");
	view = mmap(room, 2 * PAGE, both, MAP_SHARED | MAP_FIXED, own_fd,
		    3 * PAGE);
	assert_ptr_equal(view, room);
	check_synced_at(view, 3 * PAGE, "mapped over");
	munmap(room, 64 * PAGE);
}

/* The lookup needs a descriptor for a moment. */
static void sync__without_a_descriptor_left(void **state)
{
	struct rlimit none = {0, 0}, before;

	(void)state;
	if (!can_stage)
		skip();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none.rlim_max = before.rlim_max;
	strcpy(own_map, "none left");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(msync(own_map, PAGE, MS_SYNC), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	own_check_file(0, "none left", 9, "msync");
}

/* Readers and writers, as long as they leave it alone. */
static void sync__others_have_it_it_is_written_through(void **state)
{
	(void)state;
	if (!can_stage)
		skip();
	for (unsigned int mode = 0; mode < 2; mode++) {
		own_lend(mode ? O_RDWR : O_RDONLY);
		for (unsigned int i = 0; i < CALLS; i++) {
			size_t offset = (i + mode * CALLS) * PAGE;

			strcpy(own_map + offset, calls[i].name);
			assert_int_equal(calls[i].call(own_map + offset), 0);
			own_check_file(offset, calls[i].name,
				       strlen(calls[i].name), calls[i].name);
		}
		own_take_back();
		own_wait_until_held();
	}
}

/* Not after SYNC_WAIT_NS, 5 s. */
static void sync__others_have_written_there_it_fails_at_once(void **state)
{
	double start;

	(void)state;
	if (!can_stage)
		skip();
	own_lend_written("theirs", 5 * PAGE + 50);
	strcpy(own_map + 5 * PAGE, "later");
	strcpy(own_map + 6 * PAGE, "beside");
	start = own_now();
	for (unsigned int i = 0; i < CALLS; i++) {
		if (!calls[i].can_fail)
			continue;
		errno = 0;
		assert_int_equal(calls[i].call(own_map + 5 * PAGE), -1);
		assert_int_equal(errno, EIO);
	}
	assert_true(own_now() - start < 5);
	own_check_file(5 * PAGE + 50, "theirs", 6, "msync");
	own_check_file(6 * PAGE, "beside", 6, "msync");
	assert_int_equal(msync(own_map + 6 * PAGE, PAGE, MS_SYNC), 0);
	own_take_back();
	own_wait_until_held();
	assert_int_equal(fsync(own_fd), 0);
	own_check_file(5 * PAGE, "later", 5, "fsync");
}

/* In several threads at once. */
static void store_and_sync(int signal)
{
	uint64_t word;

	(void)signal;
	memcpy(&word, "handler", sizeof(word));
	__atomic_store_n((uint64_t *)(own_map + 3 * PAGE), word,
			 __ATOMIC_RELAXED);
	fsync(own_fd);
}

static void *sync_all_the_time(void *arg)
{
	char *byte = arg;

	for (int i = 0; i < 50; i++) {
		(*byte)++;
		fsync(own_fd);
	}
	return arg;
}

static void sync__in_a_handler_and_in_threads(void **state)
{
	struct sigaction before, action = {.sa_handler = store_and_sync};
	pthread_t threads[3];

	(void)state;
	if (!can_stage)
		skip();
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, sync_all_the_time,
			       own_map + i);
	for (int i = 0; i < 30; i++) {
		pthread_kill(threads[i % 3], SIGUSR1);
		own_map[PAGE]++;
		assert_int_equal(msync(own_map, PAGE, MS_SYNC), 0);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	own_check_file(3 * PAGE, "handler", 7, "fsync in a handler");
}

/* It has no engine; neither has the child of vfork(). */
static void sync__in_a_child_is_the_kernels(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (!can_stage)
		skip();
	pid = fork();
	if (!pid)
		_exit(fsync(own_fd) || msync(own_map, PAGE, MS_SYNC) ||
		      syncfs(own_fd));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (!pid)
		_exit(fsync(own_fd) || msync(own_map, PAGE, MS_SYNC));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(sync__what_was_stored_is_in_the_file),
		TEST(sync__what_the_kernel_refuses_is_refused),
		TEST(sync__a_range_with_holes_and_other_memory),
		TEST(sync__many_mappings_in_disorder),
		TEST(sync__mappings_made_and_moved_later),
		TEST(sync__without_a_descriptor_left),
		TEST(sync__others_have_it_it_is_written_through),
		TEST(sync__others_have_written_there_it_fails_at_once),
		TEST(sync__in_a_handler_and_in_threads),
		TEST(sync__in_a_child_is_the_kernels),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
