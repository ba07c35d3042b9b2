/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of libpmem and libpmem2 that make stores durable, on a file that has a
 * shadow: what was stored before is in the file. The functions that libpmem2
 * hands out for a map are asked for before there are shadows, as programs do.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <libpmem2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "own_staged.h"
#include "unit.h"

#define TEXT "durable"

static bool can_stage;
static struct pmem2_map *map;
static char *map_at;
static pmem2_persist_fn persist2;
static pmem2_flush_fn flush2;
static pmem2_drain_fn drain2;
static pmem2_memcpy_fn memcpy2;
static pmem2_memmove_fn memmove2;
static pmem2_memset_fn memset2;

static void make_map(void)
{
	struct pmem2_source *source;
	struct pmem2_config *config;

	assert_int_equal(pmem2_source_from_fd(&source, own_fd), 0);
	assert_int_equal(pmem2_config_new(&config), 0);
	assert_int_equal(pmem2_config_set_required_store_granularity(
				 config, PMEM2_GRANULARITY_PAGE),
			 0);
	assert_int_equal(pmem2_config_set_length(config, 16 * PAGE), 0);
	assert_int_equal(pmem2_map_new(&map, config, source), 0);
	pmem2_config_delete(&config);
	pmem2_source_delete(&source);
	map_at = pmem2_map_get_address(map);
	persist2 = pmem2_get_persist_fn(map);
	flush2 = pmem2_get_flush_fn(map);
	drain2 = pmem2_get_drain_fn(map);
	memcpy2 = pmem2_get_memcpy_fn(map);
	memmove2 = pmem2_get_memmove_fn(map);
	memset2 = pmem2_get_memset_fn(map);
}

static int set_up(void **state)
{
	own_setup(state);
	make_map();
	can_stage = own_stage();
	return 0;
}

static int tear_down(void **state)
{
	if (can_stage)
		own_unstage();
	assert_int_equal(pmem2_map_delete(&map), 0);
	return own_teardown(state);
}

/* Each puts TEXT there and makes it durable. */
static int by_persist(char *at)
{
	strcpy(at, TEXT);
	pmem_persist(at, sizeof(TEXT));
	return 0;
}
static int by_msync(char *at)
{
	strcpy(at, TEXT);
	return pmem_msync(at, sizeof(TEXT));
}
static int by_flush(char *at)
{
	strcpy(at, TEXT);
	pmem_flush(at, sizeof(TEXT));
	pmem_drain();
	return 0;
}
static int by_deep_persist(char *at)
{
	strcpy(at, TEXT);
	return pmem_deep_persist(at, sizeof(TEXT));
}
static int by_deep_flush(char *at)
{
	strcpy(at, TEXT);
	pmem_deep_flush(at, sizeof(TEXT));
	pmem_drain();
	return 0;
}
static int by_deep_drain(char *at)
{
	strcpy(at, TEXT);
	return pmem_deep_drain(at, sizeof(TEXT));
}
static int by_memcpy_persist(char *at)
{
	return pmem_memcpy_persist(at, TEXT, sizeof(TEXT)) != at;
}
static int by_memmove_persist(char *at)
{
	return pmem_memmove_persist(at, TEXT, sizeof(TEXT)) != at;
}
static int by_memset_persist(char *at)
{
	strcpy(at, TEXT);
	return pmem_memset_persist(at + 1, 'u', 1) != at + 1;
}
static int by_memcpy_nodrain(char *at)
{
	int r = pmem_memcpy_nodrain(at, TEXT, sizeof(TEXT)) != at;

	pmem_drain();
	return r;
}
static int by_memmove_nodrain(char *at)
{
	int r = pmem_memmove_nodrain(at, TEXT, sizeof(TEXT)) != at;

	pmem_drain();
	return r;
}
static int by_memset_nodrain(char *at)
{
	strcpy(at, TEXT);
	pmem_memset_nodrain(at + 1, 'u', 1);
	pmem_drain();
	return 0;
}
static int by_memcpy(char *at)
{
	return pmem_memcpy(at, TEXT, sizeof(TEXT), 0) != at;
}
static int by_memmove(char *at)
{
	int r = pmem_memmove(at, TEXT, sizeof(TEXT), PMEM_F_MEM_NODRAIN) != at;

	pmem_drain();
	return r;
}
static int by_memset(char *at)
{
	strcpy(at, TEXT);
	return pmem_memset(at + 1, 'u', 1, PMEM_F_MEM_NONTEMPORAL) != at + 1;
}
static int by_memcpy_without_flush(char *at)
{
	pmem_memcpy(at, TEXT, sizeof(TEXT), PMEM_F_MEM_NOFLUSH);
	pmem_persist(at, sizeof(TEXT));
	return 0;
}
static int by_persist2(char *at)
{
	strcpy(at, TEXT);
	persist2(at, sizeof(TEXT));
	return 0;
}
static int by_flush2(char *at)
{
	strcpy(at, TEXT);
	flush2(at, sizeof(TEXT));
	drain2();
	return 0;
}
static int by_memcpy2(char *at)
{
	return memcpy2(at, TEXT, sizeof(TEXT), 0) != at;
}
static int by_memmove2(char *at)
{
	int r = memmove2(at, TEXT, sizeof(TEXT), PMEM2_F_MEM_NODRAIN) != at;

	drain2();
	return r;
}
static int by_memset2(char *at)
{
	strcpy(at, TEXT);
	return memset2(at + 1, 'u', 1, 0) != at + 1;
}
static int by_deep_flush2(char *at)
{
	strcpy(at, TEXT);
	return pmem2_deep_flush(map, at, sizeof(TEXT));
}

