/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The choice, row by row of the table in design and route.h.
 */
#include <errno.h>
#include <string.h>

#include "refusal.h"
#include "route.h"
#include "unit.h"

#define RW                                                                     \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |                    \
	 IBV_ACCESS_REMOTE_READ)

static const struct odp_caps no_odp;
static const struct odp_caps good_odp = {
	.has_odp = true,
	.rc = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
	      IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ |
	      IBV_ODP_SUPPORT_ATOMIC,
};
static const struct odp_caps no_write = {
	.has_odp = true,
	.rc = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
	      IBV_ODP_SUPPORT_READ,
};

static struct memory memory_of(unsigned int kinds, enum memory_kind file)
{
	struct memory memory = {
		.start = 0x10000,
		.end = 0x20000,
		.kinds = kinds,
		.mappings = 1,
		.file = {.kind = file, .fs = "xfs", .name = "/mnt/pmem/f"},
	};

	return memory;
}

static struct memory fsdax(void)
{
	return memory_of(MEMORY_BIT(MEMORY_FSDAX), MEMORY_FSDAX);
}

static struct route_question ask(const struct memory *memory)
{
	struct route_question question = {
		.memory = memory,
		.device = "mlx5_0",
		.caps = &good_odp,
		.trust = ROUTE_TRUST_YES,
		.trust_seen = "all was right",
		.access = RW,
		.kernel = ROUTE_KERNEL_NOT_ASKED,
		.wish = STRATEGY_AUTO,
	};

	return question;
}

static unsigned int refusal; /* of the last that was checked */

static void check(const struct route_question *question, enum strategy strategy,
		  int error, const char *in_why)
{
	struct route route;

	memset(&route, 0xff, sizeof(route));
	route_choose(question, &route);
	assert_int_equal(route.needs, ROUTE_NEEDS_NOTHING);
	assert_int_equal(route.strategy, strategy);
	assert_int_equal(route.error, error);
	if (!strstr(route.why, in_why))
		fail_msg("'%s' is not in: %s", in_why, route.why);
	assert_null(strchr(route.why, '\n'));
	refusal = route.refusal;
	if (strategy == STRATEGY_REFUSED)
		assert_int_not_equal(refusal, REASON_OTHER);
}

static void ordinary_memory__is_passed_through(void **state)
{
	static const enum memory_kind kinds[] = {
		MEMORY_UNMAPPED, MEMORY_ANONYMOUS, MEMORY_MEMFD,  MEMORY_TMPFS,
		MEMORY_HUGETLB,	 MEMORY_DEVDAX,	   MEMORY_DEVICE,
	};
	struct memory memory;
	struct route_question question;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		memory = memory_of(MEMORY_BIT(kinds[i]), MEMORY_UNMAPPED);
		question = ask(&memory);
		question.caps = NULL; /* must not be needed */
		check(&question, STRATEGY_PASSTHROUGH, 0,
		      memory_kind_name(kinds[i]));
		question.wish = STRATEGY_ODP;
		check(&question, STRATEGY_PASSTHROUGH, 0, "nothing to do");
		question.access |= IBV_ACCESS_ON_DEMAND;
		check(&question, STRATEGY_PASSTHROUGH, 0, "nothing to do");
	}
}

static void fsdax__asks_for_caps_then_trust_then_goes_odp(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);
	struct route route;

	(void)state;
	question.caps = NULL;
	question.trust = ROUTE_TRUST_UNKNOWN;
	route_choose(&question, &route);
	assert_int_equal(route.needs, ROUTE_NEEDS_CAPS);
	question.caps = &good_odp;
	route_choose(&question, &route);
	assert_int_equal(route.needs, ROUTE_NEEDS_TRUST);
	question.trust = ROUTE_TRUST_YES;
	check(&question, STRATEGY_ODP, 0, "/mnt/pmem/f (xfs)");
}

static void fsdax_private__goes_odp(void **state)
{
	struct memory memory = memory_of(MEMORY_BIT(MEMORY_FSDAX_PRIVATE),
					 MEMORY_FSDAX_PRIVATE);
	struct route_question question = ask(&memory);

	(void)state;
	check(&question, STRATEGY_ODP, 0, "private mapping");
}

