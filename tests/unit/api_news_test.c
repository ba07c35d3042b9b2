/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_file.h"
#include "lease_news.h"
#include "leases.h"
#include "reason.h"
#include "unit.h"

#define LENGTH	 (4 * PAGE)
#define FOR_EVER (60 * 1000000000LL)

static struct file file;
static struct lease *lease;

/* One that writes down what it is told. */
struct ear {
	struct lease_listener listener;
	atomic_uint asked;
	atomic_uint entered[RECALL_STATES];
};

static void hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed)
{
	struct ear *ear = (struct ear *)listener;

	(void)missed;
	atomic_fetch_add(&ear->entered[report->to], 1);
}

static void hear_asked(struct lease_listener *listener, int64_t deadline_ns)
{
	struct ear *ear = (struct ear *)listener;

	(void)deadline_ns;
	atomic_fetch_add(&ear->asked, 1);
}

static void listen_as(struct ear *ear, int64_t consent_ns)
{
	memset(ear, 0, sizeof(*ear));
	ear->listener.changed = hear;
	ear->listener.asked = consent_ns ? hear_asked : NULL;
	ear->listener.consent_ns = consent_ns;
	assert_int_equal(lease_news_listen(&ear->listener, lease), 0);
}

static bool is_asked(void *arg)
{
	struct ear *ear = arg;

	return atomic_load(&ear->asked) > 0;
}

static bool has_yielded(void *arg)
{
	struct ear *ear = arg;

	return atomic_load(&ear->entered[RECALL_YIELDED]) > 0;
}

static bool is_back(void *arg)
{
	struct ear *ear = arg;

	return atomic_load(&ear->entered[RECALL_MERGING]) > 0 &&
	       atomic_load(&ear->entered[RECALL_HELD]) > 0;
}

static int take(const struct file *of, const struct lease_terms *terms,
		struct lease **ret)
{
	const struct lease_want want = {
		.fd = of->fd,
		.type = F_WRLCK,
		.length = LENGTH,
		.terms = terms,
	};

	return leases_acquire(&want, ret);
}

static int set_up(void **state)
{
	(void)state;
	file_make(&file, LENGTH);
	assert_int_equal(take(&file, NULL, &lease), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(leases_release(lease, 0, LENGTH, INT64_MAX), 0);
	file_remove(&file);
	return 0;
}

/* Opens the file, and waits for it as long as it takes. */
static pid_t open_outside(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(open(file.path, O_RDONLY | O_CLOEXEC) < 0);
	return pid;
}

static void check_opened(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* When another file has been leased the keeper has read all before that. */
static void wait_for_keeper(void)
{
	struct file other;
	struct lease *taken;

	file_make(&other, LENGTH);
	assert_int_equal(take(&other, NULL, &taken), 0);
	assert_int_equal(leases_release(taken, 0, LENGTH, INT64_MAX), 0);
	file_remove(&other);
}

static void listeners__all_are_told_and_nobody_is_asked(void **state)
{
	struct ear a, b;

	(void)state;
	listen_as(&a, 0);
	listen_as(&b, 0);

	file_check_let_in(&file, O_RDONLY);
	wait_for(is_back, &a, "the first heard the whole story");
	wait_for(is_back, &b, "and the second");

	assert_int_equal(a.entered[RECALL_BREAKING], 1);
	assert_int_equal(b.entered[RECALL_BREAKING], 1);
	lease_news_unlisten(&a.listener);
	lease_news_unlisten(&b.listener);
}

static void consent__file_goes_when_all_have_agreed(void **state)
{
	struct ear a, b, deaf;
	pid_t opener;

	(void)state;
	listen_as(&a, FOR_EVER);
	listen_as(&deaf, 0);
	listen_as(&b, FOR_EVER);
	opener = open_outside();
	wait_for(is_asked, &a, "the first was asked");
	wait_for(is_asked, &b, "the second was asked");

	lease_news_consent(&a.listener);
	wait_for_keeper();
	assert_int_equal(lease_state(lease), RECALL_BREAKING);
	lease_news_consent(&a.listener);
	wait_for_keeper();
	assert_int_equal(lease_state(lease), RECALL_BREAKING);
	lease_news_consent(&b.listener);

	check_opened(opener);
	wait_for(has_yielded, &deaf, "it was told that the file went");
	lease_news_unlisten(&a.listener);
	lease_news_unlisten(&b.listener);
	lease_news_unlisten(&deaf.listener);
}

static void consent__who_leaves_has_agreed(void **state)
{
	struct ear ear;
	pid_t opener;

	(void)state;
	listen_as(&ear, FOR_EVER);
	opener = open_outside();
	wait_for(is_asked, &ear, "it was asked");

	lease_news_unlisten(&ear.listener);

	check_opened(opener);
}

static void consent__nobody_is_asked_any_more(void **state)
{
	struct ear ear;

	(void)state;
	listen_as(&ear, FOR_EVER);
	lease_news_unlisten(&ear.listener);

	file_check_let_in(&file, O_RDONLY);
}

static void consent__goes_at_the_deadline(void **state)
{
	struct ear ear;
	pid_t opener;

	(void)state;
	listen_as(&ear, 1000000);
	opener = open_outside();

	check_opened(opener);
	/* too late, which is nothing */
	wait_for(has_yielded, &ear, "it was told that the file went");
	assert_int_equal(ear.asked, 1);
	lease_news_consent(&ear.listener);
	lease_news_unlisten(&ear.listener);
}

static void listener__that_comes_late_hears_how_it_stands(void **state)
{
	struct ear first, late;
	pid_t opener;

	(void)state;
	listen_as(&first, FOR_EVER);
	opener = open_outside();
	wait_for(is_asked, &first, "the first was asked");

	listen_as(&late, FOR_EVER);

	assert_int_equal(late.entered[RECALL_BREAKING], 1);
	assert_int_equal(late.asked, 1);
	lease_news_consent(&first.listener);
	wait_for_keeper();
	assert_int_equal(lease_state(lease), RECALL_BREAKING);
	lease_news_consent(&late.listener);
	check_opened(opener);
	lease_news_unlisten(&first.listener);
	lease_news_unlisten(&late.listener);
}

static void terms__of_a_file_are_one(void **state)
{
	struct lease_terms terms = *lease_terms(lease);
	struct lease *again = NULL;

	(void)state;
	assert_int_equal(take(&file, &terms, &again), 0);
	assert_ptr_equal(again, lease);
	assert_int_equal(leases_release(again, 0, LENGTH, INT64_MAX), 0);

	terms.on_conflict = ON_CONFLICT_THEIRS;
	again = NULL;
	assert_int_equal(take(&file, &terms, &again), -EBUSY);
	assert_null(again);
	assert_non_null(strstr(reason_text(), "on_conflict"));
}

static void child__hears_nothing(void **state)
{
	struct ear ear;
	int status;
	pid_t pid;

	(void)state;
	listen_as(&ear, 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct ear other = {.listener = {.changed = hear}};

		lease_news_unlisten(&ear.listener);
		_exit(lease_news_listen(&other.listener, lease) != -ESRCH);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	lease_news_unlisten(&ear.listener);
}

#define news_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		news_test(listeners__all_are_told_and_nobody_is_asked),
		news_test(consent__file_goes_when_all_have_agreed),
		news_test(consent__who_leaves_has_agreed),
		news_test(consent__nobody_is_asked_any_more),
		news_test(consent__goes_at_the_deadline),
		news_test(listener__that_comes_late_hears_how_it_stands),
		news_test(terms__of_a_file_are_one),
		news_test(child__hears_nothing),
	};
	int skip = file_cannot_lease();

	return skip ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
