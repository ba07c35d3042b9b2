/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many regions of one file: what one more costs is one look at what is mapped,
 * in and out, at no more than two mappings for each of the others. Counted, not
 * timed, in the engine's system calls. And that one look out is enough: what
 * comes after it is found all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "lease_file.h"
#include "lease_stage.h"
#include "procmap.h"
#include "skipped.h"
#include "unit.h"

#define REGIONS 40U
#define LENGTH	(2 * PAGE)
#define STRIDE	(LENGTH + PAGE) /* the file's own lies in between */
#define SIZE	(REGIONS * STRIDE)

/* A walk is a descriptor of maps that more than a few questions are asked of.
 */
#define FEW 8U

static struct looks {
	unsigned int walks;
	unsigned int asked;
} looks;
static unsigned int asked; /* since maps was opened last */

/* What the last step out meets: an alias, made when it is too late to see. */
static char *alias_of, *alias;

long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);

static bool is_maps(const char *path)
{
	size_t length = strlen(path);

	return length > 5 && !strcmp(path + length - 5, "/maps");
}

/* By the engine's thread alone, while we wait for it. */
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_openat && is_maps((const char *)b))
		asked = 0;
	if (number == SYS_ioctl && (unsigned long)b == PROCMAP_QUERY_NR) {
		long r = __real_syscall(number, a, b, c, d, e, f);

		/* kernels before Linux 6.11 have no answer */
		if (r && errno == ENOTTY)
			return r;
		looks.asked++;
		looks.walks += ++asked == FEW;
		return r;
	}
	if (alias_of && number == SYS_mremap && (char *)e == alias_of) {
		alias = (char *)__real_syscall(SYS_mremap, (long)alias_of, 0,
					       LENGTH, MREMAP_MAYMOVE, 0, 0);
		alias_of = NULL;
	}
	return __real_syscall(number, a, b, c, d, e, f);
}

static struct lease_engine *engine;
static struct file file;
static char *map;

static int set_up(void **state)
{
	struct lease_config config = {.keeper_path = KEEPER_PATH};

	(void)state;
	file_make(&file, SIZE);
	map = file_map(&file, SIZE);
	memset(map, 'f', SIZE);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	munmap(map, SIZE);
	file_remove(&file);
	return 0;
}

static struct lease *lease;

static struct looks looks_in(unsigned int i)
{
	looks = (struct looks){0};
	lease = stage_range(engine, file.fd, F_WRLCK, i * STRIDE, LENGTH);
	return looks;
}

static struct looks looks_out(unsigned int i)
{
	looks = (struct looks){0};
	unstage_range(lease, i * STRIDE, LENGTH);
	return looks;
}

/* The first is the one that the lease is taken for. */
static void check_growth(void)
{
	struct looks in[REGIONS], out[REGIONS];

	for (unsigned int i = 0; i < REGIONS; i++)
		in[i] = looks_in(i);
	for (unsigned int i = REGIONS; i-- > 1;)
		out[i] = looks_out(i);
	looks_out(0);
	if (!in[REGIONS - 1].asked) {
		printf("this kernel has no PROCMAP_QUERY to count\n");
		return;
	}
	for (unsigned int i = 1; i < REGIONS; i++) {
		assert_in_range(in[i].walks, 0, 1);
		assert_in_range(out[i].walks, 0, 1);
		/* Of its own it has a mapping or two more. */
		assert_in_range(in[i].asked, 1, in[1].asked + 2 * i + FEW);
		assert_in_range(out[i].asked, 1, out[1].asked + 2 * i + FEW);
	}
}

static void one_more__is_one_look_at_what_is_mapped(void **state)
{
	(void)state;
	check_growth();
}

static void one_more__with_threads_too(void **state)
{
	(void)state;
	idler_start();
	check_growth();
	idler_stop();
}

#ifndef __SANITIZE_THREAD__ /* which has a thread: the alias had to be told */
static void alias_of_the_last_moment__is_the_files_again(void **state)
{
	(void)state;
	lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
	map[0] = 's';
	alias_of = map;
	unstage_range(lease, 0, LENGTH);
	assert_null(alias_of);
	assert_true((long)alias > 0);
	assert_true(stage_is_file_at(&file, map));
	assert_true(stage_is_file_at(&file, alias));
	assert_int_equal(alias[0], 's');
	munmap(alias, LENGTH);
}
#endif

static void skipped__touching_ones_are_one(void **state)
{
	struct skipped skipped = {0};

	(void)state;
	assert_int_equal(skipped_next(&skipped, 5), 5);
	skipped_add(&skipped, 10, 20);
	skipped_add(&skipped, 30, 40);
	skipped_add(&skipped, 50, 60);
	assert_int_equal(skipped.count, 3);
	assert_int_equal(skipped_next(&skipped, 9), 9);
	assert_int_equal(skipped_next(&skipped, 10), 20);
	assert_int_equal(skipped_next(&skipped, 20), 20);
	skipped_add(&skipped, 20, 30);
	assert_int_equal(skipped.count, 2);
	assert_int_equal(skipped_next(&skipped, 19), 40);
	skipped_add(&skipped, 48, 50);
	skipped_add(&skipped, 40, 42);
	assert_int_equal(skipped.count, 2);
	assert_int_equal(skipped_next(&skipped, 10), 42);
	assert_int_equal(skipped_next(&skipped, 48), 60);
	skipped_free(&skipped);
}

static void skipped__what_is_removed_is_not(void **state)
{
	struct skipped skipped = {0};

	(void)state;
	skipped_remove(&skipped, 1, 2);
	for (uintptr_t at = 0; at < 100; at += 10)
		skipped_add(&skipped, at, at + 10);
	assert_int_equal(skipped.count, 1);
	skipped_remove(&skipped, 40, 50);
	assert_int_equal(skipped_next(&skipped, 0), 40);
	assert_int_equal(skipped_next(&skipped, 40), 40);
	assert_int_equal(skipped_next(&skipped, 50), 100);
	skipped_remove(&skipped, 40, 50);
	skipped_remove(&skipped, 0, 10);
	skipped_remove(&skipped, 90, 100);
	assert_int_equal(skipped_next(&skipped, 5), 5);
	assert_int_equal(skipped_next(&skipped, 10), 40);
	assert_int_equal(skipped_next(&skipped, 50), 90);
	skipped_remove(&skipped, 10, 40);
	skipped_remove(&skipped, 50, 90);
	assert_int_equal(skipped.count, 0);
	skipped_free(&skipped);
}

/* A descriptor each. */
static void raise_limit(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

#define regions_test(name)                                                     \
	cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(skipped__touching_ones_are_one),
		cmocka_unit_test(skipped__what_is_removed_is_not),
		regions_test(one_more__is_one_look_at_what_is_mapped),
#ifndef __SANITIZE_THREAD__
		regions_test(alias_of_the_last_moment__is_the_files_again),
#endif
		regions_test(one_more__with_threads_too),
	};

	if (file_cannot_lease() || stage_cannot_trap())
		return 77;
	raise_limit();
	return cmocka_run_group_tests_name("lease regions", tests, NULL, NULL);
}
