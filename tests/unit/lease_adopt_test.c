/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that comes after one that died in a break: whoever was asked for a
 * consent is asked again, as nobody knows what he has said.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_kept.h"
#include "lease_recall_world.h"
#include "unit.h"

#define CONSENT (50 * MS)

/* The break came that long ago. */
static void adopt_breaking(struct world *w, int64_t ago_ns, int64_t consent_ns)
{
	world_hold(w, &world_actions);
	w->lease = BREAKING;
	w->recall.policy.consent_ns = consent_ns;
	recall_adopt(&w->recall, RECALL_BREAKING, w->now_ns - ago_ns, false);
}

static void adopt__somebody_waits_the_consent_is_asked_for_again(void **state)
{
	struct world w;

	(void)state;
	adopt_breaking(&w, 100 * MS, CONSENT);
	assert_int_equal(w.asked, 1);
	assert_int_equal(w.asked_deadline_ns, w.now_ns + CONSENT);
	/* heard once more it is no other break */
	recall_look(&w.recall);
	assert_int_equal(w.asked, 1);
	assert_int_equal(world_run(&w), w.now_ns + CONSENT);
	assert_int_equal(w.flushes, 0);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	recall_consent(&w.recall);
	world_run(&w);
	assert_int_equal(w.flushes, 1);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);
}

static void adopt__nobody_agrees_it_is_flushed_in_time(void **state)
{
	int64_t deadline_ns;
	struct world w;

	(void)state;
	adopt_breaking(&w, 600 * MS, 10 * world_policy.break_ns);
	deadline_ns = w.now_ns - 600 * MS + world_policy.break_ns;
	assert_int_equal(w.asked, 1);
	assert_in_range(w.asked_deadline_ns, w.now_ns + 1, deadline_ns - 1);
	world_run_until(&w, w.asked_deadline_ns);
	assert_int_equal(w.flushes, 1);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED, RECALL_FLUSHED,
			 0);

	/* where no time is left nobody is asked */
	adopt_breaking(&w, world_policy.break_ns, CONSENT);
	assert_int_equal(w.asked, 0);
	world_run_until(&w, w.now_ns);
	world_check_last(&w, RECALL_BREAKING, RECALL_YIELDED,
			 RECALL_OUT_OF_TIME, -ETIMEDOUT);
}

static void adopt__nobody_waits_nobody_is_asked(void **state)
{
	struct world w;

	/* the program's own open, which it announces again */
	(void)state;
	world_hold(&w, &world_actions);
	w.recall.policy.consent_ns = CONSENT;
	recall_adopt(&w.recall, RECALL_BREAKING, w.now_ns, false);
	recall_look(&w.recall);
	recall_own_begin(&w.recall);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.asked, 0);

	/* none is wanted */
	adopt_breaking(&w, 0, 0);
	world_run_until(&w, w.now_ns);
	assert_int_equal(w.asked, 0);
	assert_int_equal(w.recall.state, RECALL_YIELDED);

	/* it was taken away meanwhile */
	world_hold(&w, &world_actions);
	w.lease = NONE;
	w.recall.policy.consent_ns = CONSENT;
	recall_adopt(&w.recall, RECALL_BREAKING, w.now_ns, false);
	assert_int_equal(w.asked, 0);
	recall_look(&w.recall);
	assert_int_equal(w.recall.state, RECALL_LOST);
	assert_int_equal(w.wrote_without_lease, 0);
}

/* Before a break, or in a merge: it is a break as any other. */
static void adopt__broken_meanwhile_it_is_asked_once(void **state)
{
	static const enum recall_state states[] = {RECALL_HELD, RECALL_MERGING};
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		world_hold(&w, &world_actions);
		w.lease = BREAKING;
		w.recall.policy.consent_ns = CONSENT;
		recall_adopt(&w.recall, states[i], w.now_ns, true);
		assert_int_equal(w.asked, 0);
		recall_look(&w.recall);
		assert_int_equal(w.asked, 1);
		assert_int_equal(w.recall.state, RECALL_BREAKING);
		world_run(&w);
		assert_int_equal(w.recall.state, RECALL_BREAKING);
	}
}

static struct keeper_message ask_of(void)
{
	struct keeper_message message;

	do
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	while (message.kind != KEEPER_ASK);
	return message;
}

static void kill_keeper(void)
{
	struct keeper_message message;
	int r;

	kill(keeper.pid, SIGKILL);
	while (!(r = keeper_receive(&keeper, WAIT_SEC * 1000, &message)))
		;
	assert_int_equal(r, -EPIPE);
}

/* A consent to what the dead one has asked is none to this one. */
static void keeper_killed__its_consent_died_with_it(void **state)
{
	struct keeper_request wanted = kept_request(0);
	struct keeper_message asked, again;
	int status;
	pid_t pid;

	(void)state;
	wanted.consent_ns = INT64_MAX / 4;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	pid = fork();
	if (!pid)
		_exit(open(file.path, O_RDONLY | O_CLOEXEC) < 0);
	asked = ask_of();
	kill_keeper();
	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	assert_int_equal(keeper_adopt(&keeper, &wanted), 0);
	again = ask_of();
	assert_true(again.deadline_ns != asked.deadline_ns);
	assert_int_equal(keeper_consent(&keeper, 0, asked.deadline_ns), 0);
	kept_fence();
	assert_int_equal(keeper_state(&keeper, 0), RECALL_BREAKING);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(keeper_consent(&keeper, 0, again.deadline_ns), 0);
	assert_int_equal(kept_until(0, RECALL_YIELDED).report.cause,
			 RECALL_FLUSHED);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			adopt__somebody_waits_the_consent_is_asked_for_again),
		cmocka_unit_test(adopt__nobody_agrees_it_is_flushed_in_time),
		cmocka_unit_test(adopt__nobody_waits_nobody_is_asked),
		cmocka_unit_test(adopt__broken_meanwhile_it_is_asked_once),
		keeper_test(keeper_killed__its_consent_died_with_it),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease adopt", tests, NULL, NULL);
}
