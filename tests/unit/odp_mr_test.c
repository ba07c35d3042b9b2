/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "odp_fake_verbs.h"
#include "odp_mr.h"
#include "unit.h"

#define GIB ((uint64_t)1 << 30)

static char memory[4096];
static struct ibv_pd pd;
static struct ibv_mr mr;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	mr = (struct ibv_mr){.pd = &pd, .length = 4096, .lkey = 77};
	return 0;
}

static void register__keeps_all_flags_and_adds_on_demand(void **state)
{
	const unsigned int access = IBV_ACCESS_LOCAL_WRITE |
				    IBV_ACCESS_REMOTE_READ |
				    IBV_ACCESS_RELAXED_ORDERING | 1u << 9;
	struct ibv_mr *made;

	(void)state;
	made = odp_mr_register(&fake_verbs, &pd, memory, 100, 0xabc0000,
			       access);
	assert_non_null(made);
	assert_int_equal(fake.access, access | IBV_ACCESS_ON_DEMAND);
	assert_int_equal(fake.iova, 0xabc0000);
	assert_ptr_equal(made->addr, memory);
	assert_int_equal(made->length, 100);
	fake_verbs.dereg_mr(made);
}

static void register__failure_has_the_kernels_errno(void **state)
{
	(void)state;
	fake.fail_at = 1;
	errno = 0;
	assert_null(odp_mr_register(&fake_verbs, &pd, memory, 100, 0, 0));
	assert_int_equal(errno, ENOMEM);
}

static void prefetch__whole_mr_waits_and_never_asks_for_writing(void **state)
{
	(void)state;
	errno = 4242;
	assert_int_equal(
		odp_mr_prefetch(&fake_verbs, &mr, 0x7000, ODP_PREFETCH_ALL), 0);
	assert_int_equal(fake.advises, 1);
	assert_int_equal(fake.advised[0].addr, 0x7000);
	assert_int_equal(fake.advised[0].length, 4096);
	assert_int_equal(fake.advised[0].lkey, 77);
	assert_int_equal(fake.advice, IBV_ADVISE_MR_ADVICE_PREFETCH);
	assert_int_equal(fake.advise_flags, IBV_ADVISE_MR_FLAG_FLUSH);
	assert_int_equal(errno, 4242);
}

static void register__old_library_is_eopnotsupp(void **state)
{
	struct verbs_table old = fake_verbs;

	(void)state;
	old.reg_mr_iova2 = NULL;
	errno = 0;
	assert_null(odp_mr_register(&old, &pd, memory, 100, 0, 0));
	assert_int_equal(errno, EOPNOTSUPP);
}

static void prefetch__part_of_a_read_only_mr(void **state)
{
	(void)state;
	assert_int_equal(odp_mr_prefetch(&fake_verbs, &mr, 0, 100), 0);
	assert_int_equal(fake.advice, IBV_ADVISE_MR_ADVICE_PREFETCH);
	assert_int_equal(fake.advised[0].length, 100);
}

static void prefetch__nothing_asks_nothing(void **state)
{
	(void)state;
	assert_int_equal(odp_mr_prefetch(&fake_verbs, &mr, 0, 0), 0);
	assert_int_equal(fake.advises, 0);
}

static void prefetch__big_mr_goes_in_pieces_that_fit(void **state)
{
	uint64_t at = 0x1000;

	(void)state;
	mr.length = 5 * GIB + 12345;
	assert_int_equal(
		odp_mr_prefetch(&fake_verbs, &mr, at, ODP_PREFETCH_ALL), 0);
	assert_int_equal(fake.advises, 6);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(fake.advised[i].addr, at);
		assert_int_equal(fake.advised[i].length, i < 5 ? GIB : 12345);
		at += fake.advised[i].length;
	}
}

static void prefetch__eagain_is_tried_again(void **state)
{
	(void)state;
	fake.advise_error = EAGAIN;
	fake.advise_errors = 5;
	assert_int_equal(odp_mr_prefetch(&fake_verbs, &mr, 0, 4096), 0);
	assert_int_equal(fake.advises, 6);
}

static void prefetch__eagain_for_ever_ends(void **state)
{
	(void)state;
	fake.advise_error = EAGAIN;
	fake.advise_errors = -1;
	assert_int_equal(odp_mr_prefetch(&fake_verbs, &mr, 0, 4096), -EAGAIN);
	assert_in_range(fake.advises, 2, 10000);
}

static void prefetch__other_errors_come_back_at_once(void **state)
{
	static const int errors[] = {EOPNOTSUPP, EINVAL, EPERM, EFAULT};

	(void)state;
	mr.length = 3 * GIB;
	fake.advise_errors = -1;
	for (int i = 0; i < 4; i++) {
		fake.advises = 0;
		fake.advise_error = errors[i];
		assert_int_equal(
			odp_mr_prefetch(&fake_verbs, &mr, 0, ODP_PREFETCH_ALL),
			-errors[i]);
		assert_int_equal(fake.advises, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			register__keeps_all_flags_and_adds_on_demand, setup),
		cmocka_unit_test_setup(register__failure_has_the_kernels_errno,
				       setup),
		cmocka_unit_test_setup(
			prefetch__whole_mr_waits_and_never_asks_for_writing,
			setup),
		cmocka_unit_test_setup(register__old_library_is_eopnotsupp,
				       setup),
		cmocka_unit_test_setup(prefetch__part_of_a_read_only_mr, setup),
		cmocka_unit_test_setup(prefetch__nothing_asks_nothing, setup),
		cmocka_unit_test_setup(prefetch__big_mr_goes_in_pieces_that_fit,
				       setup),
		cmocka_unit_test_setup(prefetch__eagain_is_tried_again, setup),
		cmocka_unit_test_setup(prefetch__eagain_for_ever_ends, setup),
		cmocka_unit_test_setup(prefetch__other_errors_come_back_at_once,
				       setup),
	};

	return cmocka_run_group_tests_name("odp mr", tests, NULL, NULL);
}
