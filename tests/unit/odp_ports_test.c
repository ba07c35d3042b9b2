/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which port and address the trust test takes, and which driver is trusted
 * without a verdict.
 */
#include <string.h>

#include "odp_fake_sysfs.h"
#include "odp_fake_verbs.h"
#include "trust.h"
#include "unit.h"

static int setup(void **state)
{
	int err = sysfs_setup(state);

	fake_reset();
	strcpy(fake.device.name, sysfs_device());
	return err;
}

static struct odp_trust tested(void)
{
	struct odp_trust trust;

	odp_trust_test(&fake_verbs, &fake.device, &trust);
	assert_int_equal(fake.live, 0);
	return trust;
}

static void port__ipv4_address_is_taken_first(void **state)
{
	(void)state;
	assert_int_equal(tested().verdict, ODP_RIGHT);
	assert_int_equal(fake.used_gid, 1);
}

static void port__roce_v2_goes_before_v1(void **state)
{
	const union ibv_gid ipv4 = fake.gid[1];

	(void)state;
	fake.gid[2] = ipv4;
	sysfs_put("@/ports/1/gid_attrs/types/0", "RoCE v2\n");
	sysfs_put("@/ports/1/gid_attrs/types/1", "IB/RoCE v1\n");
	sysfs_put("@/ports/1/gid_attrs/types/2", "RoCE v2\n");
	assert_int_equal(tested().verdict, ODP_RIGHT);
	assert_int_equal(fake.used_gid, 2);
}

static void port__address_that_leads_nowhere_is_passed_over(void **state)
{
	(void)state;
	fake.working_gid = 0; /* the link-local one, which is tried last */
	assert_int_equal(tested().verdict, ODP_RIGHT);
	assert_int_equal(fake.used_gid, 0);
}

static void port__more_addresses_than_tried_keeps_the_best(void **state)
{
	const union ibv_gid ipv4 = fake.gid[1];

	(void)state;
	fake.gid[1] = fake.gid[2] = fake.gid[0];
	fake.gid[3] = ipv4;
	assert_int_equal(tested().verdict, ODP_RIGHT);
	assert_int_equal(fake.used_gid, 3);
}

static void port__down_is_no_verdict(void **state)
{
	struct odp_trust trust;

	(void)state;
	fake.port.state = IBV_PORT_DOWN;
	trust = tested();
	assert_int_equal(trust.verdict, ODP_NO_VERDICT);
	assert_int_equal(trust.port, 0);
	assert_non_null(strstr(trust.seen, "no port is active"));
}

static void port__without_a_gid_is_no_verdict(void **state)
{
	(void)state;
	memset(fake.gid, 0, sizeof(fake.gid));
	assert_int_equal(tested().verdict, ODP_NO_VERDICT);
}

static void port__infiniband_needs_no_gid(void **state)
{
	(void)state;
	memset(fake.gid, 0, sizeof(fake.gid));
	fake.port.link_layer = IBV_LINK_LAYER_INFINIBAND;
	fake.port.lid = 7;
	assert_int_equal(tested().verdict, ODP_RIGHT);
	fake.port.flags = IBV_QPF_GRH_REQUIRED;
	assert_int_equal(tested().verdict, ODP_NO_VERDICT);
}

static bool open_verdict_is_trusted(void)
{
	const struct odp_trust open = {.verdict = ODP_NO_VERDICT};
	const struct odp_trust wrong = {.verdict = ODP_WRONG};

	assert_false(odp_trust_ok(&wrong, &fake.device));
	assert_int_equal(odp_trust_ok(&open, &fake.device),
			 odp_trust_iova_ok(&open, &fake.device));
	return odp_trust_ok(&open, &fake.device);
}

static void driver__only_mlx5_is_trusted_without_a_verdict(void **state)
{
	(void)state;
	assert_false(open_verdict_is_trusted());
	sysfs_link("@/device/driver", "../../../bus/pci/drivers/mlx5_core");
	assert_false(open_verdict_is_trusted());
	sysfs_put("@/hca_type", "MT4119\n");
	assert_true(open_verdict_is_trusted());
	sysfs_remove("@/device/driver");
	sysfs_link("@/device/driver", "../../../bus/pci/drivers/mlx5_core_not");
	assert_false(open_verdict_is_trusted());
}

static void driver__soft_device_on_mlx5_is_not_trusted(void **state)
{
	(void)state;
	sysfs_link("@/device/driver", "../../../bus/pci/drivers/mlx5_core");
	sysfs_put("@/hca_type", "MT4119\n");
	sysfs_put("@/parent", "eth0\n");
	assert_false(open_verdict_is_trusted());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, sysfs_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(port__ipv4_address_is_taken_first),
		TEST(port__roce_v2_goes_before_v1),
		TEST(port__address_that_leads_nowhere_is_passed_over),
		TEST(port__more_addresses_than_tried_keeps_the_best),
		TEST(port__down_is_no_verdict),
		TEST(port__without_a_gid_is_no_verdict),
		TEST(port__infiniband_needs_no_gid),
		TEST(driver__only_mlx5_is_trusted_without_a_verdict),
		TEST(driver__soft_device_on_mlx5_is_not_trusted),
	};

	return cmocka_run_group_tests_name("odp ports", tests, NULL, NULL);
}
