/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The policies for shadows with engine, keeper and others that open the file:
 * what is told, what lease_flush() says, and what is in mapping and file.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "lease_stage.h"
#include "own.h"
#include "reason.h"
#include "unit.h"

#define PAGES  64UL
#define LENGTH (PAGES * PAGE)

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static char *map;
/* Told since the start: of what, and how many blocks. */
static atomic_uint told[RECALL_CAUSES];
static atomic_uint blocks[RECALL_CAUSES];
static atomic_uint conflicts;

static void changed(void *arg, struct lease *of,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)of;
	(void)missed;
	atomic_fetch_add(&conflicts, report->conflicts);
	atomic_fetch_add(&blocks[report->cause], report->beyond);
	atomic_fetch_add(&told[report->cause], 1);
}

static int stage_with(struct lease_config config)
{
	struct lease_want want = {
		.fd = file.fd,
		.type = F_WRLCK,
		.length = LENGTH,
	};
	int r;

	config.keeper_path = KEEPER_PATH;
	config.observer.changed = changed;
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	assert_int_equal(lease_acquire(engine, &want, &lease), 0);
	r = lease_stage(lease, 0, LENGTH);
	if (r && config.terms.on_shrink != ON_SHRINK_ERROR)
		fail_msg("%d: %s", r, reason_text());
	return r;
}