static const struct {
	const char *name;
	int (*call)(char *at);
} calls[] = {
	{"pmem_persist", by_persist},
	{"pmem_msync", by_msync},
	{"pmem_flush", by_flush},
	{"pmem_deep_persist", by_deep_persist},
	{"pmem_deep_flush", by_deep_flush},
	{"pmem_deep_drain", by_deep_drain},
	{"pmem_memcpy_persist", by_memcpy_persist},
	{"pmem_memmove_persist", by_memmove_persist},
	{"pmem_memset_persist", by_memset_persist},
	{"pmem_memcpy_nodrain", by_memcpy_nodrain},
	{"pmem_memmove_nodrain", by_memmove_nodrain},
	{"pmem_memset_nodrain", by_memset_nodrain},
	{"pmem_memcpy", by_memcpy},
	{"pmem_memmove", by_memmove},
	{"pmem_memset", by_memset},
	{"pmem_memcpy without flush", by_memcpy_without_flush},
	{"pmem2_get_persist_fn", by_persist2},
	{"pmem2_get_flush_fn", by_flush2},
	{"pmem2_get_memcpy_fn", by_memcpy2},
	{"pmem2_get_memmove_fn", by_memmove2},
	{"pmem2_get_memset_fn", by_memset2},
	{"pmem2_deep_flush", by_deep_flush2},
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* In the mapping that libpmem2 made, and in one of the program's own. */
static void pmem__what_was_stored_is_in_the_file(void **state)
{
	(void)state;
	if (!can_stage)
		skip();
	for (unsigned int i = 0; i < CALLS; i++) {
		size_t offset = i % 16 * PAGE + i / 16 * 512 + 40;
		char *at = (i % 2 ? own_map : map_at) + offset;

		/* not one that libpmem2 has mapped: it refuses */
		if (calls[i].call == by_deep_flush2)
			at = map_at + offset;
		errno = 77;
		if (calls[i].call(at))
			fail_msg("%s fails", calls[i].name);
		own_check_file(offset, TEXT, sizeof(TEXT), calls[i].name);
	}
	assert_ptr_equal(persist2, pmem2_get_persist_fn(map));
	assert_ptr_equal(memcpy2, memmove2);
}

static void pmem__a_copy_without_flush_is_a_copy(void **state)
{
	(void)state;
	if (!can_stage)
		skip();
	strcpy(own_map + PAGE, "before");
	pmem_persist(own_map + PAGE, 7);
	assert_ptr_equal(pmem_memcpy(own_map, "later", 6, PMEM_F_MEM_NOFLUSH),
			 own_map);
	assert_string_equal(own_map, "later");
	own_check_file(PAGE, "before", 7, "pmem_persist");
}

static void pmem__elsewhere_it_is_as_ever(void **state)
{
	char *memory = malloc(PAGE);

	(void)state;
	if (!can_stage)
		skip();
	for (unsigned int i = 0; i < CALLS; i++) {
		memset(memory, 0, PAGE);
		if (calls[i].call == by_deep_flush2) {
			assert_int_equal(pmem2_deep_flush(map, memory, 1),
					 PMEM2_E_DEEP_FLUSH_RANGE);
			continue;
		}
		calls[i].call(memory + 100);
		assert_string_equal(memory + 100, TEXT);
	}
	free(memory);
}

static void pmem__others_have_the_file_it_is_written_through(void **state)
{
	(void)state;
	if (!can_stage)
		skip();
	own_lend(O_RDONLY);
	strcpy(own_map, "read");
	pmem_persist(own_map, 5);
	own_check_file(0, "read", 5, "pmem_persist");
	own_take_back();
	own_wait_until_held();
	own_lend_written("theirs", 50);
	strcpy(own_map, "later");
	errno = 0;
	assert_int_equal(pmem_msync(own_map, 6), -1);
	assert_int_equal(errno, EIO);
	own_check_file(50, "theirs", 6, "pmem_msync");
	own_take_back();
	own_wait_until_held();
	pmem_persist(own_map, 6);
	own_check_file(0, "later", 6, "pmem_persist");
}

/* dlsym() on the library's handle gives the hooks, too. */
static void pmem__looked_up_in_the_library(void **state)
{
	void *pmem = dlopen("libpmem.so.1", RTLD_NOW | RTLD_LOCAL);
	void (*persist)(const void *addr, size_t length);

	(void)state;
	if (!can_stage)
		skip();
	*(void **)&persist = dlsym(pmem, "pmem_persist");
	assert_non_null(persist);
	assert_ptr_equal(persist, dlvsym(pmem, "pmem_persist", "LIBPMEM_1.0"));
	strcpy(own_map, TEXT);
	persist(own_map, sizeof(TEXT));
	own_check_file(0, TEXT, sizeof(TEXT), "pmem_persist");
	*(void **)&persist = dlsym(RTLD_DEFAULT, "pmem_persist");
	assert_ptr_equal(persist, pmem_persist);
	dlclose(pmem);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(pmem__what_was_stored_is_in_the_file),
		TEST(pmem__a_copy_without_flush_is_a_copy),
		TEST(pmem__elsewhere_it_is_as_ever),
		TEST(pmem__others_have_the_file_it_is_written_through),
		TEST(pmem__looked_up_in_the_library),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
