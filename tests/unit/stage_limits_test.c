/* SPDX-License-Identifier: BSD-2-Clause */
/* How much may go into shadows: stage_limits.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "reason.h"
#include "shadows.h"
#include "refusal.h"
#include "stage_limits.h"
#include "unit.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static char text[1024];

/* 16 GiB are available, nothing else limits. */
static struct stage_numbers plenty(void)
{
	return (struct stage_numbers){
		.max = CONFIG_STAGE_MAX_AUTO,
		.available = 16 * GIB,
		.memlock = STAGE_NO_LIMIT,
		.cgroup_limit = STAGE_NO_LIMIT,
		.rate = GIB,
	};
}

static int judge(const struct stage_numbers *numbers, uint64_t bytes)
{
	text[0] = '\0';
	return stage_limits_judge(numbers, bytes, text, sizeof(text));
}

static void assert_says(const char *words)
{
	if (!strstr(text, words))
		fail_msg("\"%s\" is not in: %s", words, text);
}

static void memory__half_of_what_is_available_may_be_staged(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	assert_int_equal(judge(&numbers, 8 * GIB), 0);
	assert_int_equal(judge(&numbers, 8 * GIB + 1), -ENOMEM);
	assert_says("a shadow of 8.0 GiB");
	assert_says("half of the memory that is available");
	assert_says("DAXMR_STAGE_MAX");
	/* What is staged was available before. */
	numbers.available = 12 * GIB;
	numbers.staged = 4 * GIB;
	assert_int_equal(judge(&numbers, 4 * GIB), 0);
	assert_int_equal(judge(&numbers, 4 * GIB + 1), -ENOMEM);
	assert_says("beside 4.0 GiB");
	assert_says("than the 8.0 GiB");
	assert_int_equal(reason_kind(), REFUSAL_STAGE_MAX);
}

static void memory__a_limit_that_was_set_holds_for_the_sum(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	numbers.max = 100 * MIB;
	numbers.staged = 60 * MIB;
	assert_int_equal(judge(&numbers, 40 * MIB), 0);
	assert_int_equal(judge(&numbers, 41 * MIB), -ENOMEM);
	assert_says("41.0 MiB");
	assert_says("60.0 MiB");
	assert_says("100.0 MiB that DAXMR_STAGE_MAX lets it have");
	numbers.staged = 200 * MIB;
	assert_int_equal(judge(&numbers, 1), -ENOMEM);
	assert_says("a shadow of 1 bytes");
}

/* What is pinned already is, and so much comes on top. */
static void again__what_is_pinned_twice_counts_twice(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	numbers.memlock = 100 * MIB;
	numbers.pinned = 60 * MIB;
	assert_int_equal(
		stage_limits_judge_again(&numbers, 40 * MIB, text, 1024), 0);
	assert_int_equal(
		stage_limits_judge_again(&numbers, 60 * MIB, text, 1024),
		-ENOMEM);
	assert_says("on_shrink=error");
	assert_says("60.0 MiB more, beside 60.0 MiB");
	assert_says("RLIMIT_MEMLOCK is 100.0 MiB");
	assert_says("raise it to 120.0 MiB");
	assert_int_equal(reason_kind(), REFUSAL_MEMLOCK);
	numbers.memlock = STAGE_NO_LIMIT;
	assert_int_equal(
		stage_limits_judge_again(&numbers, 60 * GIB, text, 1024), 0);
}

static void memory__a_limit_beyond_what_is_there_is_no_promise(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	numbers.max = 64 * GIB;
	assert_int_equal(judge(&numbers, 16 * GIB), 0);
	assert_int_equal(judge(&numbers, 17 * GIB), -ENOMEM);
	assert_says("16.0 GiB are available");
	assert_int_equal(reason_kind(), REASON_MEMORY);
	numbers.available = STAGE_NO_LIMIT;
	assert_int_equal(judge(&numbers, 17 * GIB), 0);
}

static void pinning__counts_what_is_pinned(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	numbers.memlock = 8 * MIB;
	numbers.pinned = 5 * MIB;
	assert_int_equal(judge(&numbers, 3 * MIB), 0);
	assert_int_equal(judge(&numbers, 3 * MIB + 1), -ENOMEM);
	assert_says("RLIMIT_MEMLOCK is 8.0 MiB");
	assert_says("5.0 MiB");
	assert_says("CAP_IPC_LOCK");
}

