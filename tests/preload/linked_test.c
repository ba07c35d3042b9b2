/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program linked against libibverbs, under the preload: each call keeps its
 * contract, reaches the library as it was made, and is done once.
 *
 * The "file the kernel refuses" is a page-cache file of the current folder with
 * the stand-in refusing plain registrations (EFAULT): the same code as fs-dax.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "list.h"
#include "mr_init_attr.h"
#include "refused_file.h"
#include "standin.h"

#define SIZE  8192UL
#define RW    (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)
#define TAKEN 0x5a5a /* an errno that nobody sets */

struct ibv_mr *ibv_reg_mr_ex(struct ibv_pd *pd, struct ibv_mr_init_attr *attr);

static struct standin_control *device;
static struct ibv_pd *pd;
static char *ordinary;
static char *file; /* a mapping the "kernel" may refuse */

/* What arrived since the last look. */
static unsigned int calls(enum standin_call call)
{
	unsigned int n = device->seen.calls[call];

	device->seen.calls[call] = 0;
	return n;
}

static int reset(void **state)
{
	(void)state;
	memset(device, 0, sizeof(*device));
	errno = TAKEN;
	return 0;
}

static void reg_mr__ordinary_memory_passes_untouched(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	mr = ibv_reg_mr(pd, ordinary + 3, 100, RW);
	assert_non_null(mr);
	assert_int_equal(errno, TAKEN);
	assert_int_equal(calls(STANDIN_REG_MR), 1);
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 1);
	assert_ptr_equal(device->seen.addr, ordinary + 3);
	assert_int_equal(device->seen.length, 100);
	assert_int_equal(device->seen.access, RW);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(calls(STANDIN_DEREG_MR), 1);
	assert_int_equal(errno, TAKEN);
}

static void reg_mr_iova__arguments_arrive(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	mr = ibv_reg_mr_iova(pd, ordinary, SIZE, 0x1000, RW);
	assert_non_null(mr);
	assert_int_equal(calls(STANDIN_REG_MR_IOVA), 1);
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 1);
	assert_true(device->seen.iova == 0x1000);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void reg_mr_iova2__optional_access_flags_arrive(void **state)
{
	unsigned int access = RW | IBV_ACCESS_RELAXED_ORDERING;
	struct ibv_mr *mr;

	(void)state;
	mr = ibv_reg_mr_iova2(pd, ordinary, SIZE, 0x2000, access);
	assert_non_null(mr);
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 1);
	assert_int_equal(device->seen.access, access);
	assert_true(device->seen.iova == 0x2000);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void reg_mr_ex__range_goes_odp_in_a_copy_of_the_attributes(void **state)
{
	struct ibv_mr_init_attr attr = {
		.length = SIZE,
		.access = RW,
		.comp_mask = MR_INIT_ATTR_ADDR | MR_INIT_ATTR_IOVA,
		.iova = (uintptr_t)file,
		.addr = file,
	};
	struct ibv_mr *mr;

	(void)state;
	device->refuse_plain = EFAULT;
	device->has_odp = 1;
	mr = ibv_reg_mr_ex(pd, &attr);
	assert_non_null(mr);
	assert_int_equal(calls(STANDIN_REG_MR_EX), 2); /* plain, then ODP */
	assert_int_equal(device->seen.access, RW | IBV_ACCESS_ON_DEMAND);
	assert_true(device->seen.iova == (uintptr_t)file);
	assert_int_equal(attr.access, RW);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void reg_mr_ex__what_is_not_known_is_passed_on(void **state)
{
	struct ibv_mr_init_attr attr = {
		.length = SIZE,
		.access = RW,
		.comp_mask = MR_INIT_ATTR_ADDR | 1 << 20,
		.addr = file,
	};

	(void)state;
	device->refuse_plain = EFAULT;
	device->has_odp = 1;
	assert_null(ibv_reg_mr_ex(pd, &attr));
	assert_int_equal(errno, EFAULT);
	assert_int_equal(calls(STANDIN_REG_MR_EX), 1);
}

static void reg_mr__every_errno_of_the_library_comes_back(void **state)
{
	static const int errors[] = {ENOMEM, EINVAL, EPERM, EAGAIN};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		device->refuse_all = errors[i];
		assert_null(ibv_reg_mr(pd, ordinary, SIZE, RW));
		assert_int_equal(errno, errors[i]);
		assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 1);
		assert_string_not_equal(daxmr_errormsg(), "");
	}
}

static void reg_mr__refused_file_goes_odp_once(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	device->refuse_plain = EFAULT;
	device->has_odp = 1;
	mr = ibv_reg_mr(pd, file, SIZE, RW);
	assert_non_null(mr);
	assert_int_equal(errno, TAKEN);
	/* had the inner call been taken for one of the program's, 3 or 4 */
	assert_int_equal(calls(STANDIN_REG_MR), 2);
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 2);
	assert_int_equal(device->seen.access, RW | IBV_ACCESS_ON_DEMAND);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void
