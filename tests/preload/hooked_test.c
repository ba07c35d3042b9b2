/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program under the preload and under memory hooks (memory_hooks.c), whose
 * threads store all over a file: staging, writing, copying and mapping back
 * reach none of the hooks, which would wait for what the program holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "cannot_trap.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

#define ROUNDS 4

/* Preloaded with us. */
void memory_hooks_hold(void) __attribute__((weak));
const char *memory_hooks_let_go(void) __attribute__((weak));

static void let_go(const char *what)
{
	const char *called = memory_hooks_let_go();

	if (called)
		fail_msg("%s calls %s(), which is hooked", what, called);
}

static void hooks__see_the_programs_own_calls(void **state)
{
	void *addr;

	(void)state;
	memory_hooks_hold();
	addr = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_string_equal(memory_hooks_let_go(), "mmap");
	memory_hooks_hold();
	munmap(addr, 4096);
	assert_string_equal(memory_hooks_let_go(), "munmap");
}

static void staged__reaches_no_hook_and_loses_no_store(void **state)
{
	(void)state;
	file_mapping_start_stores(&staged_file);
	for (int i = 0; i < ROUNDS; i++) {
		struct ibv_mr *mr;
		int r;

		memory_hooks_hold();
		mr = ibv_reg_mr(pd, staged_file.addr, SIZE, RW);
		let_go("ibv_reg_mr");
		if (!mr)
			fail_msg("%s: %s", strerror(errno), daxmr_errormsg());
		assert_true(is_shadow(staged_file.addr));
		memory_hooks_hold();
		r = msync(staged_file.addr, SIZE, MS_SYNC);
		let_go("msync");
		assert_int_equal(r, 0);
		memory_hooks_hold();
		r = ibv_dereg_mr(mr);
		let_go("ibv_dereg_mr");
		assert_int_equal(r, 0);
		assert_false(is_shadow(staged_file.addr));
	}
	file_mapping_stop_stores(&staged_file);
}

static void refused__reaches_no_hook(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	device->refuse_all = ENOMEM;
	file_mapping_start_stores(&staged_file);
	memory_hooks_hold();
	mr = ibv_reg_mr(pd, staged_file.addr, SIZE, RW);
	let_go("ibv_reg_mr");
	assert_null(mr);
	assert_false(is_shadow(staged_file.addr));
	file_mapping_stop_stores(&staged_file);
}

static void private_mapping__reaches_no_hook(void **state)
{
	int fd = open(staged_file.path, O_RDWR | O_CLOEXEC);
	struct ibv_mr *mr;
	char *own;

	(void)state;
	assert_true(fd >= 0);
	own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(own, MAP_FAILED);
	device->refuse_files = 0;
	device->refuse_privates = EFAULT;
	file_mapping_start_stores(&staged_file);
	memory_hooks_hold();
	mr = ibv_reg_mr(pd, own, SIZE, RW);
	let_go("ibv_reg_mr");
	if (!mr)
		fail_msg("%s: %s", strerror(errno), daxmr_errormsg());
	assert_int_equal(ibv_dereg_mr(mr), 0);
	file_mapping_stop_stores(&staged_file);
	munmap(own, SIZE);
	close(fd);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, staging_set_up, staging_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(hooks__see_the_programs_own_calls),
		TEST(staged__reaches_no_hook_and_loses_no_store),
		TEST(refused__reaches_no_hook),
		TEST(private_mapping__reaches_no_hook),
	};
	int r = cannot_trap();

	if (r)
		return r;
	if (!memory_hooks_hold) {
		printf("the hooks are not preloaded\n");
		return 1;
	}
	staging_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
