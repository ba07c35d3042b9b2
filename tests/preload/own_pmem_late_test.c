/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that is not linked to libpmem: it does not find it where it looks,
 * what it refers to weakly does what it says all the same, and when libpmem
 * comes by dlopen(), for itself alone, the hooks go on to that.
 */
#include <dlfcn.h>
#include <string.h>

#include "own_staged.h"
#include "unit.h"

__attribute__((weak)) void pmem_persist(const void *addr, size_t length);
__attribute__((weak)) void *pmem_memcpy(void *to, const void *from,
					size_t length, unsigned int flags);
__attribute__((weak)) void *pmem_memset_persist(void *to, int byte,
						size_t length);

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

static void late__what_is_not_there_is_not_found(void **state)
{
	(void)state;
	assert_null(dlsym(RTLD_DEFAULT, "pmem_persist"));
	assert_non_null(dlerror());
	assert_null(dlvsym(RTLD_DEFAULT, "pmem_persist", "LIBPMEM_1.0"));
	assert_null(dlsym(RTLD_NEXT, "pmem2_get_memcpy_fn"));
	assert_non_null(dlsym(RTLD_DEFAULT, "memcpy"));
}

static void check_calls(size_t offset)
{
	char *at = own_map + offset;

	strcpy(at, "persisted");
	pmem_persist(at, 10);
	own_check_file(offset, "persisted", 10, "pmem_persist");
	assert_ptr_equal(pmem_memcpy(at + 100, "copied", 7, 0), at + 100);
	own_check_file(offset + 100, "copied", 7, "pmem_memcpy");
	assert_ptr_equal(pmem_memset_persist(at + 200, 's', 3), at + 200);
	own_check_file(offset + 200, "sss", 4, "pmem_memset_persist");
}

static void late__weak_references_do_what_they_say(void **state)
{
	char memory[300] = "";

	(void)state;
	if (!can_stage)
		skip();
	assert_true(pmem_persist && pmem_memcpy && pmem_memset_persist);
	pmem_memcpy(memory + 100, "elsewhere", 10, 1U << 5);
	assert_string_equal(memory + 100, "elsewhere");
	check_calls(50);
}

static void late__libpmem_comes_by_dlopen(void **state)
{
	void *pmem = dlopen("libpmem.so.1", RTLD_NOW | RTLD_LOCAL);
	void (*persist)(const void *addr, size_t length);

	(void)state;
	if (!can_stage)
		skip();
	assert_non_null(pmem);
	*(void **)&persist = dlsym(pmem, "pmem_persist");
	assert_ptr_equal(persist, pmem_persist);
	check_calls(PAGE + 50);
	assert_int_equal(dlclose(pmem), 0);
	check_calls(2 * PAGE + 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(late__what_is_not_there_is_not_found),
		TEST(late__weak_references_do_what_they_say),
		TEST(late__libpmem_comes_by_dlopen),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
