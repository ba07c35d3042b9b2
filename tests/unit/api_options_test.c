/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structures that grow: programs of an older and of a newer header, and what
 * makes no sense. The memory is ordinary, the device the stand-in.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../preload/standin.h"
#include "daxmr.h"
#include "unit.h"

#define LENGTH 4096UL

static char *memory;

/* As a header of some years later would have it. */
struct newer_options {
	struct daxmr_options now;
	uint64_t wish;
};

static int reg(const struct daxmr_options *options, struct daxmr_region **ret)
{
	return daxmr_reg_mr(standin_pd(), memory, LENGTH,
			    IBV_ACCESS_LOCAL_WRITE, options, ret);
}

static void check_taken(const struct daxmr_options *options)
{
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_region *region = NULL;

	assert_int_equal(reg(options, &region), 0);
	assert_int_equal(daxmr_region_info(region, &info), 0);
	assert_int_equal(info.strategy, DAXMR_STRATEGY_PASSTHROUGH);
	assert_int_equal(info.state, DAXMR_STATE_NONE);
	assert_ptr_equal(info.addr, memory);
	assert_int_equal(info.length, LENGTH);
	assert_non_null(info.mr);
	assert_int_equal(info.rkey, info.mr->rkey);
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

static void check_refused(const struct daxmr_options *options,
			  const char *sentence)
{
	struct daxmr_region *region = (void *)&region;

	errno = EXDEV;
	assert_int_equal(reg(options, &region), -EINVAL);
	assert_int_equal(errno, EXDEV);
	assert_ptr_equal(region, (void *)&region);
	if (!strstr(daxmr_errormsg(), sentence))
		fail_msg("'%s' is not in '%s'", sentence, daxmr_errormsg());
}

static void options__none_and_all_default(void **state)
{
	const struct daxmr_options options = {.size = sizeof(options)};

	(void)state;
	check_taken(NULL);
	check_taken(&options);
}

/* The least and the most of each are taken. */
static void options__at_their_ends(void **state)
{
	static const uint64_t prefetches[] = {1, DAXMR_PREFETCH_OFF,
					      DAXMR_PREFETCH_ON};
	struct daxmr_options options = {.size = sizeof(options)};

	(void)state;
	for (size_t i = 0; i < sizeof(prefetches) / sizeof(*prefetches); i++) {
		options.prefetch = prefetches[i];
		check_taken(&options);
	}
	options.flush_cpu = 1;
	check_taken(&options);
	options.flush_cpu = 100;
	check_taken(&options);
	options.flush_ms = 3600000;
	check_taken(&options);
	options.quiesce_ms = 60000;
	check_taken(&options);
}

static void options__of_an_older_header(void **state)
{
	/* It had no more than the name. */
	struct daxmr_options options = {
		.size = offsetof(struct daxmr_options, channel),
		.name = "old",
		.strategy = (enum daxmr_strategy)99, /* somebody else's */
	};

	(void)state;
	check_taken(&options);
}

static void options__of_a_newer_header(void **state)
{
	struct newer_options options = {.now.size = sizeof(options)};

	(void)state;
	check_taken(&options.now);
	options.wish = 1ULL << 63;
	check_refused(&options.now, "too old for");
}

static void options__that_make_no_sense(void **state)
{
	static const struct {
		struct daxmr_options options;
		const char *sentence;
	} cases[] = {
		{{.strategy = (enum daxmr_strategy)6}, "strategy"},
		{{.on_recall = (enum daxmr_on_recall)4}, "on_recall"},
		{{.on_recall = DAXMR_ON_RECALL_ASK}, "channel"},
		{{.on_conflict = (enum daxmr_on_conflict)4}, "on_conflict"},
		{{.on_shrink = (enum daxmr_on_shrink)4}, "on_shrink"},
		{{.flush_ms = 3600001}, "flush_ms"},
		{{.flush_cpu = 101}, "flush_cpu"},
		{{.quiesce_ms = 60001}, "quiesce_ms"},
		{{.keys = (enum daxmr_keys)3}, "keys"},
		{{.name = "1234567890123456789012345678901234567890123456789012"
			  "345678901234"},
		 "name"},
	};
	struct daxmr_options options = {.size = 7};

	(void)state;
	check_refused(&options, "size");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		options = cases[i].options;
		options.size = sizeof(options);
		check_refused(&options, cases[i].sentence);
	}
}