reg_mr__refused_file_without_odp_gets_errno_and_sentence(void **state)
{
	pid_t self = getpid();
	struct list list;

	(void)state;
	device->refuse_plain = EFAULT;
	assert_null(ibv_reg_mr(pd, file, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "daxmr-refused"));
	assert_non_null(strstr(daxmr_errormsg(), "standin0"));
	assert_non_null(strstr(daxmr_errormsg(), "no on-demand paging"));
	assert_int_equal(list_find(&self, 1, &list), 0);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.process->last_refusal.error, EFAULT);
	assert_int_equal(list.process->last_refusal.reason, REFUSAL_NO_ODP);
	assert_int_equal(list.process->refused_for[REFUSAL_NO_ODP], 1);
	assert_string_equal(list.process->last_refusal.why, daxmr_errormsg());
	list_free(&list);
}

static void reg_mr__odp_refused_too_gets_the_last_errno(void **state)
{
	(void)state;
	device->refuse_all = EFAULT;
	device->has_odp = 1;
	assert_null(ibv_reg_mr(pd, file, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "on-demand"));
}

/* As daxmr list has it; UINT32_MAX: it is not listed. errno is kept. */
static unsigned int listed_access(const void *addr)
{
	int saved_errno = errno;
	unsigned int access = UINT32_MAX;
	pid_t self = getpid();
	struct list list;

	assert_int_equal(list_find(&self, 1, &list), 0);
	for (size_t i = 0; list.count && i < list.process->regions; i++)
		if (list.process->region[i].addr == (uintptr_t)addr)
			access = list.process->region[i].access;
	list_free(&list);
	errno = saved_errno;
	return access;
}

static void dereg_mr__positive_errno_and_mr_still_known(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	device->refuse_plain = EFAULT;
	device->has_odp = 1;
	mr = ibv_reg_mr(pd, file, SIZE, RW);
	assert_non_null(mr);
	device->refuse_dereg = EBUSY;
	errno = TAKEN;
	assert_int_equal(ibv_dereg_mr(mr), EBUSY);
	assert_int_equal(errno, TAKEN);
	device->refuse_dereg = 0;
	assert_int_equal(listed_access(file), RW);
	/* still known: a change of access keeps it on demand */
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, IBV_ACCESS_LOCAL_WRITE),
			 0);
	assert_int_equal(device->seen.access,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND);
	assert_int_equal(listed_access(file), IBV_ACCESS_LOCAL_WRITE);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(listed_access(file), UINT32_MAX);
}

static void rereg_mr__plain_change_passes_untouched(void **state)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, ordinary, SIZE, RW);
	int flags = IBV_REREG_MR_CHANGE_ACCESS | IBV_REREG_MR_CHANGE_PD |
		    IBV_REREG_MR_CHANGE_TRANSLATION;

	(void)state;
	assert_non_null(mr);
	assert_int_equal(ibv_rereg_mr(mr, flags, pd, ordinary + 1, 17,
				      IBV_ACCESS_REMOTE_READ),
			 0);
	assert_int_equal(calls(STANDIN_REREG_MR), 1);
	assert_int_equal(device->seen.flags, flags);
	assert_int_equal(device->seen.access, IBV_ACCESS_REMOTE_READ);
	assert_int_equal(device->seen.length, 17);
	assert_int_equal(errno, TAKEN);
	device->refuse_all = ENOMEM;
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0, 0),
		IBV_REREG_MR_ERR_CMD);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void *register_often(void *arg)
{
	struct ibv_mr *mr;
	int i;

	for (i = 0; i < 200; i++) {
		mr = ibv_reg_mr(pd, i % 2 ? file : ordinary, SIZE, RW);
		if (!mr || ibv_dereg_mr(mr))
			return arg;
	}
	return NULL;
}

static void threads__register_at_once(void **state)
{
	pthread_t threads[4];
	void *failed;
	int i;

	(void)state;
	device->has_odp = 1;
	for (i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, register_often, pd),
			0);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void fork__child_registers_on_its_own(void **state)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, ordinary, SIZE, RW);
	int status;
	pid_t pid;

	(void)state;
	assert_non_null(mr);
	device->refuse_plain = EFAULT;
	pid = fork();
	if (pid == 0) {
		alarm(20);
		/* the child's file lies where the parent has plain memory */
		if (mremap(file, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   ordinary) != ordinary)
			_exit(1);
		if (ibv_reg_mr(pd, ordinary, SIZE, RW) || errno != EFAULT)
			_exit(2);
		if (!strstr(daxmr_errormsg(), "daxmr-refused"))
			_exit(3);
		if (ibv_dereg_mr(mr))
			_exit(4);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

/* What a thread with the smallest stack does without us it does with us. */
static void *register_on_small_stack(void *arg)
{
	void *addr = arg;
	struct ibv_mr *mr = ibv_reg_mr(pd, addr, SIZE, RW);

	if (!mr)
		return (void *)(intptr_t)errno;
	return (void *)(intptr_t)ibv_dereg_mr(mr);
}

static void check_on_small_stack(void *addr, int want)
{
	pthread_attr_t attr;
	pthread_t thread;
	void *got;

	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(
				 &attr, (size_t)sysconf(_SC_THREAD_STACK_MIN)),
			 0);
	assert_int_equal(
		pthread_create(&thread, &attr, register_on_small_stack, addr),
		0);
	pthread_join(thread, &got);
	pthread_attr_destroy(&attr);
	assert_int_equal((intptr_t)got, want);
}

