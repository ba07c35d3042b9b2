/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The trust test against a device that is broken in all ways we could think
 * of: each has to be found, a right one has to pass, and nothing may be left
 * behind.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "odp_fake_verbs.h"
#include "trust.h"
#include "unit.h"

static int setup(void **state)
{
	(void)state;
	fake_reset();
	return 0;
}

static struct odp_trust tested(enum fake_fault fault)
{
	struct odp_trust trust;

	fake.fault = fault;
	errno = 4242;
	memset(&trust, 0xff, sizeof(trust));
	odp_trust_test(&fake_verbs, &fake.device, &trust);
	assert_int_equal(errno, 4242);
	assert_int_equal(fake.live, 0);
	assert_non_null(memchr(trust.seen, '\0', sizeof(trust.seen)));
	assert_true(trust.seen[0]);
	assert_false(trust.from_cache);
	return trust;
}

static void expect(enum fake_fault fault, enum odp_verdict verdict,
		   const char *words)
{
	struct odp_trust trust = tested(fault);

	if (trust.verdict != verdict || !strstr(trust.seen, words))
		fail_msg("%s, not %s with \"%s\": %s",
			 odp_verdict_name(trust.verdict),
			 odp_verdict_name(verdict), words, trust.seen);
}

static void trust__right_device_is_right(void **state)
{
	struct odp_trust trust;

	(void)state;
	trust = tested(FAKE_RIGHT);
	assert_int_equal(trust.verdict, ODP_RIGHT);
	assert_true(trust.iova_right);
	assert_int_equal(trust.port, 1);
	assert_true(trust.cases > 400);
	assert_true(odp_trust_ok(&trust, &fake.device));
	assert_true(odp_trust_iova_ok(&trust, &fake.device));
}

static void trust__right_device_with_all_transports_is_right(void **state)
{
	struct odp_trust trust;
	unsigned int before = tested(FAKE_RIGHT).cases;

	(void)state;
	fake.attr.odp_caps.per_transport_caps.uc_odp_caps =
		IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
		IBV_ODP_SUPPORT_WRITE;
	trust = tested(FAKE_RIGHT);
	assert_int_equal(trust.verdict, ODP_RIGHT);
	assert_true(trust.cases > before);
}

static void trust__rxe_page_start_bug_is_wrong(void **state)
{
	struct odp_trust trust;

	(void)state;
	trust = tested(FAKE_PAGE_START);
	assert_int_equal(trust.verdict, ODP_WRONG);
	assert_non_null(strstr(trust.seen, "RC write of 300 bytes into "
					   "on-demand memory at offset"));
	assert_non_null(strstr(trust.seen, "never touched before"));
	assert_false(odp_trust_ok(&trust, &fake.device));
	assert_false(odp_trust_iova_ok(&trust, &fake.device));
}