static void cgroup__names_the_file_that_says_so(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	numbers.cgroup_limit = 512 * MIB;
	numbers.cgroup_used = 500 * MIB;
	strcpy(numbers.cgroup_file, "/sys/fs/cgroup/a/memory.max");
	assert_int_equal(judge(&numbers, 12 * MIB), 0);
	assert_int_equal(judge(&numbers, 13 * MIB), -ENOMEM);
	assert_says("500.0 MiB are used of 512.0 MiB");
	assert_says("raise /sys/fs/cgroup/a/memory.max");
}

static void time__all_of_it_is_written_before_the_lease_is_lost(void **state)
{
	struct stage_numbers numbers = plenty();

	(void)state;
	numbers.rate = 100 * MIB;
	numbers.break_s = 10;
	numbers.staged = 600 * MIB;
	assert_int_equal(judge(&numbers, 400 * MIB), 0);
	assert_int_equal(judge(&numbers, 401 * MIB), -ENOMEM);
	assert_says("the 10 s");
	assert_says("about 1000.0 MiB, at 100.0 MiB a second");
	assert_says("lease-break-time");
	numbers.break_s = 0;
	assert_int_equal(judge(&numbers, 4 * GIB), 0);
	numbers.break_s = 45;
	numbers.rate = UINT64_MAX / 2;
	assert_int_equal(judge(&numbers, 4 * GIB), 0);
}

/* A folder with what is written into it. */
static char root[] = "stage-limits-XXXXXX";
static char top[64];

static void put(const char *path, const char *content)
{
	char full[256];
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *at = strchr(full + strlen(root) + 1, '/'); at;
	     at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(full, 0700);
		*at = '/';
	}
	file = fopen(full, "we");
	assert_non_null(file);
	fputs(content, file);
	fclose(file);
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root + strlen(root) - 6, "XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(top, sizeof(top), "%s/cg", root);
	return 0;
}

static int remove_root(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static struct stage_numbers read_all(uint64_t memlock)
{
	struct stage_numbers numbers;

	memset(&numbers, 0xff, sizeof(numbers));
	stage_limits_read(root, top, memlock, &numbers);
	return numbers;
}

static void read__nothing_there_is_no_limit(void **state)
{
	struct stage_numbers numbers = read_all(4 * MIB);

	(void)state;
	assert_true(numbers.available == STAGE_NO_LIMIT);
	assert_true(numbers.memlock == STAGE_NO_LIMIT);
	assert_true(numbers.cgroup_limit == STAGE_NO_LIMIT);
	assert_int_equal(numbers.break_s, 0);
	assert_int_equal(numbers.pinned, 0);
}

static void read__memory_and_lease_break_time(void **state)
{
	struct stage_numbers numbers;

	(void)state;
	put("meminfo", "MemTotal:       8000000 kB\n"
		       "MemFree:        1000000 kB\n"
		       "MemAvailable:   4194304 kB\n");
	put("sys/fs/lease-break-time", "45\n");
	numbers = read_all(4 * MIB);
	assert_true(numbers.available == 4 * GIB);
	assert_int_equal(numbers.break_s, 45);
}

#define STATUS(caps)                                                           \
	"Name:\tx\nVmPeak:\t100 kB\nVmLck:\t  64 kB\nVmPin:\t  12 kB\n"        \
	"CapPrm:\t000001ffffffffff\nCapEff:\t" caps "\n"

static void link_user(const char *to)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/self/ns/user", root);
	unlink(path);
	assert_int_equal(symlink(to, path), 0);
}

static void read__pinned_is_not_locked(void **state)
{
	struct stage_numbers numbers;

	(void)state;
	put("self/status", STATUS("0000000000000000"));
	numbers = read_all(4 * MIB);
	assert_int_equal(numbers.pinned, 12 << 10);
	assert_true(numbers.memlock == 4 * MIB);
}

static void read__cap_ipc_lock_counts_in_the_first_namespace(void **state)
{
	(void)state;
	put("self/status", STATUS("0000000000004000"));
	put("self/ns/x", "");
	link_user("user:[4026531837]");
	assert_true(read_all(4 * MIB).memlock == STAGE_NO_LIMIT);
	link_user("user:[4026532999]");
	assert_true(read_all(4 * MIB).memlock == 4 * MIB);
	put("self/status", STATUS("0000000000002000"));
	link_user("user:[4026531837]");
	assert_true(read_all(4 * MIB).memlock == 4 * MIB);
}

