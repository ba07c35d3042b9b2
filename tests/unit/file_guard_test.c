/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever the program cuts its own file off by, its windows follow before the
 * call returns (file_guard.h, window.h). All around the guard is the test's
 * own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_guard.h"
#include "leases.h"
#include "log.h"
#include "own_map.h"
#include "self_maps.h"
#include "shadows.h"
#include "unit.h"
#include "window/window.h"

#define SIZE 8192

static char path[] = "file_guard_XXXXXX";
static int fd;
static struct stat st;
static int begun, ended, followed;
static int truncate_result;
static struct self_map maps[2]; /* of who punches; where there are any */
static unsigned int map_count;

struct lease_engine *leases_engine(void)
{
	return (struct lease_engine *)&st;
}

bool own_is_leased(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	(void)engine;
	return dev == st.st_dev && ino >= st.st_ino &&
	       ino - st.st_ino <= map_count;
}

void own_begin(struct lease_engine *engine, dev_t dev, ino_t ino,
	       enum keeper_own kind, struct own *own)
{
	(void)engine;
	memset(own, 0, sizeof(*own));
	own->dev = dev;
	own->ino = ino;
	own->kind = kind;
	begun++;
}

void own_end(struct own *own)
{
	(void)own;
	ended++;
}

int own_truncate(struct own *own, int64_t length)
{
	if (truncate_result)
		return truncate_result;
	assert_int_equal(ftruncate(fd, length), 0);
	own->effect = OWN_RESIZED;
	return 0;
}

/* The file and its shadow have changed by then. */
void window_own_end(dev_t dev, ino_t ino)
{
	assert_int_equal(dev, st.st_dev);
	assert_int_equal(ino, st.st_ino);
	assert_int_equal(ended, begun);
	followed++;
}

int own_punch(struct own *own, void *addr, size_t length, size_t *ret_length)
{
	(void)own;
	(void)addr;
	*ret_length = length;
	return 0;
}

unsigned int own_map_look(struct lease_engine *engine)
{
	(void)engine;
	return 0;
}

bool own_map_has_moved(struct lease_engine *engine, unsigned int look)
{
	(void)engine;
	return look;
}

void pinned_own_begin(struct pinned_own *own, dev_t dev, ino_t ino)
{
	(void)own;
	(void)dev;
	(void)ino;
}

void pinned_own_end(struct pinned_own *own)
{
	(void)own;
}

int self_maps_each(uintptr_t start, uintptr_t end,
		   int (*fn)(const struct self_map *map, void *arg), void *arg)
{
	int r = 0;

	(void)start;
	(void)end;
	for (unsigned int i = 0; !r && i < map_count; i++)
		r = fn(&maps[i], arg);
	return r;
}

bool shadows_has_memfd(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	(void)engine;
	(void)dev;
	(void)ino;
	return false;
}

bool shadows_has_file(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	(void)engine;
	(void)dev;
	(void)ino;
	return true;
}

void log_sentence(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

static int set_up(void **state)
{
	(void)state;
	strcpy(path, "file_guard_XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(fstat(fd, &st), 0);
	begun = ended = followed = truncate_result = 0;
	map_count = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(fd);
	unlink(path);
	return 0;
}

static void ftruncate__is_followed(void **state)
{
	struct file_guard guard;

	(void)state;
	assert_true(guard_changing(&guard, fd));
	guard_resized(&guard);
	assert_int_equal(followed, 0);
	guard_end(&guard);
	assert_int_equal(followed, 1);
}

static void truncate__is_followed(void **state)
{
	struct file_guard guard;
	int error = -1;

	(void)state;
	assert_int_equal(guard_truncate(&guard, path, SIZE / 2, &error), 1);
	assert_int_equal(error, 0);
	assert_int_equal(followed, 1);
}

/* By an open of its own, where the leased description is of no use. */
static void truncate__by_the_kernel_is_followed(void **state)
{
	struct file_guard guard;
	int error;

	(void)state;
	truncate_result = -EOPNOTSUPP;
	assert_int_equal(guard_truncate(&guard, path, SIZE / 2, &error), -1);
	followed = 0;
	assert_int_equal(truncate(path, SIZE / 2), 0);
	guard_end(&guard);
	assert_int_equal(followed, 1);
}

static void open_trunc__is_followed(void **state)
{
	struct file_guard guard;
	int second;

	(void)state;
	assert_true(guard_opening(&guard, AT_FDCWD, path, O_RDWR | O_TRUNC));
	second = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
	assert_true(second >= 0);
	guard_end(&guard);
	assert_int_equal(followed, 1);
	close(second);
}

/* None of them is in the way of who is waited for (window_own_end()). */
static void two_files__are_both_ended_before(void **state)
{
	struct file_guard guard;

	(void)state;
	assert_true(guard_changing(&guard, fd));
	guard_resized(&guard);
	own_begin(leases_engine(), st.st_dev, st.st_ino, KEEPER_OWN_CHANGE,
		  &guard.own[guard.count]);
	guard.own[guard.count++].effect = OWN_RESIZED;
	guard_end(&guard);
	assert_int_equal(followed, 2);
}

static void open__cuts_nothing(void **state)
{
	struct file_guard guard;

	(void)state;
	assert_true(guard_opening(&guard, AT_FDCWD, path, O_RDONLY));
	guard_end(&guard);
	assert_int_equal(ended, 1);
	assert_int_equal(followed, 0);
}

/* It may have made the file longer. */
static void fallocate__is_followed(void **state)
{
	struct file_guard guard;

	(void)state;
	assert_true(guard_changing(&guard, fd));
	guard_end(&guard);
	assert_int_equal(followed, 1);
}

static void fallocate__of_a_hole_moves_no_end(void **state)
{
	struct file_guard guard;

	(void)state;
	assert_true(guard_changing(&guard, fd));
	guard_zeroed(&guard, 0, 1);
	guard_end(&guard);
	assert_int_equal(ended, 1);
	assert_int_equal(followed, 0);
}

static void punch__of_two_files_moves_no_end(void **state)
{
	struct file_guard guard;

	(void)state;
	for (map_count = 0; map_count < 2; map_count++)
		maps[map_count] = (struct self_map){
			.start = (uintptr_t)maps + map_count * SIZE,
			.end = (uintptr_t)maps + (map_count + 1) * SIZE,
			.dev = st.st_dev,
			.ino = st.st_ino + map_count,
			.is_shared = true,
		};
	assert_true(guard_punching(&guard, maps, 2UL * SIZE));
	assert_int_equal(guard.count, 2);
	guard_end(&guard);
	assert_int_equal(begun, 2);
	assert_int_equal(ended, 2);
	assert_int_equal(followed, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ftruncate__is_followed),
		TEST(truncate__is_followed),
		TEST(truncate__by_the_kernel_is_followed),
		TEST(open_trunc__is_followed),
		TEST(two_files__are_both_ended_before),
		TEST(open__cuts_nothing),
		TEST(fallocate__is_followed),
		TEST(fallocate__of_a_hole_moves_no_end),
		TEST(punch__of_two_files_moves_no_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
