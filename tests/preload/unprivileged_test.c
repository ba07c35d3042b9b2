/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program under the preload that may not have a userfaultfd for what happens
 * in system calls: with one thread it needs none; with several a registration
 * is refused before anything has changed, and says what to do; DAXMR_UFFD=user
 * does with one that does not see system calls.
 *
 * A system call filter takes the privilege away, from root as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

#define ROUNDS 6

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* ThreadSanitizer has one of its own, as soon as there is another. */
static void need_one_thread(void)
{
#ifdef __SANITIZE_THREAD__
	print_message("ThreadSanitizer has a thread of its own in here\n");
	skip();
#endif
}

static struct ibv_mr *register_all(void)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, staged_file.addr, SIZE, RW);

	if (!mr)
		fail_msg("%s: %s", strerror(errno), daxmr_errormsg());
	assert_true(is_shadow(staged_file.addr));
	return mr;
}

static void one_thread__needs_none(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	need_one_thread();
	mr = register_all();
	assert_int_equal(staged_file.addr[3 * PAGE], 'd');
	memcpy(staged_file.addr, "stored", 6);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_false(is_shadow(staged_file.addr));
	assert_memory_equal(staged_file.addr, "stored", 6);
	file_mapping_check_outside(&staged_file, 0, "stored", 6);
}

/* It has a shadow, and threads that cannot be held up: that stays. */
static void threads_that_came_later__leave_the_shadow_there(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	need_one_thread();
	mr = register_all();
	file_mapping_start_stores(&staged_file);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_true(is_shadow(staged_file.addr));
	assert_int_equal(msync(staged_file.addr, SIZE, MS_SYNC), 0);
	file_mapping_stop_stores(&staged_file);
	assert_true(is_shadow(staged_file.addr));
}

static void threads__are_refused_with_the_remedy(void **state)
{
	(void)state;
	file_mapping_start_stores(&staged_file);
	for (int i = 0; i < ROUNDS; i++) {
		assert_null(ibv_reg_mr(pd, staged_file.addr, SIZE, RW));
		assert_int_equal(errno, EPERM);
		assert_non_null(strstr(daxmr_errormsg(), "/dev/userfaultfd"));
		assert_non_null(strstr(daxmr_errormsg(), "DAXMR_UFFD=user"));
		assert_false(is_shadow(staged_file.addr));
	}
	file_mapping_stop_stores(&staged_file);
}

static void user_mode__threads_lose_no_store(void **state)
{
	(void)state;
	file_mapping_start_stores(&staged_file);
	for (int i = 0; i < ROUNDS; i++) {
		struct ibv_mr *mr = register_all();

		assert_int_equal(ibv_dereg_mr(mr), 0);
		assert_false(is_shadow(staged_file.addr));
	}
	file_mapping_stop_stores(&staged_file);
}

/* EPERM for what takes a privilege. */
static int drop_privilege(void)
{
#define ARG(n)	   (offsetof(struct seccomp_data, args) + (n) * sizeof(uint64_t))
#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (what))
#define IS(value, then, other)                                                 \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (other))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
	struct sock_filter code[] = {
		LOAD(offsetof(struct seccomp_data, nr)),
		IS(SYS_userfaultfd, 0, 2),
		LOAD(ARG(0)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, UFFD_USER_MODE_ONLY, 3, 4),
		IS(SYS_ioctl, 0, 2),
		LOAD(ARG(1)),
		IS(USERFAULTFD_IOC_NEW, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0,
		     0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
		       ? -errno
		       : 0;
}

static int has_user_mode(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, staging_set_up, staging_tear_down)
	const struct CMUnitTest refused[] = {
		TEST(one_thread__needs_none),
		TEST(threads__are_refused_with_the_remedy),
		TEST(threads_that_came_later__leave_the_shadow_there),
	};
	const struct CMUnitTest user[] = {
		TEST(one_thread__needs_none),
		TEST(user_mode__threads_lose_no_store),
	};
	const char *uffd = getenv("DAXMR_UFFD");
	int r = drop_privilege();

	if (r) {
		print_message("no system call filter: %s\n", strerror(-r));
		return 77;
	}
	staging_init();
	if (!uffd || strcmp(uffd, "user") != 0)
		return cmocka_run_group_tests(refused, NULL, NULL);
	if (!has_user_mode()) {
		print_message("no userfaultfd of any kind\n");
		return 77;
	}
	return cmocka_run_group_tests(user, NULL, NULL);
}