static void read__the_tightest_group_of_the_path_counts(void **state)
{
	struct stage_numbers numbers;

	(void)state;
	put("self/cgroup", "0::/a/b\n");
	put("cg/a/b/memory.max", "1000000\n");
	put("cg/a/b/memory.high", "max\n");
	put("cg/a/b/memory.current", "100000\n");
	put("cg/a/memory.max", "max\n");
	put("cg/a/memory.high", "2000000\n");
	put("cg/a/memory.current", "1900000\n");
	put("cg/memory.max", "9000000\n");
	put("cg/memory.current", "5000000\n");
	numbers = read_all(0);
	assert_int_equal(numbers.cgroup_limit, 2000000);
	assert_int_equal(numbers.cgroup_used, 1900000);
	assert_non_null(strstr(numbers.cgroup_file, "/cg/a/memory.high"));
	/* The container's own is the top. */
	put("cg/memory.current", "8999999\n");
	numbers = read_all(0);
	assert_int_equal(numbers.cgroup_limit, 9000000);
	assert_non_null(strstr(numbers.cgroup_file, "/cg/memory.max"));
}

static void read__page_cache_is_not_used(void **state)
{
	struct stage_numbers numbers;

	(void)state;
	put("self/cgroup", "0::/a\n");
	put("cg/a/memory.max", "1000000\n");
	put("cg/a/memory.current", "900000\n");
	put("cg/a/memory.stat", "anon 100000\nfile 800000\n"
				"inactive_anon 100000\nactive_anon 0\n"
				"inactive_file 600000\nactive_file 100000\n");
	numbers = read_all(0);
	assert_int_equal(numbers.cgroup_limit, 1000000);
	assert_int_equal(numbers.cgroup_used, 200000);
}

static void read__version_1_has_its_own_files(void **state)
{
	struct stage_numbers numbers;

	(void)state;
	put("self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/a\n0::/\n");
	put("cg/memory/a/memory.limit_in_bytes", "3000000\n");
	put("cg/memory/a/memory.usage_in_bytes", "2000000\n");
	put("cg/memory/a/memory.stat", "inactive_file 1\n"
				       "total_inactive_file 500000\n");
	put("cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("cg/memory/memory.usage_in_bytes", "9223372036854771711\n");
	numbers = read_all(0);
	assert_int_equal(numbers.cgroup_limit, 3000000);
	assert_int_equal(numbers.cgroup_used, 1500000);
}

static void check__the_process_can_have_a_page(void **state)
{
	(void)state;
	errno = 7;
	assert_int_equal(stage_limits_check(4096, config_get()->stage_max), 0);
	assert_true(stage_limits_rate() > MIB);
	assert_int_equal(
		stage_limits_check(UINT64_MAX / 2, config_get()->stage_max),
		-ENOMEM);
	assert_non_null(strstr(reason_text(), "shadow"));
	assert_int_equal(errno, 7);
}

static void check__counts_what_is_staged(void **state)
{
	(void)state;
	atomic_store(&shadows_bytes, UINT64_MAX / 4);
	assert_int_equal(
		stage_limits_check(UINT64_MAX / 2, config_get()->stage_max),
		-ENOMEM);
	assert_non_null(strstr(reason_text(), "beside 4096.0 PiB"));
	atomic_store(&shadows_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			memory__half_of_what_is_available_may_be_staged),
		cmocka_unit_test(
			memory__a_limit_that_was_set_holds_for_the_sum),
		cmocka_unit_test(
			memory__a_limit_beyond_what_is_there_is_no_promise),
		cmocka_unit_test(pinning__counts_what_is_pinned),
		cmocka_unit_test(again__what_is_pinned_twice_counts_twice),
		cmocka_unit_test(cgroup__names_the_file_that_says_so),
		cmocka_unit_test(
			time__all_of_it_is_written_before_the_lease_is_lost),
		cmocka_unit_test_setup_teardown(read__nothing_there_is_no_limit,
						make_root, remove_root),
		cmocka_unit_test_setup_teardown(
			read__memory_and_lease_break_time, make_root,
			remove_root),
		cmocka_unit_test_setup_teardown(read__pinned_is_not_locked,
						make_root, remove_root),
		cmocka_unit_test_setup_teardown(
			read__cap_ipc_lock_counts_in_the_first_namespace,
			make_root, remove_root),
		cmocka_unit_test_setup_teardown(
			read__the_tightest_group_of_the_path_counts, make_root,
			remove_root),
		cmocka_unit_test_setup_teardown(read__page_cache_is_not_used,
						make_root, remove_root),
		cmocka_unit_test_setup_teardown(
			read__version_1_has_its_own_files, make_root,
			remove_root),
		cmocka_unit_test(check__the_process_can_have_a_page),
		cmocka_unit_test(check__counts_what_is_staged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
