/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "config.h"
#include "unit.h"

static void prefetch__sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"on", UINT64_MAX}, {"off", 0},
		{"0", 0},	    {"4096", 4096},
		{"64M", 64 << 20},  {"1g", 1 << 30},
		{"8KiB", 8192},	    {"16777215T", 16777215ULL << 40},
	};
	uint64_t bytes;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		bytes = 1;
		assert_int_equal(config_parse_prefetch(good[i].text, &bytes),
				 0);
		assert_true(bytes == good[i].bytes);
	}
}

static void prefetch__nonsense_is_refused_and_leaves_the_value(void **state)
{
	static const char *const bad[] = {"",
					  "yes",
					  "-1",
					  "64X",
					  "M",
					  "1MM",
					  "1 M",
					  "16777216T",
					  "0x10",
					  "ON",
					  "99999999999999999999",
					  "1Kib "};
	uint64_t bytes = 7;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(config_parse_prefetch(bad[i], &bytes),
				 -EINVAL);
	assert_true(bytes == 7);
}

static void stage_max__is_a_size_or_auto(void **state)
{
	uint64_t bytes = 7;

	(void)state;
	assert_int_equal(config_parse_stage_max("on", &bytes), -EINVAL);
	assert_int_equal(config_parse_stage_max("off", &bytes), -EINVAL);
	assert_true(bytes == 7);
	assert_int_equal(config_parse_stage_max("8G", &bytes), 0);
	assert_true(bytes == 8ULL << 30);
	assert_int_equal(config_parse_stage_max("auto", &bytes), 0);
	assert_true(bytes == CONFIG_STAGE_MAX_AUTO);
}

static void strategy__every_wish_has_its_name(void **state)
{
	enum strategy strategy = STRATEGY_AUTO;
	int i;

	(void)state;
	for (i = 0; i < STRATEGIES; i++) {
		if (i == STRATEGY_REFUSED)
			continue;
		assert_int_equal(
			config_parse_strategy(strategy_name((enum strategy)i),
					      &strategy),
			0);
		assert_int_equal(strategy, i);
	}
}

static void strategy__an_outcome_is_no_wish(void **state)
{
	enum strategy strategy = STRATEGY_ODP;

	(void)state;
	assert_int_equal(config_parse_strategy("refused", &strategy), -EINVAL);
	assert_int_equal(config_parse_strategy("", &strategy), -EINVAL);
	assert_int_equal(config_parse_strategy("ODP", &strategy), -EINVAL);
	assert_int_equal(strategy, STRATEGY_ODP);
}

static void log__levels_are_read(void **state)
{
	enum log_level level = LOG_OFF;

	(void)state;
	assert_int_equal(config_parse_log("debug", &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(config_parse_log("loud", &level), -EINVAL);
	assert_int_equal(level, LOG_DEBUG);
}

static void keeper__is_a_path_of_a_socket(void **state)
{
	const char *keeper = "as before";
	char path[200];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[108] = '\0';
	assert_int_equal(config_parse_keeper("", &keeper), -EINVAL);
	assert_int_equal(config_parse_keeper("run/keeper", &keeper), -EINVAL);
	assert_int_equal(config_parse_keeper(path, &keeper), -EINVAL);
	assert_string_equal(keeper, "as before");
	path[107] = '\0';
	assert_int_equal(config_parse_keeper(path, &keeper), 0);
	assert_string_equal(keeper, path);
}

static void flush__numbers_within_bounds(void **state)
{
	static const char *const bad[] = {"",	 "-1", "1s",	 " 1",
					  "0x1", "on", "3600001"};
	uint32_t number = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(config_parse_flush_ms(bad[i], &number),
				 -EINVAL);
		assert_int_equal(config_parse_flush_cpu(bad[i], &number),
				 -EINVAL);
	}
	assert_int_equal(config_parse_flush_cpu("0", &number), -EINVAL);
	assert_int_equal(config_parse_quiesce_ms("0", &number), -EINVAL);
	assert_int_equal(config_parse_quiesce_ms("30001", &number), -EINVAL);
	assert_int_equal(config_parse_flush_cpu("101", &number), -EINVAL);
	assert_int_equal(number, 7);
	assert_int_equal(config_parse_flush_cpu("100", &number), 0);
	assert_int_equal(number, 100);
	assert_int_equal(config_parse_quiesce_ms("250", &number), 0);
	assert_int_equal(number, 250);
	assert_int_equal(config_parse_flush_ms("0", &number), 0);
	assert_int_equal(number, 0);
	assert_int_equal(config_parse_flush_ms("3600000", &number), 0);
	assert_int_equal(number, 3600000);
}

static void policies__have_their_names(void **state)
{
	enum on_conflict on_conflict = ON_CONFLICT_THEIRS;
	enum on_shrink on_shrink = ON_SHRINK_DISCARD;
	enum uffd uffd = UFFD_USER;
	enum keys keys = KEYS_WINDOW;

	(void)state;
	assert_int_equal(config_parse_keys("stay", &keys), -EINVAL);
	assert_int_equal(keys, KEYS_WINDOW);
	assert_int_equal(config_parse_keys("change", &keys), 0);
	assert_int_equal(keys, KEYS_CHANGE);
	assert_int_equal(config_parse_keys("window", &keys), 0);
	assert_int_equal(keys, KEYS_WINDOW);
	assert_int_equal(config_parse_on_conflict("extend", &on_conflict),
			 -EINVAL);
	assert_int_equal(config_parse_on_shrink("Extend", &on_shrink), -EINVAL);
	assert_int_equal(on_conflict, ON_CONFLICT_THEIRS);
	assert_int_equal(on_shrink, ON_SHRINK_DISCARD);
	assert_int_equal(config_parse_on_conflict("ours", &on_conflict), 0);
	assert_int_equal(on_conflict, ON_CONFLICT_OURS);
	assert_int_equal(config_parse_on_conflict("theirs", &on_conflict), 0);
	assert_int_equal(on_conflict, ON_CONFLICT_THEIRS);
	assert_int_equal(config_parse_on_conflict("error", &on_conflict), 0);
	assert_int_equal(on_conflict, ON_CONFLICT_ERROR);
	assert_int_equal(config_parse_on_shrink("extend", &on_shrink), 0);
	assert_int_equal(on_shrink, ON_SHRINK_EXTEND);
	assert_int_equal(config_parse_on_shrink("discard", &on_shrink), 0);
	assert_int_equal(on_shrink, ON_SHRINK_DISCARD);
	assert_int_equal(config_parse_on_shrink("error", &on_shrink), 0);
	assert_int_equal(on_shrink, ON_SHRINK_ERROR);
	assert_int_equal(config_parse_uffd("kernel", &uffd), -EINVAL);
	assert_int_equal(uffd, UFFD_USER);
	assert_int_equal(config_parse_uffd("full", &uffd), 0);
	assert_int_equal(uffd, UFFD_FULL);
	assert_int_equal(config_parse_uffd("user", &uffd), 0);
	assert_int_equal(uffd, UFFD_USER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefetch__sizes_are_read),
		cmocka_unit_test(
			prefetch__nonsense_is_refused_and_leaves_the_value),
		cmocka_unit_test(stage_max__is_a_size_or_auto),
		cmocka_unit_test(strategy__every_wish_has_its_name),
		cmocka_unit_test(strategy__an_outcome_is_no_wish),
		cmocka_unit_test(flush__numbers_within_bounds),
		cmocka_unit_test(policies__have_their_names),
		cmocka_unit_test(log__levels_are_read),
		cmocka_unit_test(keeper__is_a_path_of_a_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