static int set_up(void **state)
{
	(void)state;
	for (int i = 0; i < RECALL_CAUSES; i++)
		told[i] = blocks[i] = 0;
	conflicts = 0;
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	for (unsigned long page = 0; page < PAGES; page++)
		memset(map + page * PAGE, (int)page + 1, PAGE);
	idler_start();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	idler_stop();
	munmap(map, LENGTH);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

/* So often it has been told of, since the start. */
static enum recall_cause awaited;

static bool is_told(void *arg)
{
	return atomic_load(&told[awaited]) >= *(unsigned int *)arg;
}

static void wait_told(enum recall_cause cause, unsigned int times)
{
	awaited = cause;
	wait_for(is_told, &times, "it is told");
}

/* Another process opens it, runs fn(fd), and the file is ours again. */
static void others(void (*fn)(int fd))
{
	unsigned int before = atomic_load(&told[RECALL_MERGED]);
	pid_t child = fork();
	int status;

	if (!child) {
		int fd = open(file.path, O_RDWR | O_CLOEXEC);

		if (fd < 0)
			_exit(2);
		fn(fd);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	wait_told(RECALL_MERGED, before + 1);
	wait_for(stage_is_held, lease, "the file is ours again");
}

static void must(bool ok)
{
	if (!ok)
		_exit(1);
}

static void check_file(uint64_t at, const char *text)
{
	char there[32] = "";

	assert_true(pread(file.fd, there, strlen(text), (off_t)at) >= 0);
	assert_string_equal(there, text);
}

static void check_size(uint64_t size)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	assert_int_equal(st.st_size, size);
}

static void store_meanwhile_and_write(int fd)
{
	/* The shadow is shared with a child. */
	memcpy(map + 5 * PAGE, "ours", 4);
	memcpy(map + 6 * PAGE, "ours", 4);
	must(pwrite(fd, "theirs", 6, 5 * PAGE + 100) == 6);
	must(pwrite(fd, "theirs", 6, 7 * PAGE) == 6);
}

static void conflict__ours(void **state)
{
	(void)state;
	stage_with((struct lease_config){0});
	others(store_meanwhile_and_write);
	assert_int_equal(conflicts, 1);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(5 * PAGE, "ours\6\6");
	check_file(5 * PAGE + 98, "\6\6\6\6");
	check_file(6 * PAGE, "ours\7");
	assert_memory_equal(map + 7 * PAGE, "theirs", 6);
	unstage_range(lease, 0, LENGTH);
}

static void conflict__theirs(void **state)
{
	(void)state;
	stage_with(
		(struct lease_config){.terms.on_conflict = ON_CONFLICT_THEIRS});
	others(store_meanwhile_and_write);
	assert_int_equal(conflicts, 1);
	assert_memory_equal(map + 5 * PAGE + 98, "\6\6theirs\6", 9);
	assert_memory_equal(map + 5 * PAGE, "\6\6\6\6", 4);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(5 * PAGE, "\6\6\6\6");
	check_file(6 * PAGE, "ours\7");
	unstage_range(lease, 0, LENGTH);
}

static void conflict__error_is_said_by_the_flush_of_that_block(void **state)
{
	(void)state;
	stage_with(
		(struct lease_config){.terms.on_conflict = ON_CONFLICT_ERROR});
	others(store_meanwhile_and_write);
	assert_int_equal(conflicts, 1);
	assert_int_equal(lease_flush(lease, 0, LENGTH), -EIO);
	assert_non_null(strstr(reason_text(), "on_conflict"));
	assert_int_equal(lease_flush(lease, 5 * PAGE + 4000, 1), -EIO);
	assert_int_equal(lease_flush(lease, 0, 5 * PAGE), 0);
	assert_int_equal(lease_flush(lease, 6 * PAGE, PAGE), 0);
	check_file(6 * PAGE, "ours\7");
	check_file(5 * PAGE, "\6\6\6\6");
	assert_memory_equal(map + 5 * PAGE, "ours", 4);
	/* Whoever opens does not wait for it, and gets theirs. */
	file_check_let_in(&file, O_RDONLY);
	wait_for(stage_is_held, lease, "the file is ours again");
	assert_int_equal(conflicts, 1);
	/* The program takes theirs itself. */
	memset(map + 5 * PAGE, 6, 4);
	memcpy(map + 5 * PAGE + 100, "theirs", 6);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	memcpy(map + 5 * PAGE, "again", 5);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(5 * PAGE, "again");
	unstage_range(lease, 0, LENGTH);
}

static void conflict__error_the_region_goes_the_file_stays(void **state)
{
	(void)state;
	stage_with(
		(struct lease_config){.terms.on_conflict = ON_CONFLICT_ERROR});
	others(store_meanwhile_and_write);
	unstage_range(lease, 0, LENGTH);
	assert_memory_equal(map + 5 * PAGE, "\6\6\6\6", 4);
	assert_memory_equal(map + 5 * PAGE + 100, "theirs", 6);
	assert_memory_equal(map + 6 * PAGE, "ours", 4);
}

static void cut_off(int fd)
{
	must(!ftruncate(fd, 10 * PAGE + 8));
}

static void shrunk__extend(void **state)
{
	(void)state;
	stage_with((struct lease_config){.terms.flush_ms = 10});
	others(cut_off);
	wait_told(RECALL_SHRUNK, 1);
	assert_int_equal(blocks[RECALL_SHRUNK], PAGES - 10);
	assert_int_equal(map[30 * PAGE], 0);
	assert_int_equal(map[10 * PAGE + 8], 0);
	assert_int_equal(map[10 * PAGE + 7], 11);
	memcpy(map + 20 * PAGE, "later", 5);
	/* unasked: by the write-back */
	wait_told(RECALL_GROWN, 1);
	assert_int_equal(blocks[RECALL_GROWN], 1);
	check_size(21 * PAGE);
	check_file(20 * PAGE, "later");
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(told[RECALL_GROWN], 1);
	assert_int_equal(told[RECALL_SHRUNK], 1);
	unstage_range(lease, 0, LENGTH);
	assert_memory_equal(map + 20 * PAGE, "later", 5);
}

static void check_dropped(enum on_shrink on_shrink)
{
	uint64_t size;

	stage_with((struct lease_config){.terms.on_shrink = on_shrink});
	assert_int_equal(lease_size(lease, &size), 0);
	assert_int_equal(size, LENGTH);
	others(cut_off);
	memcpy(map + 20 * PAGE, "later", 5);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	wait_told(RECALL_DROPPED, 1);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(blocks[RECALL_DROPPED], 1);
	check_size(10 * PAGE + 8);
	assert_int_equal(lease_size(lease, &size), 0);
	assert_int_equal(size, 10 * PAGE + 8);
	unstage_range(lease, 0, LENGTH);
	check_size(10 * PAGE + 8);
}

static void shrunk__discard(void **state)
{
	(void)state;
	check_dropped(ON_SHRINK_DISCARD);
}

static void shrunk__error_drops_local_stores(void **state)
{
	(void)state;
	check_dropped(ON_SHRINK_ERROR);
}

static void check_zeroes(const char *from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		assert_int_equal(from[i], 0);
}

/* A change of the program's own; SIZE_MAX: that is none. */
static void resize(size_t to)
{
	struct own own;
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	own_begin(engine, st.st_dev, st.st_ino, KEEPER_OWN_CHANGE, &own);
	if (to != SIZE_MAX)
		assert_int_equal(ftruncate(file.fd, (off_t)to), 0);
	own.effect = OWN_RESIZED;
	own_end(&own);
}

/*
 * What a window does after it has been bound to less (window.h): what was
 * stored beyond the end becomes zeroes, and is seen nowhere again.
 */
static void shrunk__tail_is_cleared_and_goes_nowhere(void **state)
{
	const size_t end = 10 * PAGE + 8;
	char in_file[LENGTH];

	(void)state;
	stage_with((struct lease_config){.terms.on_shrink = ON_SHRINK_ERROR});
	others(cut_off);
	/* in the last page that has any of the file, and in later ones */
	memset(map + end, 'p', LENGTH - end);
	map[end - 1] = 'i';
	resize(SIZE_MAX);
	check_zeroes(map + end, LENGTH - end);
	assert_int_equal(map[end - 1], 'i');
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_size(end);
	assert_int_equal(told[RECALL_CHANGED], 0);
	resize(LENGTH);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_zeroes(map + end, LENGTH - end);
	assert_int_equal(pread(file.fd, in_file, LENGTH, 0), LENGTH);
	assert_int_equal(in_file[end - 1], 'i');
	check_zeroes(in_file + end, LENGTH - end);
	unstage_range(lease, 0, LENGTH);
}

static void grow_and_punch(int fd)
{
	must(!ftruncate(fd, LENGTH + PAGE));
	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			8 * PAGE, 2 * PAGE));
}

