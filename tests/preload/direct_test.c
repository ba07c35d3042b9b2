/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct verbs under the preload: whoever calls mlx5dv_init_obj(), in whatever
 * version and however he has found it, comes by the hook, and the queue pair is
 * cut off when others want a pinned file. The first argument is the stand-in
 * for libmlx5; linked: this program is linked with it, else it is loaded late.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "direct.h"
#include "list.h"
#include "standin.h"

#define SIZE (64 * 4096UL)
#define RW   (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

typedef int init_obj_fn(struct mlx5dv_obj *obj, uint64_t type);

#ifdef LINKED
static init_obj_fn *const linked = mlx5dv_init_obj;
int direct_test_old(struct mlx5dv_obj *obj, uint64_t type);
__asm__(".symver direct_test_old, mlx5dv_init_obj@MLX5_1.0");
static init_obj_fn *const linked_old = direct_test_old;
#endif

static const char *library;
static struct direct_control *driver;
static void *handle;
static struct ibv_pd *pd;
/* As providers have it: the kinds are told apart by what follows. */
static union {
	struct ibv_cq plain;
	struct ibv_cq_ex ex;
} cq;
static struct ibv_qp qp, other;
static char path[256];
static int fd;
static char *file;
static struct ibv_mr *mr;

/* Without one the device's work could not be held up. */
static int post_send(struct ibv_qp *on, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	(void)on;
	*bad_wr = wr;
	return EINVAL;
}

/* With these a QP gets a marker, which the device then refuses. */
static struct ibv_mw *alloc_mw(struct ibv_pd *in, enum ibv_mw_type type)
{
	struct ibv_mw *mw = calloc(1, sizeof(*mw));

	if (mw)
		*mw = (struct ibv_mw){
			.context = in->context, .pd = in, .type = type};
	return mw;
}

static int dealloc_mw(struct ibv_mw *mw)
{
	free(mw);
	return 0;
}

static int bind_mw(struct ibv_qp *on, struct ibv_mw *mw,
		   struct ibv_mw_bind *bind)
{
	(void)on;
	(void)mw;
	(void)bind;
	return EIO;
}

static int poll_cq(struct ibv_cq *of, int count, struct ibv_wc *wc)
{
	(void)of;
	(void)count;
	(void)wc;
	return 0;
}

static int setup(void **state)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS};

	(void)state;
	snprintf(path, sizeof(path), "./direct-test-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	mr = ibv_reg_mr(pd, file, SIZE, RW);
	assert_non_null(mr);
	memset(driver, 0, sizeof(*driver));
	memset(&cq, 0, sizeof(cq));
	cq.plain.context = pd->context;
	cq.plain.cqe = 16;
	qp = (struct ibv_qp){.context = pd->context,
			     .pd = pd,
			     .send_cq = &cq.plain,
			     .recv_cq = &cq.plain,
			     .qp_num = 17,
			     .qp_type = IBV_QPT_RC};
	other = qp;
	other.qp_num = 18;
	other.state = IBV_QPS_RESET;
	return ibv_modify_qp(&qp, &attr, IBV_QP_STATE);
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(ibv_destroy_qp(&qp), 0);
	assert_int_equal(ibv_destroy_qp(&other), 0);
	assert_int_equal(ibv_destroy_cq(&cq.plain), 0);
	munmap(file, SIZE);
	close(fd);
	return unlink(path);
}