static void fsdax__without_odp_is_staged_and_says_why(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.caps = &no_odp;
	question.trust = ROUTE_TRUST_UNKNOWN; /* nothing there to test */
	check(&question, STRATEGY_STAGED, 0, "mlx5_0 has no on-demand paging");
	check(&question, STRATEGY_STAGED, 0, "/mnt/pmem/f (xfs)");
	question.access |= IBV_ACCESS_ON_DEMAND;
	check(&question, STRATEGY_STAGED, 0, "no on-demand paging");
}

/* Who asks for odp gets it, or learns why not: nothing else is done instead. */
static void fsdax__odp_wished_and_not_there_is_refused(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);
	struct route route;

	(void)state;
	question.wish = STRATEGY_ODP;
	question.caps = &no_odp;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "strategy auto");
	assert_int_equal(refusal, REFUSAL_NO_ODP);
	route_choose(&question, &route);
	assert_true(route.ask_kernel);
	question.trust = ROUTE_TRUST_NO;
	question.caps = &good_odp;
	question.trust_seen = "";
	route_choose(&question, &route);
	assert_int_equal(route.refusal, REFUSAL_ODP_UNTRUSTED);
	assert_true(route.ask_kernel);
	question.access |= IBV_ACCESS_ON_DEMAND; /* would succeed */
	route_choose(&question, &route);
	assert_false(route.ask_kernel);
	question.caps = &no_odp;
	route_choose(&question, &route);
	assert_int_equal(route.strategy, STRATEGY_REFUSED);
	assert_true(route.ask_kernel);
}

static void fsdax__corrupting_odp_is_never_used(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.trust = ROUTE_TRUST_NO;
	question.trust_seen = "byte 17 is wrong";
	check(&question, STRATEGY_STAGED, 0, "byte 17 is wrong");
	question.access |= IBV_ACCESS_ON_DEMAND;
	check(&question, STRATEGY_STAGED, 0, "corrupts data");
	question.wish = STRATEGY_ODP;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "corrupts data");
	question.access = RW;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "corrupts data");
}

static void fsdax__unproven_odp_is_staged_unless_wished(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.trust = ROUTE_TRUST_UNPROVEN;
	question.trust_seen = "port 1 is down";
	check(&question, STRATEGY_STAGED, 0, "port 1 is down");
	question.wish = STRATEGY_ODP;
	check(&question, STRATEGY_ODP, 0, "untested");
}

/* A path that no longer leads to the file is no advice. */
static void fsdax__deleted_file_is_not_to_be_checked_by_name(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);
	struct route route;

	(void)state;
	question.caps = &no_odp;
	question.wish = STRATEGY_ODP;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "daxmr check");
	strcpy(memory.file.name, "/mnt/pmem/f (deleted)");
	route_choose(&question, &route);
	assert_null(strstr(route.why, "daxmr check"));
}

static void fsdax__missing_operation_is_named(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.caps = &no_write;
	check(&question, STRATEGY_STAGED, 0, "write");
	question.access = IBV_ACCESS_REMOTE_READ;
	check(&question, STRATEGY_ODP, 0, "on-demand paging, tested");
}

static void fsdax__moved_iova_needs_a_device_that_can(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.moved_iova = true;
	check(&question, STRATEGY_STAGED, 0, "iova");
	question.trust_moved_iova = true;
	check(&question, STRATEGY_ODP, 0, "tested");
	question.moved_iova = false;
	question.trust_moved_iova = false;
	check(&question, STRATEGY_ODP, 0, "tested");
	question.access |= IBV_ACCESS_ZERO_BASED;
	check(&question, STRATEGY_STAGED, 0, "ZERO_BASED");
}

static void fsdax__staged_is_wished_and_needs_no_device(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.wish = STRATEGY_STAGED;
	question.caps = NULL;
	question.trust = ROUTE_TRUST_UNKNOWN;
	check(&question, STRATEGY_STAGED, 0, "the user wishes it");
}