static void changed__grown_and_punched(void **state)
{
	struct stat st;

	(void)state;
	stage_with((struct lease_config){0});
	memcpy(map + 9 * PAGE, "before", 6);
	others(grow_and_punch);
	assert_int_equal(map[8 * PAGE], 0);
	assert_int_equal(map[9 * PAGE], 0);
	assert_int_equal(map[10 * PAGE - 1], 0);
	assert_int_equal(map[10 * PAGE], 11);
	/* It has its blocks again. */
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= LENGTH);
	memcpy(map + 9 * PAGE, "after", 5);
	unstage_range(lease, 0, LENGTH);
	check_size(LENGTH + PAGE);
	check_file(9 * PAGE, "after");
}

static char other_path[300];

static void clone_it(int fd)
{
	int to = open(other_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	must(to >= 0);
	if (ioctl(to, FICLONE, fd))
		unlink(other_path);
}

/* The copy is as it was; what is stored later has blocks of its own. */
static void changed__reflinked(void **state)
{
	char there[8] = "";
	int fd;

	(void)state;
	snprintf(other_path, sizeof(other_path), "%s-copy", file.path);
	stage_with((struct lease_config){0});
	memcpy(map + 3 * PAGE, "before", 6);
	others(clone_it);
	memcpy(map + 3 * PAGE, "after!", 6);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(3 * PAGE, "after!");
	fd = open(other_path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		assert_int_equal(pread(fd, there, 6, 3 * PAGE), 6);
		assert_string_equal(there, "before");
		unlink(other_path);
		close(fd);
	} else {
		print_message("no reflink here: opened only\n");
	}
	unstage_range(lease, 0, LENGTH);
}

static void changed__replaced_it_stays_the_same_file(void **state)
{
	char there[8] = "";
	int other;

	(void)state;
	snprintf(other_path, sizeof(other_path), "%s-new", file.path);
	stage_with((struct lease_config){0});
	other = open(other_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(other >= 0);
	assert_int_equal(write(other, "new one", 7), 7);
	assert_int_equal(rename(other_path, file.path), 0);
	memcpy(map, "old one", 7);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(0, "old one");
	assert_int_equal(pread(other, there, 7, 0), 7);
	assert_string_equal(there, "new one");
	check_size(LENGTH);
	close(other);
	unstage_range(lease, 0, LENGTH);
	assert_memory_equal(map, "old one", 7);
}

static void changed__deleted_it_goes_on(void **state)
{
	(void)state;
	stage_with((struct lease_config){.terms.flush_ms = 10});
	assert_int_equal(unlink(file.path), 0);
	memcpy(map + PAGE, "still", 5);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	check_file(PAGE, "still");
	unstage_range(lease, 0, LENGTH);
	assert_memory_equal(map + PAGE, "still", 5);
	/* for the tear-down */
	close(open(file.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

static bool is_written_back(void *arg)
{
	char there[8] = "";

	(void)arg;
	return pread(file.fd, there, 5, 3 * PAGE) == 5 &&
	       !strcmp(there, "acked");
}

/* What a power cut would take is bounded without anybody's asking. */
static void write_back__comes_by_itself(void **state)
{
	(void)state;
	stage_with((struct lease_config){.terms.flush_ms = 50});
	memcpy(map + 3 * PAGE, "acked", 5);
	wait_for(is_written_back, NULL, "it is in the file");
	assert_int_equal(told[RECALL_WRITTEN], 0);
	unstage_range(lease, 0, LENGTH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(conflict__ours),
		TEST(conflict__theirs),
		TEST(conflict__error_is_said_by_the_flush_of_that_block),
		TEST(conflict__error_the_region_goes_the_file_stays),
		TEST(shrunk__extend),
		TEST(shrunk__discard),
		TEST(shrunk__error_drops_local_stores),
		TEST(shrunk__tail_is_cleared_and_goes_nowhere),
		TEST(changed__grown_and_punched),
		TEST(changed__reflinked),
		TEST(changed__replaced_it_stays_the_same_file),
		TEST(changed__deleted_it_goes_on),
		TEST(write_back__comes_by_itself),
	};
	if (file_cannot_lease())
		return 77;
	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