static void cut_by_other(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(truncate(path, SIZE / 2) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static enum ibv_qp_state state_of(const struct ibv_qp *of)
{
	return __atomic_load_n(&of->state, __ATOMIC_RELAXED);
}

/* Queue pairs that were severed because they are driven by direct verbs. */
static uint64_t cut_off(void)
{
	pid_t pid = getpid();
	uint64_t count = 0;
	struct list list;

	assert_int_equal(list_find(&pid, 1, &list), 0);
	for (size_t i = 0; list.count && i < list.process->devices; i++)
		count += list.process->device[i]
				 .count[STATS_DRAINED + GATE_LEFT_DIRECT];
	list_free(&list);
	return count;
}

/* By this function the QP's ring is got at, and it goes with the region. */
static void check_hooked(init_obj_fn *init_obj, bool is_old)
{
	struct mlx5dv_qp out;
	struct mlx5dv_obj obj = {.qp = {&qp, &out}};
	uint64_t before = cut_off();

	assert_non_null(init_obj);
	errno = E2BIG;
	assert_int_equal(init_obj(&obj, MLX5DV_OBJ_QP), 0);
	assert_int_equal(errno, E2BIG);
	assert_int_equal(driver->calls, !is_old);
	assert_int_equal(driver->old_calls, is_old);
	assert_int_equal(driver->type, MLX5DV_OBJ_QP);
	cut_by_other();
	assert_int_equal(state_of(&qp), IBV_QPS_ERR);
	/* the stand-in's can never be drained; this one for that reason */
	assert_int_equal(cut_off(), before + 1);
}

#ifndef LINKED
static void not_loaded__there_is_none(void **state)
{
	(void)state;
	assert_null(dlsym(RTLD_DEFAULT, "mlx5dv_init_obj"));
	assert_null(dlvsym(RTLD_DEFAULT, "mlx5dv_init_obj", "MLX5_1.0"));
}
#endif

static void dlsym__by_handle_is_hooked(void **state)
{
	(void)state;
	check_hooked((init_obj_fn *)dlsym(handle, "mlx5dv_init_obj"), false);
}

static void dlvsym__by_handle_is_hooked(void **state)
{
	(void)state;
	check_hooked(
		(init_obj_fn *)dlvsym(handle, "mlx5dv_init_obj", "MLX5_1.2"),
		false);
}

static void dlvsym__old_version_goes_to_the_old_one(void **state)
{
	(void)state;
	check_hooked(
		(init_obj_fn *)dlvsym(handle, "mlx5dv_init_obj", "MLX5_1.0"),
		true);
}

static void dlvsym__a_version_that_is_not_there(void **state)
{
	(void)state;
	assert_null(dlvsym(handle, "mlx5dv_init_obj", "MLX5_1.9"));
	assert_non_null(dlerror());
}

#ifdef LINKED
static void linked__is_hooked(void **state)
{
	(void)state;
	check_hooked(linked, false);
}

static void linked__old_version_goes_to_the_old_one(void **state)
{
	(void)state;
	check_hooked(linked_old, true);
}
#endif

static init_obj_fn *found(void)
{
	return (init_obj_fn *)dlsym(handle, "mlx5dv_init_obj");
}

/* Nobody posts to it, nor needs to: it cannot send. */
static void qp_that_is_not_ready__is_left_alone(void **state)
{
	struct mlx5dv_qp out;
	struct mlx5dv_obj obj = {.qp = {&other, &out}};

	(void)state;
	assert_int_equal(found()(&obj, MLX5DV_OBJ_QP), 0);
	cut_by_other();
	assert_int_equal(state_of(&other), IBV_QPS_RESET);
}

static void other_objects__are_passed_on(void **state)
{
	struct mlx5dv_obj obj = {.qp = {(struct ibv_qp *)8, NULL}};

	(void)state;
	assert_int_equal(found()(&obj, MLX5DV_OBJ_SRQ | MLX5DV_OBJ_PD), 0);
	assert_int_equal(driver->type, MLX5DV_OBJ_SRQ | MLX5DV_OBJ_PD);
}

static void refused__its_error_is_passed_on(void **state)
{
	struct mlx5dv_cq out;
	struct mlx5dv_obj obj = {.cq = {&cq.plain, &out}};

	(void)state;
	driver->refuse = EOPNOTSUPP;
	assert_int_equal(found()(&obj, MLX5DV_OBJ_CQ), EOPNOTSUPP);
	driver->refuse = 0;
	assert_int_equal(found()(&obj, MLX5DV_OBJ_CQ), 0);
	assert_int_equal(driver->calls, 2);
}

/* With a cancellation pending; NULL: it came back from all of it. */
static void *ask_when_cancelled(void *arg)
{
	struct mlx5dv_qp out;
	struct mlx5dv_obj obj = {.qp = {&qp, &out}};
	init_obj_fn *init_obj = found();

	pthread_cancel(pthread_self());
	*(int *)arg = init_obj(&obj, MLX5DV_OBJ_QP);
	pthread_testcancel();
	return NULL;
}

/* Though the log has to say why. */
static void qp_that_was_drained__is_refused_and_cancels_nobody(void **state)
{
	pthread_t thread;
	int result = -1;
	void *end;

	(void)state;
	cut_by_other();
	assert_int_equal(
		pthread_create(&thread, NULL, ask_when_cancelled, &result), 0);
	pthread_join(thread, &end);
	assert_ptr_equal(end, PTHREAD_CANCELED);
	assert_int_equal(result, EBUSY);
	assert_int_equal(driver->calls, 0);
}

static void load(void **state)
{
	struct direct_control *(*control)(void);

	(void)state;
	handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		fail_msg("%s", dlerror());
	*(void **)&control = dlsym(handle, "direct_control");
	assert_non_null(control);
	driver = control();
}

int main(int argc, char **argv)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
#ifndef LINKED
		cmocka_unit_test(not_loaded__there_is_none),
#endif
		cmocka_unit_test(load),
#ifdef LINKED
		WITH_REGION(linked__is_hooked),
		WITH_REGION(linked__old_version_goes_to_the_old_one),
#endif
		WITH_REGION(dlsym__by_handle_is_hooked),
		WITH_REGION(dlvsym__by_handle_is_hooked),
		WITH_REGION(dlvsym__old_version_goes_to_the_old_one),
		cmocka_unit_test(dlvsym__a_version_that_is_not_there),
		WITH_REGION(qp_that_is_not_ready__is_left_alone),
		WITH_REGION(other_objects__are_passed_on),
		WITH_REGION(refused__its_error_is_passed_on),
		WITH_REGION(qp_that_was_drained__is_refused_and_cancels_nobody),
	};

	if (argc != 2)
		return 2;
	library = argv[1];
	pd = standin_pd();
	pd->context->ops.post_send = post_send;
	pd->context->ops.alloc_mw = alloc_mw;
	pd->context->ops.dealloc_mw = dealloc_mw;
	pd->context->ops.bind_mw = bind_mw;
	pd->context->ops.poll_cq = poll_cq;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