static void pinned__is_wished_and_the_kernel_decides(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.wish = STRATEGY_PINNED;
	question.caps = NULL;
	check(&question, STRATEGY_PINNED, 0, "its own pages, under a lease");
	question.kernel = EOPNOTSUPP;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "refused to pin");
	question.kernel = ROUTE_KERNEL_NOT_ASKED;
	memory = memory_of(MEMORY_BIT(MEMORY_PAGECACHE), MEMORY_PAGECACHE);
	check(&question, STRATEGY_PINNED, 0, "its own pages, under a lease");
	memory = memory_of(MEMORY_BIT(MEMORY_TMPFS), MEMORY_TMPFS);
	check(&question, STRATEGY_PASSTHROUGH, 0, "tmpfs");
	question.is_asked = true;
	check(&question, STRATEGY_PINNED, 0, "its own pages, under a lease");
	memory.file.fs[0] = '\0'; /* a segment of shmget(2) */
	check(&question, STRATEGY_PASSTHROUGH, 0, "tmpfs");
	memory = memory_of(MEMORY_BIT(MEMORY_TMPFS) |
				   MEMORY_BIT(MEMORY_ANONYMOUS),
			   MEMORY_TMPFS);
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "several kinds");
	memory = memory_of(MEMORY_BIT(MEMORY_HUGETLB), MEMORY_HUGETLB);
	check(&question, STRATEGY_PINNED, 0, "its own pages, under a lease");
	question.is_asked = false;
	check(&question, STRATEGY_PASSTHROUGH, 0, "hugetlbfs");
	question.is_asked = true;
	memory.file.fs[0] = '\0'; /* MAP_HUGETLB */
	check(&question, STRATEGY_PASSTHROUGH, 0, "hugetlbfs");
}

static void pinned__is_refused_where_it_would_hold_others_up(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.wish = STRATEGY_PINNED;
	question.kernel = ROUTE_KERNEL_NOT_ASKED;
	memory.kinds |= MEMORY_BIT(MEMORY_ANONYMOUS);
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "register each apart");
	assert_int_equal(refusal, REFUSAL_SEVERAL);
}

static void private_mapping__is_copied(void **state)
{
	struct memory memory = memory_of(MEMORY_BIT(MEMORY_FSDAX_PRIVATE),
					 MEMORY_FSDAX_PRIVATE);
	struct route_question question = ask(&memory);

	(void)state;
	question.caps = &no_odp;
	check(&question, STRATEGY_STAGED, 0, "private copy");
	check(&question, STRATEGY_STAGED, 0, "no on-demand paging");
	question.wish = STRATEGY_ODP;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "no on-demand paging");
	question.wish = STRATEGY_AUTO;
	/* one MR for both */
	memory.kinds |= MEMORY_BIT(MEMORY_FSDAX);
	memory.file.kind = MEMORY_FSDAX;
	check(&question, STRATEGY_STAGED, 0, "shadow");
	/* that of a page-cache file is memory, if the kernel doesn't mind */
	memory = memory_of(MEMORY_BIT(MEMORY_PAGECACHE_PRIVATE),
			   MEMORY_PAGECACHE_PRIVATE);
	check(&question, STRATEGY_PASSTHROUGH, 0, "");
	question.kernel = EFAULT;
	check(&question, STRATEGY_STAGED, 0, "private copy");
}

/* The promise of persistence that a shadow does not keep. */
static void flush_persistent__is_refused_where_it_would_be_staged(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);
	struct route route;

	(void)state;
	question.access |= ROUTE_ACCESS_FLUSH_PERSISTENT;
	check(&question, STRATEGY_ODP, 0, "tested");
	question.caps = &no_odp;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "FLUSH_PERSISTENT");
	assert_int_equal(refusal, REFUSAL_FLUSH_PERSISTENT);
	route_choose(&question, &route);
	assert_true(route.ask_kernel);	/* which may not know the flag */
	question.access = RW | 1U << 8; /* FLUSH_GLOBAL */
	check(&question, STRATEGY_STAGED, 0, "");
	memory = memory_of(MEMORY_BIT(MEMORY_SHADOW), MEMORY_SHADOW);
	question.access = RW | ROUTE_ACCESS_FLUSH_PERSISTENT;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "FLUSH_PERSISTENT");
}