static void trust__each_broken_device_is_wrong(void **state)
{
	static const struct {
		enum fake_fault fault;
		const char *words;
	} rows[] = {
		{FAKE_DROPS_SECOND_PACKET, "300 bytes"},
		{FAKE_READ_WRONG, "RC read"},
		{FAKE_ATOMIC_WRONG, "RC atomic"},
		{FAKE_COMPARE_WRONG, "RC atomic"},
		{FAKE_UD_WRONG, "UD "},
		{FAKE_SRQ_WRONG, "shared receive"},
		{FAKE_SOURCE_WRONG, "RC send of 300 bytes from"},
		{FAKE_SINK_WRONG, "into on-demand memory"},
		{FAKE_READONLY_WRONG, "from read-only on-demand memory"},
		{FAKE_UNPREFETCHED_WRONG, "never touched before"},
		{FAKE_PREFETCHED_WRONG, "prefetched after"},
		{FAKE_STALE_PAGE, "after its pages were replaced"},
		{FAKE_STALE_ZERO, "written by the CPU before"},
		{FAKE_EXTRA_BYTE, "no message was for"},
		{FAKE_LAST_BYTE_LOST, "1 bytes are not"},
		{FAKE_LATER_SGES_WRONG, "435 bytes"},
		{FAKE_IMM_WRONG, "RC write with immediate"},
		{FAKE_BOTH_ODP_WRONG, "between two"},
		{FAKE_PLAIN_WRONG, "plain memory"},
		{FAKE_READ_ERRORS_UD_WRONG, "UD "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(rows[i].fault, ODP_WRONG, rows[i].words);
}

static void trust__iova_taken_for_address_is_right_but_said(void **state)
{
	struct odp_trust trust;

	(void)state;
	trust = tested(FAKE_IOVA_AS_ADDRESS);
	assert_int_equal(trust.verdict, ODP_RIGHT);
	assert_false(trust.iova_right);
	assert_true(odp_trust_ok(&trust, &fake.device));
	assert_false(odp_trust_iova_ok(&trust, &fake.device));
}

static void trust__wrong_in_an_unclaimed_operation_is_no_matter(void **state)
{
	(void)state;
	fake.attr.odp_caps.per_transport_caps.ud_odp_caps = 0;
	expect(FAKE_UD_WRONG, ODP_RIGHT, "every byte");
	fake.attr.odp_caps.per_transport_caps.rc_odp_caps &=
		~(uint32_t)IBV_ODP_SUPPORT_ATOMIC;
	expect(FAKE_ATOMIC_WRONG, ODP_RIGHT, "every byte");
}

static void trust__error_completions_are_no_verdict(void **state)
{
	(void)state;
	expect(FAKE_ERRORS, ODP_NO_VERDICT, "remote access error");
	expect(FAKE_READ_ERRORS, ODP_NO_VERDICT,
	       "RC read: a completion says remote access error");
	expect(FAKE_SHORT_LENGTH, ODP_NO_VERDICT, "are said to have come");
}

static void trust__no_completions_are_no_verdict_in_bounded_time(void **state)
{
	struct odp_trust trust;

	(void)state;
	trust = tested(FAKE_SILENT);
	assert_int_equal(trust.verdict, ODP_NO_VERDICT);
	assert_non_null(strstr(trust.seen, "does not send to itself"));
	assert_true(trust.time_us < 3000000);
	assert_false(odp_trust_ok(&trust, &fake.device));
}

static void trust__no_odp_or_nothing_claimed_is_no_verdict(void **state)
{
	(void)state;
	fake.attr.odp_caps.per_transport_caps.rc_odp_caps = 0;
	fake.attr.odp_caps.per_transport_caps.ud_odp_caps = 0;
	expect(FAKE_RIGHT, ODP_NO_VERDICT, "claims no operation");
	fake.attr.odp_caps.general_caps = 0;
	expect(FAKE_RIGHT, ODP_NO_VERDICT, "no on-demand paging");
	fake.query_error = EIO;
	expect(FAKE_RIGHT, ODP_NO_VERDICT, "cannot be queried");
}

static void trust__few_sges_and_no_prefetch_are_right(void **state)
{
	(void)state;
	fake.attr.orig_attr.max_sge = 1;
	fake.attr.orig_attr.max_sge_rd = 1;
	fake.advise_error = EOPNOTSUPP;
	fake.advise_errors = -1;
	expect(FAKE_RIGHT, ODP_RIGHT, "every byte");
}

static void trust__prefetched_is_said_only_where_it_was(void **state)
{
	(void)state;
	expect(FAKE_PREFETCHED_WRONG, ODP_WRONG,
	       "prefetched after it was mapped anew");
	/* The first stage that a mapping anew has; nothing was prefetched. */
	fake.advise_error = EOPNOTSUPP;
	fake.advise_errors = -1;
	expect(FAKE_REMAPPED_WRONG, ODP_WRONG, ", after it was mapped anew");
}

static void trust__little_memory_is_locked_at_a_time(void **state)
{
	(void)state;
	fake.attr.odp_caps.per_transport_caps.uc_odp_caps =
		IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
		IBV_ODP_SUPPORT_WRITE;
	assert_int_equal(tested(FAKE_RIGHT).verdict, ODP_RIGHT);
	assert_in_range(fake.plain_bytes_most, 1,
			4 * (size_t)sysconf(_SC_PAGESIZE));
	assert_int_equal(fake.qps_most, 2);
}

static void trust__library_without_iova2_is_no_verdict(void **state)
{
	struct verbs_table old = fake_verbs;
	struct odp_trust trust;

	(void)state;
	old.reg_mr_iova2 = NULL;
	odp_trust_test(&old, &fake.device, &trust);
	assert_int_equal(trust.verdict, ODP_NO_VERDICT);
	assert_non_null(strstr(trust.seen, "rdma-core 28"));
	assert_int_equal(fake.opened, 0);
}

/* The fake's verbs with what a program of the test's own would see. */
static sigset_t mask_in_test;

static struct ibv_context *open_and_look(struct ibv_device *device)
{
	struct odp_trust trust;

	pthread_sigmask(SIG_SETMASK, NULL, &mask_in_test);
	/* A provider that comes back to us by way of a hook. */
	odp_trust_get(&fake_verbs, device, &trust);
	assert_int_equal(trust.verdict, ODP_NO_VERDICT);
	return fake_verbs.open_device(device);
}

static void
trust__runs_with_signals_blocked_and_does_not_wait_for_itself(void **state)
{
	struct verbs_table verbs = fake_verbs;
	struct odp_trust trust;
	sigset_t mask;

	(void)state;
	verbs.open_device = open_and_look;
	odp_trust_test(&verbs, &fake.device, &trust);
	assert_int_equal(trust.verdict, ODP_RIGHT);
	assert_true(sigismember(&mask_in_test, SIGALRM));
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGALRM));
}

