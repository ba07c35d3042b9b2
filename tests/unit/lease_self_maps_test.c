/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which mappings of files lie in a range: the same by the kernel's query and,
 * on kernels without, by the text.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "raw.h"
#include "self_maps.h"
#include "unit.h"

#define PAGE  4096UL
#define PAGES 8UL

static bool has_no_query;
static char *area;
static struct stat file;

long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_ioctl && has_no_query) {
		errno = ENOTTY;
		return -1;
	}
	return __real_syscall(number, a, b, c, d, e, f);
}

struct seen {
	struct self_map maps[8];
	unsigned int count;
	unsigned int enough;
};

static int see(const struct self_map *map, void *arg)
{
	struct seen *seen = arg;

	assert_true(seen->count < 8);
	seen->maps[seen->count++] = *map;
	return seen->count == seen->enough ? 7 : 0;
}

static struct seen walk(uintptr_t from, uintptr_t to, unsigned int enough,
			int expected)
{
	struct seen seen = {.enough = enough};

	assert_int_equal(self_maps_each((uintptr_t)area + from * PAGE,
					(uintptr_t)area + to * PAGE, see,
					&seen),
			 expected);
	return seen;
}

static void check(const struct self_map *map, uintptr_t start, uintptr_t end,
		  uint64_t offset, bool is_shared)
{
	assert_int_equal(map->start, (uintptr_t)area + start * PAGE);
	assert_int_equal(map->end, (uintptr_t)area + end * PAGE);
	assert_int_equal(map->offset, offset * PAGE);
	assert_int_equal(map->dev, file.st_dev);
	assert_int_equal(map->ino, file.st_ino);
	assert_int_equal(map->is_shared, is_shared);
}

/* - file at 5 - - private file at 1, 2 - - */
static void set_up_area(void)
{
	int fd = memfd_create("self-maps", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	assert_int_equal(fstat(fd, &file), 0);
	area = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	assert_ptr_not_equal(area, MAP_FAILED);
	assert_ptr_not_equal(mmap(area + PAGE, PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, fd, 5 * PAGE),
			     MAP_FAILED);
	assert_ptr_not_equal(mmap(area + 4 * PAGE, 2 * PAGE, PROT_READ,
				  MAP_PRIVATE | MAP_FIXED, fd, PAGE),
			     MAP_FAILED);
	close(fd);
}

static void check_walks(void)
{
	struct seen seen = walk(0, PAGES, 0, 0);

	assert_int_equal(seen.count, 2);
	check(&seen.maps[0], 1, 2, 5, true);
	check(&seen.maps[1], 4, 6, 1, false);
	seen = walk(5, 7, 0, 0);
	assert_int_equal(seen.count, 1);
	check(&seen.maps[0], 4, 6, 1, false);
	assert_int_equal(walk(2, 4, 0, 0).count, 0);
	assert_int_equal(walk(0, 1, 0, 0).count, 0);
	assert_int_equal(walk(0, PAGES, 1, 7).count, 1);
}

static void walk__sees_what_lies_in_the_range(void **state)
{
	(void)state;
	has_no_query = false;
	check_walks();
}

static void walk__without_the_query_sees_the_same(void **state)
{
	(void)state;
	has_no_query = true;
	check_walks();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk__sees_what_lies_in_the_range),
		cmocka_unit_test(walk__without_the_query_sees_the_same),
	};

	set_up_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
