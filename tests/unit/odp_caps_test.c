/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "caps.h"
#include "odp_fake_verbs.h"
#include "unit.h"

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return 0;
}

static void query__odp_device_says_what_it_can(void **state)
{
	struct odp_caps caps;

	(void)state;
	fake.attr.odp_caps.per_transport_caps.uc_odp_caps = 0x1;
	fake.attr.xrc_odp_caps = 0x3;
	assert_int_equal(odp_caps_query(&fake_verbs, NULL, &caps), 0);
	assert_true(caps.has_odp);
	assert_false(caps.has_implicit);
	assert_int_equal(caps.rc, 0x3f);
	assert_int_equal(caps.uc, 0x1);
	assert_int_equal(caps.ud, 0x23);
	assert_int_equal(caps.xrc, 0x3);

	fake.attr.odp_caps.general_caps |= IBV_ODP_SUPPORT_IMPLICIT;
	assert_int_equal(odp_caps_query(&fake_verbs, NULL, &caps), 0);
	assert_true(caps.has_implicit);
}

static void query__no_odp_claims_nothing(void **state)
{
	static const int answers[] = {0, EOPNOTSUPP, ENOSYS, EINVAL};
	const struct odp_caps none = {0};

	(void)state;
	fake.attr.odp_caps.general_caps = 0; /* with operations all the same */
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct odp_caps caps;

		memset(&caps, 0xff, sizeof(caps));
		fake.query_error = answers[i];
		assert_int_equal(odp_caps_query(&fake_verbs, NULL, &caps), 0);
		assert_false(caps.has_odp);
		assert_int_equal(caps.rc, none.rc);
		assert_int_equal(caps.ud, none.ud);
	}
}

static void query__no_answer_is_an_error_and_leaves_the_caps(void **state)
{
	struct odp_caps caps = {.rc = 42};

	(void)state;
	fake.query_error = EIO;
	assert_int_equal(odp_caps_query(&fake_verbs, NULL, &caps), -EIO);
	assert_int_equal(caps.rc, 42);
}

static void missing__each_access_flag_needs_its_operation(void **state)
{
	static const struct {
		unsigned int access;
		uint32_t missing;
	} rows[] = {
		{0, IBV_ODP_SUPPORT_SEND},
		{IBV_ACCESS_LOCAL_WRITE,
		 IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV},
		{IBV_ACCESS_REMOTE_READ,
		 IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_READ},
		{IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
		 IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
			 IBV_ODP_SUPPORT_WRITE},
		{IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
		 IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
			 IBV_ODP_SUPPORT_ATOMIC},
		{IBV_ACCESS_MW_BIND | IBV_ACCESS_ZERO_BASED |
			 IBV_ACCESS_RELAXED_ORDERING,
		 IBV_ODP_SUPPORT_SEND},
	};
	const struct odp_caps none = {.has_odp = true};
	const struct odp_caps all = {.has_odp = true, .rc = 0x3f};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(odp_caps_missing(&none, rows[i].access),
				 rows[i].missing);
		assert_int_equal(odp_caps_missing(&all, rows[i].access), 0);
	}
}

static void names__every_bit_has_one(void **state)
{
	char text[128];

	(void)state;
	assert_string_equal(odp_caps_names(0, text, sizeof(text)), "none");
	assert_string_equal(odp_caps_names(0xff, text, sizeof(text)),
			    "send recv write read atomic srq-recv flush "
			    "atomic-write");
	assert_string_equal(odp_caps_names(0x5, text, sizeof(text)),
			    "send write");
	assert_string_equal(odp_caps_names(0x301, text, sizeof(text)),
			    "send 0x300");
}

static void names__too_small_is_cut_at_a_word(void **state)
{
	char text[16];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_string_equal(odp_caps_names(0x3f, text, 12), "send recv");
	assert_int_equal(text[12], 'x');
	assert_string_equal(odp_caps_names(0x100, text, 4), "");
	text[0] = 'y';
	assert_ptr_equal(odp_caps_names(0x3f, text, 0), text);
	assert_int_equal(text[0], 'y');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(query__odp_device_says_what_it_can,
				       setup),
		cmocka_unit_test_setup(query__no_odp_claims_nothing, setup),
		cmocka_unit_test_setup(
			query__no_answer_is_an_error_and_leaves_the_caps,
			setup),
		cmocka_unit_test(missing__each_access_flag_needs_its_operation),
		cmocka_unit_test(names__every_bit_has_one),
		cmocka_unit_test(names__too_small_is_cut_at_a_word),
	};

	return cmocka_run_group_tests_name("odp caps", tests, NULL, NULL);
}
