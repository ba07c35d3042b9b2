/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was imported (ibv_import_pd(), ibv_import_mr()) under the preload: no
 * region is pinned in such a PD, and such an MR is never taken for one of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "standin.h"

#define SIZE (64 * 4096UL)
#define RW   (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

static struct standin_control *device;
static struct ibv_pd *pd;
static char path[256];
static int fd;
static char *file;

/* Without one the device's work could not be held up. */
static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	(void)qp;
	*bad_wr = wr;
	return EINVAL;
}

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "./imported-test-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	memset(&device->seen, 0, sizeof(device->seen));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(file, SIZE);
	close(fd);
	return unlink(path);
}

static unsigned int calls(enum standin_call call)
{
	return __atomic_load_n(&device->seen.calls[call], __ATOMIC_ACQUIRE);
}

static void pd__no_region_is_pinned_in_it(void **state)
{
	struct ibv_pd *imported = ibv_import_pd(pd->context, 5);

	(void)state;
	assert_non_null(imported);
	errno = 0;
	assert_null(ibv_reg_mr(imported, file, SIZE, RW));
	assert_int_equal(errno, EOPNOTSUPP);
	assert_non_null(strstr(daxmr_errormsg(), "ibv_import_pd"));
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 0);
	ibv_unimport_pd(imported);
}

/* Another struct, of the same kernel object: what each provider makes of it. */
static void pd__none_is_pinned_in_a_parent_domain_of_it(void **state)
{
	struct ibv_pd *imported = ibv_import_pd(pd->context, 5);
	struct ibv_pd parent = *imported;
	struct ibv_mr *mr;

	(void)state;
	errno = 0;
	assert_null(ibv_reg_mr(&parent, file, SIZE, RW));
	assert_int_equal(errno, EOPNOTSUPP);
	assert_non_null(strstr(daxmr_errormsg(), "ibv_import_pd"));
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 0);
	ibv_unimport_pd(imported);
	mr = ibv_reg_mr(&parent, file, SIZE, RW);
	assert_non_null(mr);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void assert_stays(int result, struct ibv_mr *mr)
{
	assert_int_equal(result, IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_non_null(strstr(daxmr_errormsg(), "ibv_import_pd"));
	assert_ptr_equal(mr->pd, pd);
	assert_ptr_equal(mr->addr, file);
	assert_int_equal(calls(STANDIN_REG_MR_IOVA2), 1);
	assert_int_equal(calls(STANDIN_DEREG_MR), 0);
}

/* Where it would be left when that goes, which cannot fail. */
static void pd__no_region_is_moved_to_it(void **state)
{
	struct ibv_pd *imported = ibv_import_pd(pd->context, 5);
	struct ibv_mr *mr = ibv_reg_mr(pd, file, SIZE, RW);
	static char memory[4096];

	(void)state;
	assert_non_null(mr);
	assert_stays(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, imported, NULL, 0, 0),
		mr);
	assert_stays(ibv_rereg_mr(mr,
				  IBV_REREG_MR_CHANGE_PD |
					  IBV_REREG_MR_CHANGE_TRANSLATION,
				  imported, memory, sizeof(memory), 0),
		     mr);
	ibv_unimport_pd(imported);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void pd__other_memory_is_registered_in_it(void **state)
{
	struct ibv_pd *imported = ibv_import_pd(pd->context, 5);
	static char memory[4096];
	struct ibv_mr *mr;

	(void)state;
	mr = ibv_reg_mr(imported, memory, sizeof(memory), RW);
	assert_non_null(mr);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	ibv_unimport_pd(imported);
}

/* Each lies where the imported one was. */
static void pd__that_is_gone_is_forgotten(void **state)
{
	struct ibv_pd *imported = ibv_import_pd(pd->context, 5);
	struct ibv_mr *mr;

	(void)state;
	ibv_unimport_pd(imported);
	assert_int_equal(imported->handle, UINT32_MAX);
	imported->handle = 6;
	mr = ibv_reg_mr(imported, file, SIZE, RW);
	assert_non_null(mr);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	imported = ibv_import_pd(pd->context, 5);
	assert_int_equal(ibv_dealloc_pd(imported), 0);
	mr = ibv_reg_mr(imported, file, SIZE, RW);
	assert_non_null(mr);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

/* Of a region of ours, by its handle. */
static void mr__is_nobodys_of_ours(void **state)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, file, SIZE, RW), *imported;
	unsigned int before = calls(STANDIN_DEREG_MR);

	(void)state;
	assert_non_null(mr);
	imported = ibv_import_mr(pd, mr->handle);
	assert_non_null(imported);
	ibv_unimport_mr(imported);
	assert_int_equal(calls(STANDIN_DEREG_MR), before);
	imported = ibv_import_mr(pd, mr->handle);
	assert_non_null(imported);
	assert_int_equal(ibv_dereg_mr(imported), 0);
	assert_int_equal(calls(STANDIN_DEREG_MR), before + 1);
	/* which is still there */
	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(calls(STANDIN_DEREG_MR), before + 2);
}

int main(void)
{
#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_FILE(pd__no_region_is_pinned_in_it),
		WITH_FILE(pd__none_is_pinned_in_a_parent_domain_of_it),
		WITH_FILE(pd__no_region_is_moved_to_it),
		WITH_FILE(pd__other_memory_is_registered_in_it),
		WITH_FILE(pd__that_is_gone_is_forgotten),
		WITH_FILE(mr__is_nobodys_of_ours),
	};

	device = standin_control();
	pd = standin_pd();
	pd->context->ops.post_send = post_send;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