static void info__of_an_older_and_a_newer_header(void **state)
{
	struct {
		struct daxmr_info now;
		uint64_t more;
	} newer = {.now.size = sizeof(newer), .more = 7};
	struct daxmr_info older = {
		.size = offsetof(struct daxmr_info, mr),
		.rkey = 7,
	};
	struct daxmr_stats stats = {.size = 1};
	struct daxmr_region *region = NULL;

	(void)state;
	assert_int_equal(reg(NULL, &region), 0);
	assert_int_equal(daxmr_region_info(region, &newer.now), 0);
	assert_int_equal(newer.now.size, sizeof(newer));
	assert_int_equal(newer.more, 0);
	assert_int_equal(daxmr_region_info(region, &older), 0);
	assert_int_equal(older.length, LENGTH);
	assert_int_equal(older.rkey, 7);
	assert_string_equal(older.name, "");
	assert_int_equal(daxmr_region_stats(region, &stats), -EINVAL);
	assert_non_null(strstr(daxmr_errormsg(), "size"));
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

static void flush__of_ordinary_memory_is_refused(void **state)
{
	struct daxmr_region *region = NULL;

	(void)state;
	assert_int_equal(reg(NULL, &region), 0);
	assert_int_equal(daxmr_flush(region, 0, LENGTH, 0), -EOPNOTSUPP);
	assert_non_null(strstr(daxmr_errormsg(), "passthrough"));
	assert_int_equal(daxmr_flush(region, 1, LENGTH, 0), -EINVAL);
	assert_int_equal(daxmr_flush(region, 0, LENGTH, 2), -EINVAL);
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

static void verbs__that_fail_have_their_errno(void **state)
{
	struct daxmr_region *region = NULL;

	(void)state;
	standin_control()->refuse_all = ENOMEM;
	assert_int_equal(reg(NULL, &region), -ENOMEM);
	assert_null(region);
	assert_true(strlen(daxmr_errormsg()) > 0);
	standin_control()->refuse_all = 0;
	assert_int_equal(reg(NULL, &region), 0);

	standin_control()->refuse_dereg = EBUSY;
	assert_int_equal(daxmr_dereg_mr(region), -EBUSY);
	assert_true(strlen(daxmr_errormsg()) > 0);
	standin_control()->refuse_dereg = 0;
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

/*
 * What programs have been built with: nothing may move, what is new comes at
 * the end.
 */
#define AT(type, field, offset)                                                \
	_Static_assert(offsetof(struct type, field) == (offset),               \
		       #type "." #field " has moved")
AT(daxmr_options, name, 8);
AT(daxmr_options, channel, 16);
AT(daxmr_options, data, 24);
AT(daxmr_options, strategy, 32);
AT(daxmr_options, on_recall, 36);
AT(daxmr_options, on_conflict, 40);
AT(daxmr_options, on_shrink, 44);
AT(daxmr_options, flush_ms, 48);
AT(daxmr_options, flush_cpu, 52);
AT(daxmr_options, quiesce_ms, 56);
AT(daxmr_options, keys, 60);
AT(daxmr_options, prefetch, 64);
AT(daxmr_options, stage_max, 72);
AT(daxmr_info, name, 8);
AT(daxmr_info, addr, 16);
AT(daxmr_info, length, 24);
AT(daxmr_info, mr, 32);
AT(daxmr_info, lkey, 40);
AT(daxmr_info, rkey, 44);
AT(daxmr_info, strategy, 48);
AT(daxmr_info, state, 52);
AT(daxmr_stats, recalls, 8);
AT(daxmr_stats, yielded_ns, 104);
AT(daxmr_event, kind, 0);
AT(daxmr_event, who, 4);
AT(daxmr_event, region, 8);
AT(daxmr_event, data, 16);
AT(daxmr_event, count, 24);
AT(daxmr_event, blocks, 32);
AT(daxmr_event, at_ns, 40);
AT(daxmr_event, deadline_ns, 48);
AT(daxmr_event, error, 56);
_Static_assert(DAXMR_EVENT_SEVERED == 13 && DAXMR_STATE_LOST == 5 &&
		       DAXMR_STRATEGY_PINNED == 5,
	       "a value has changed");

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options__none_and_all_default),
		cmocka_unit_test(options__at_their_ends),
		cmocka_unit_test(options__of_an_older_header),
		cmocka_unit_test(options__of_a_newer_header),
		cmocka_unit_test(options__that_make_no_sense),
		cmocka_unit_test(info__of_an_older_and_a_newer_header),
		cmocka_unit_test(flush__of_ordinary_memory_is_refused),
		cmocka_unit_test(verbs__that_fail_have_their_errno),
	};

	memory = aligned_alloc(LENGTH, LENGTH);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