/* As long as one MR is on it, it has to stay: each is counted. */
static void shadow__is_staged_again_on_any_device(void **state)
{
	struct memory memory =
		memory_of(MEMORY_BIT(MEMORY_SHADOW), MEMORY_SHADOW);
	struct route_question question = ask(&memory);

	(void)state;
	question.caps = NULL;
	question.trust = ROUTE_TRUST_UNKNOWN;
	check(&question, STRATEGY_STAGED, 0, "region before");
	memory.kinds |= MEMORY_BIT(MEMORY_FSDAX);
	check(&question, STRATEGY_STAGED, 0, "region before");
	question.access |= IBV_ACCESS_ON_DEMAND;
	check(&question, STRATEGY_STAGED, 0, "region before");
}

static void passthrough_wish__decides_everything(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	question.trust = ROUTE_TRUST_NO;
	question.wish = STRATEGY_PASSTHROUGH;
	check(&question, STRATEGY_PASSTHROUGH, 0, "wishes");
}

static void page_cache__goes_odp_only_after_the_kernel_refused(void **state)
{
	struct memory memory =
		memory_of(MEMORY_BIT(MEMORY_PAGECACHE), MEMORY_PAGECACHE);
	struct route_question question = ask(&memory);

	(void)state;
	check(&question, STRATEGY_PASSTHROUGH, 0, "the kernel decides");
	question.kernel = ENOMEM; /* another cause, no help by ODP */
	check(&question, STRATEGY_PASSTHROUGH, 0, "the kernel decides");
	question.kernel = EFAULT;
	check(&question, STRATEGY_ODP, 0, "page-cache file");
	question.caps = &no_odp;
	check(&question, STRATEGY_STAGED, 0, "no on-demand paging");
	question.wish = STRATEGY_ODP;
	check(&question, STRATEGY_REFUSED, EFAULT,
	      "kernel refused to pin its pages (Bad address)");
}

static void unknown_file__own_on_demand_is_not_tried_blindly(void **state)
{
	struct memory memory =
		memory_of(MEMORY_BIT(MEMORY_UNKNOWN), MEMORY_UNKNOWN);
	struct route_question question = ask(&memory);

	(void)state;
	check(&question, STRATEGY_PASSTHROUGH, 0, "the kernel decides");
	question.kernel = EOPNOTSUPP;
	check(&question, STRATEGY_ODP, 0, "cannot be looked at");
	question.kernel = ROUTE_KERNEL_NOT_ASKED;
	question.access |= IBV_ACCESS_ON_DEMAND;
	question.trust = ROUTE_TRUST_NO;
	check(&question, STRATEGY_STAGED, 0, "corrupts");
}

/* Nothing was seen: EFAULT may be a mistake, and is not made to work. */
static void unseen__only_eopnotsupp_means_a_file(void **state)
{
	struct memory memory =
		memory_of(MEMORY_BIT(MEMORY_UNKNOWN), MEMORY_UNKNOWN);
	struct route_question question = ask(&memory);

	(void)state;
	memory.unseen = EMFILE;
	memory.file.name[0] = '\0';
	check(&question, STRATEGY_PASSTHROUGH, 0, "the kernel decides");
	question.kernel = EFAULT;
	check(&question, STRATEGY_PASSTHROUGH, 0, "the kernel decides");
	question.kernel = EOPNOTSUPP;
	check(&question, STRATEGY_ODP, 0, "Too many open files");
	question.caps = &no_odp;
	check(&question, STRATEGY_REFUSED, EOPNOTSUPP, "cannot be seen");
}

/* The worst case: the reasons are long, and still the advice is there. */
static void sentence__is_never_cut(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);
	struct route route;
	char seen[256];

	(void)state;
	memset(seen, 's', sizeof(seen));
	seen[sizeof(seen) - 1] = '\0';
	memset(memory.file.name, 'n', sizeof(memory.file.name));
	memory.file.name[0] = '/';
	memory.file.name[sizeof(memory.file.name) - 1] = '\0';
	memory.file.kind = MEMORY_FSDAX_PRIVATE;
	question.trust = ROUTE_TRUST_NO;
	question.trust_seen = seen;
	question.device = "a-device-whose-name-is-as-long-as-they-can-be-in-"
			  "libibverbs-so";
	memory.kinds = MEMORY_BIT(MEMORY_FSDAX_PRIVATE);
	question.access |= ROUTE_ACCESS_FLUSH_PERSISTENT;
	route_choose(&question, &route);
	if (!strstr(route.why, "says more)"))
		fail_msg("cut: %s", route.why);
	assert_true(strlen(route.why) < sizeof(route.why) - 1);
	question.wish = STRATEGY_ODP;
	route_choose(&question, &route);
	if (!strstr(route.why, "says more)"))
		fail_msg("cut: %s", route.why);
	assert_true(strlen(route.why) < sizeof(route.why) - 1);
}

