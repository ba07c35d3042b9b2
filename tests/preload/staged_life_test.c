/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a staged registration, under the preload: children, the program's
 * end, an MR that is registered anew, threads that register at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

/* MR and lease are the parent's: a child's dereg takes neither away. */
static void child__deregisters_and_nothing_happens(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;
	int status;
	pid_t pid;

	(void)state;
	file_mapping_make(&file, SIZE);
	mr = register_range(file.addr, SIZE);
	pid = fork();
	if (!pid) {
		alarm(FILE_MAPPING_WAIT_SEC);
		_exit(ibv_dereg_mr(mr) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(is_shadow(file.addr));
	memcpy(file.addr, "parent", 6);
	file_mapping_check_outside(&file, 0, "parent", 6);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	wait_until_file(&file);
	file_mapping_remove(&file);
}

static struct ibv_mr *at_exit;

static void deregister_at_exit(void)
{
	if (ibv_dereg_mr(at_exit))
		_exit(3);
}

static bool is_child;

/*
 * LeakSanitizer asks when a program exits.  A forked child has what its
 * parent's threads were just freeing and no thread that could.
 */
__attribute__((visibility("default"))) int
__lsan_is_turned_off(void);    /* NOLINT(bugprone-reserved-identifier) */
int __lsan_is_turned_off(void) /* NOLINT(bugprone-reserved-identifier) */
{
	return is_child;
}

/* A process of its own, which ends with or without a dereg. */
static void end_registered(bool deregisters)
{
	struct file_mapping file;
	int status;
	pid_t pid;

	file_mapping_make(&file, SIZE);
	pid = fork();
	if (!pid) {
		is_child = true;
		alarm(FILE_MAPPING_WAIT_SEC);
		at_exit = ibv_reg_mr(pd, file.addr, SIZE, RW);
		if (!at_exit)
			_exit(2);
		memcpy(file.addr + 7 * PAGE, "the end", 7);
		if (deregisters) {
			atexit(deregister_at_exit);
			exit(0);
		}
		_exit(0);
	}
	/* the parent has it mapped: with that no other gets a lease */
	munmap(file.addr, SIZE);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	file_mapping_check_outside(&file, 7 * PAGE, "the end", 7);
	unlink(file.path);
}

static void exit__deregisters_from_a_handler(void **state)
{
	(void)state;
	end_registered(true);
}

static void exit__without_dereg_all_is_in_the_file(void **state)
{
	(void)state;
	end_registered(false);
}

static int move_to(struct ibv_mr *mr, void *addr, size_t length)
{
	return ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, addr,
			    length, 0);
}

static void rereg__shadows_follow_the_mr(void **state)
{
	static char memory[PAGE];
	struct file_mapping one, two;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&one, SIZE);
	file_mapping_make(&two, SIZE);
	mr = register_range(memory, PAGE);
	errno = TAKEN;
	assert_int_equal(move_to(mr, one.addr, SIZE), 0);
	assert_int_equal(errno, TAKEN);
	assert_int_equal(device->seen.access, RW);
	assert_true(is_shadow(one.addr));
	memcpy(one.addr, "one", 3);
	assert_int_equal(move_to(mr, two.addr, SIZE), 0);
	assert_true(is_shadow(two.addr));
	check_is_file(&one);
	file_mapping_check_outside(&one, 0, "one", 3);
	assert_int_equal(move_to(mr, two.addr + PAGE, PAGE), 0);
	assert_true(is_shadow(two.addr + PAGE));
	assert_int_equal(move_to(mr, memory, PAGE), 0);
	check_is_file(&two);
	assert_int_equal(move_to(mr, one.addr, PAGE), 0);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	wait_until_file(&one);
	file_mapping_remove(&one);
	file_mapping_remove(&two);
}

static void rereg__failed_leaves_both_as_they_were(void **state)
{
	struct file_mapping one, two;
	struct ibv_mr *mr;
	int held;

	(void)state;
	file_mapping_make(&one, SIZE);
	file_mapping_make(&two, SIZE);
	mr = register_range(one.addr, SIZE);
	device->refuse_all = ENOMEM;
	assert_int_equal(move_to(mr, two.addr, SIZE), IBV_REREG_MR_ERR_CMD);
	assert_int_equal(errno, ENOMEM);
	device->refuse_all = 0;
	check_is_file(&two);
	assert_true(is_shadow(one.addr));
	held = open(two.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(move_to(mr, two.addr, SIZE), IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), strrchr(two.path, '/') + 1));
	close(held);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&one);
	file_mapping_remove(&one);
	file_mapping_remove(&two);
}

static void rereg__access_is_that_of_a_shadow(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, SIZE);
	mr = register_range(file.addr, SIZE);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, RW | FLUSH_PERSISTENT),
			 IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "FLUSH_PERSISTENT"));
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			     IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND),
		0);
	assert_int_equal(device->seen.access, IBV_ACCESS_REMOTE_READ);
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0, 0), 0);
	assert_true(is_shadow(file.addr));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	file_mapping_remove(&file);
}

/* Between the look at the memory and the kernel's, from another thread. */
static struct file_mapping contested;
static struct ibv_mr *other;

static void *register_other(void *arg)
{
	other = ibv_reg_mr(pd, contested.addr, SIZE, RW);
	return arg;
}

static void stage_by_other_thread(void)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, register_other, NULL))
		pthread_join(thread, NULL);
}

static void shadow_that_came_meanwhile__is_counted(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&contested, SIZE);
	device->before = stage_by_other_thread;
	mr = register_range(contested.addr, SIZE);
	assert_non_null(other);
	assert_int_equal(ibv_dereg_mr(other), 0);
	assert_true(is_shadow(contested.addr));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&contested);
	file_mapping_remove(&contested);
}

static void *register_often(void *arg)
{
	struct file_mapping *file = arg;

	for (unsigned int i = 0; i < 10; i++) {
		char *addr = file->addr + i * PAGE;
		struct ibv_mr *mr = ibv_reg_mr(pd, addr, 20 * PAGE, RW);

		if (!mr)
			return (void *)daxmr_errormsg();
		if (!is_shadow(addr) || !is_shadow(addr + 20 * PAGE - 1))
			return (void *)"an MR on something else than a shadow";
		if (ibv_dereg_mr(mr))
			return (void *)"dereg failed";
	}
	return NULL;
}

static void threads__register_one_file_at_once(void **state)
{
	struct file_mapping file;
	pthread_t threads[3];
	void *failed;

	(void)state;
	file_mapping_make(&file, SIZE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						register_often, &file),
				 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &failed);
		if (failed)
			fail_msg("%s", (const char *)failed);
	}
	check_is_file(&file);
	file_mapping_remove(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, staging_reset)
		TEST(child__deregisters_and_nothing_happens),
		TEST(exit__deregisters_from_a_handler),
		TEST(exit__without_dereg_all_is_in_the_file),
		TEST(rereg__shadows_follow_the_mr),
		TEST(rereg__failed_leaves_both_as_they_were),
		TEST(rereg__access_is_that_of_a_shadow),
		TEST(shadow_that_came_meanwhile__is_counted),
		TEST(threads__register_one_file_at_once),
	};
	int skip = staging_cannot();

	if (skip)
		return skip;
	staging_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