static bool is_tolerated(const char *verb)
{
	static const char *const verbs[] = {
		"advise_mr",   "query_gid",  "close_device",
		"dealloc_pd",  "destroy_cq", "destroy_qp",
		"destroy_srq", "destroy_ah", "dereg_mr",
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verb, verbs[i]))
			return true;
	return false;
}

/*
 * Any call fails, one after the other (each of the first 100, then some): no
 * false verdict, nothing left behind.
 */
static void trust__any_verb_fails_is_no_verdict(void **state)
{
	int calls, failed = 0;

	(void)state;
	tested(FAKE_RIGHT);
	calls = fake.calls;
	assert_true(calls > 1000);
	for (int n = 1; n <= calls; n += n < 100 ? 1 : 29) {
		struct odp_trust trust;

		fake_reset();
		/* With two addresses a failure with the first is made good. */
		memset(&fake.gid[0], 0, sizeof(fake.gid[0]));
		fake.fail_at = n;
		trust = tested(FAKE_RIGHT);
		assert_int_not_equal(trust.verdict, ODP_WRONG);
		assert_non_null(fake.failed);
		if (is_tolerated(fake.failed))
			continue;
		if (!strcmp(fake.failed, "create_cq") ||
		    !strcmp(fake.failed, "create_qp"))
			assert_true(trust.verdict == ODP_RIGHT ||
				    strstr(trust.seen, "(ulimit -l) should"));
		/* One in the last part costs only what that part says. */
		if (trust.verdict == ODP_RIGHT && trust.iova_right &&
		    strcmp(fake.failed, "poll_cq") != 0)
			fail_msg("call %d, %s, failed and was not missed", n,
				 fake.failed);
		failed++;
	}
	assert_true(failed > 50);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static long mapped_pages(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long pages = 0;

	assert_int_equal(fscanf(file, "%ld", &pages), 1);
	fclose(file);
	return pages;
}

static void trust__again_and_again_leaves_nothing(void **state)
{
	static const enum fake_fault faults[] = {FAKE_RIGHT, FAKE_PAGE_START,
						 FAKE_ERRORS};
	long pages;
	int fds;

	(void)state;
	for (int i = 0; i < 3; i++)
		tested(faults[i]);
	fds = count_fds();
	pages = mapped_pages();
	for (int i = 0; i < 15; i++)
		tested(faults[i % 3]);
	assert_int_equal(count_fds(), fds);
	/* One scratch left behind in each would be 24 pages. */
	assert_in_range(mapped_pages(), 0, pages + 15 * 24 - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(trust__right_device_is_right, setup),
		cmocka_unit_test_setup(
			trust__right_device_with_all_transports_is_right,
			setup),
		cmocka_unit_test_setup(trust__rxe_page_start_bug_is_wrong,
				       setup),
		cmocka_unit_test_setup(trust__each_broken_device_is_wrong,
				       setup),
		cmocka_unit_test_setup(
			trust__iova_taken_for_address_is_right_but_said, setup),
		cmocka_unit_test_setup(
			trust__wrong_in_an_unclaimed_operation_is_no_matter,
			setup),
		cmocka_unit_test_setup(trust__error_completions_are_no_verdict,
				       setup),
		cmocka_unit_test_setup(
			trust__no_completions_are_no_verdict_in_bounded_time,
			setup),
		cmocka_unit_test_setup(
			trust__no_odp_or_nothing_claimed_is_no_verdict, setup),
		cmocka_unit_test_setup(
			trust__few_sges_and_no_prefetch_are_right, setup),
		cmocka_unit_test_setup(
			trust__prefetched_is_said_only_where_it_was, setup),
		cmocka_unit_test_setup(trust__little_memory_is_locked_at_a_time,
				       setup),
		cmocka_unit_test_setup(
			trust__library_without_iova2_is_no_verdict, setup),
		cmocka_unit_test_setup(
			trust__runs_with_signals_blocked_and_does_not_wait_for_itself,
			setup),
		cmocka_unit_test_setup(trust__any_verb_fails_is_no_verdict,
				       setup),
		cmocka_unit_test_setup(trust__again_and_again_leaves_nothing,
				       setup),
	};

	return cmocka_run_group_tests_name("odp trust", tests, NULL, NULL);
}