static void mixed_range__goes_odp_as_one(void **state)
{
	struct memory memory = memory_of(MEMORY_BIT(MEMORY_FSDAX) |
						 MEMORY_BIT(MEMORY_ANONYMOUS),
					 MEMORY_FSDAX);
	struct route_question question = ask(&memory);

	(void)state;
	check(&question, STRATEGY_ODP, 0, "fs-dax file");
}

/* What a plain registration would have found is found, unless ODP is asked. */
static void mistakes__are_found_as_a_plain_registration_would(void **state)
{
	struct memory memory = fsdax();
	struct route_question question = ask(&memory);

	(void)state;
	memory.kinds |= MEMORY_BIT(MEMORY_UNMAPPED);
	check(&question, STRATEGY_REFUSED, EFAULT, "not mapped");
	question.access |= IBV_ACCESS_ON_DEMAND;
	check(&question, STRATEGY_ODP, 0, "");
	question.caps = &no_odp; /* staged is a plain registration */
	check(&question, STRATEGY_REFUSED, EFAULT, "not mapped");

	memory = fsdax();
	memory.read_only = true;
	question = ask(&memory);
	check(&question, STRATEGY_REFUSED, EFAULT, "PROT_WRITE");
	question.access = IBV_ACCESS_REMOTE_READ;
	check(&question, STRATEGY_ODP, 0, "");

	memory = fsdax();
	memory.unreadable = true;
	question = ask(&memory);
	check(&question, STRATEGY_REFUSED, EFAULT, "PROT_READ");

	memory = fsdax();
	memory.kinds |= MEMORY_BIT(MEMORY_DEVICE);
	question = ask(&memory);
	check(&question, STRATEGY_REFUSED, EFAULT, "device memory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_memory__is_passed_through),
		cmocka_unit_test(fsdax__asks_for_caps_then_trust_then_goes_odp),
		cmocka_unit_test(fsdax_private__goes_odp),
		cmocka_unit_test(fsdax__without_odp_is_staged_and_says_why),
		cmocka_unit_test(fsdax__odp_wished_and_not_there_is_refused),
		cmocka_unit_test(fsdax__corrupting_odp_is_never_used),
		cmocka_unit_test(fsdax__unproven_odp_is_staged_unless_wished),
		cmocka_unit_test(
			fsdax__deleted_file_is_not_to_be_checked_by_name),
		cmocka_unit_test(fsdax__missing_operation_is_named),
		cmocka_unit_test(fsdax__moved_iova_needs_a_device_that_can),
		cmocka_unit_test(fsdax__staged_is_wished_and_needs_no_device),
		cmocka_unit_test(pinned__is_wished_and_the_kernel_decides),
		cmocka_unit_test(
			pinned__is_refused_where_it_would_hold_others_up),
		cmocka_unit_test(private_mapping__is_copied),
		cmocka_unit_test(
			flush_persistent__is_refused_where_it_would_be_staged),
		cmocka_unit_test(shadow__is_staged_again_on_any_device),
		cmocka_unit_test(passthrough_wish__decides_everything),
		cmocka_unit_test(
			page_cache__goes_odp_only_after_the_kernel_refused),
		cmocka_unit_test(
			unknown_file__own_on_demand_is_not_tried_blindly),
		cmocka_unit_test(unseen__only_eopnotsupp_means_a_file),
		cmocka_unit_test(sentence__is_never_cut),
		cmocka_unit_test(mixed_range__goes_odp_as_one),
		cmocka_unit_test(
			mistakes__are_found_as_a_plain_registration_would),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