static void threads__with_the_smallest_stack(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)state;
	print_message("a sanitizer's frames are larger\n");
	skip();
#endif
	void *shm = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(shm, MAP_FAILED);
	check_on_small_stack(ordinary, 0);
	check_on_small_stack(shm, 0);
	check_on_small_stack(file, 0);
	device->refuse_plain = EFAULT;
	check_on_small_stack(file, EFAULT); /* with a sentence, and logged */
	device->has_odp = 1;
	check_on_small_stack(file, 0);
	munmap(shm, SIZE);
}

/* Registers with a cancellation pending; NULL: it came back from all of it. */
static void *register_while_cancelled(void *arg)
{
	struct ibv_mr *mr;

	pthread_cancel(pthread_self());
	mr = ibv_reg_mr(pd, file, SIZE, RW);
	*(int *)arg = mr ? ibv_dereg_mr(mr) : errno;
	pthread_testcancel();
	return NULL;
}

static void cancellation__does_not_hit_inside_a_verb(void **state)
{
	pthread_t thread;
	int result = -1;
	void *end;

	(void)state;
	device->refuse_plain = EFAULT;
	assert_int_equal(pthread_create(&thread, NULL, register_while_cancelled,
					&result),
			 0);
	pthread_join(thread, &end);
	assert_ptr_equal(end, PTHREAD_CANCELED);
	assert_int_equal(result, EFAULT);
}

/* A counter, a device: descriptor 2 may be anything but a log by now. */
static void fds__eventfd_at_descriptor_2_is_not_written(void **state)
{
	int saved = dup(STDERR_FILENO), counter = eventfd(0, EFD_NONBLOCK);
	uint64_t count;

	(void)state;
	assert_true(saved >= 0 && counter >= 0);
	assert_int_equal(dup2(counter, STDERR_FILENO), STDERR_FILENO);
	device->refuse_plain = EFAULT;
	assert_null(ibv_reg_mr(pd, file, SIZE, RW));
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_int_equal(read(counter, &count, sizeof(count)), -1);
	assert_int_equal(errno, EAGAIN);
	close(counter);
}

static void fds__all_closed_and_reused_by_the_program(void **state)
{
	char path[] = "daxmr-linked-data-XXXXXX";
	int fd = mkstemp(path), at, saved = dup(STDERR_FILENO);
	struct ibv_mr *mr;
	off_t size;

	(void)state;
	unlink(path);
	assert_true(fd >= 0 && saved >= 0);
	mr = ibv_reg_mr(pd, ordinary, SIZE, RW);
	assert_non_null(mr);
	for (at = 2; at < 1024; at++)
		if (at != saved && at != fd && at != STDOUT_FILENO)
			close(at);
	/* the program's data now lies at 2 and wherever else something was */
	for (at = 2; at < 1024; at++)
		if (at != saved && at != fd)
			assert_int_equal(dup2(fd, at), at);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	device->refuse_plain = EFAULT;
	assert_null(ibv_reg_mr(pd, file, SIZE, RW)); /* logs, or would */
	assert_int_equal(errno, EFAULT);
	size = lseek(fd, 0, SEEK_END);
	for (at = 3; at < 1024; at++)
		if (at != saved && at != fd)
			assert_int_equal(close(at), 0); /* none was taken */
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	assert_int_equal(size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, reset)
		TEST(reg_mr__ordinary_memory_passes_untouched),
		TEST(reg_mr_iova__arguments_arrive),
		TEST(reg_mr_iova2__optional_access_flags_arrive),
		TEST(reg_mr_ex__range_goes_odp_in_a_copy_of_the_attributes),
		TEST(reg_mr_ex__what_is_not_known_is_passed_on),
		TEST(reg_mr__every_errno_of_the_library_comes_back),
		TEST(reg_mr__refused_file_goes_odp_once),
		TEST(reg_mr__refused_file_without_odp_gets_errno_and_sentence),
		TEST(reg_mr__odp_refused_too_gets_the_last_errno),
		TEST(dereg_mr__positive_errno_and_mr_still_known),
		TEST(rereg_mr__plain_change_passes_untouched),
		TEST(threads__register_at_once),
		TEST(fork__child_registers_on_its_own),
		TEST(threads__with_the_smallest_stack),
		TEST(cancellation__does_not_hit_inside_a_verb),
		TEST(fds__eventfd_at_descriptor_2_is_not_written),
		TEST(fds__all_closed_and_reused_by_the_program),
	};
	char path[64];
	int r;

	file = refused_file_map(SIZE, path);
	if (!file)
		return 77;
	ordinary = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ordinary == MAP_FAILED)
		return 1;
	device = standin_control();
	pd = standin_pd();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return r;
}
