/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due for pinned regions, and in which order it is done: the thread,
 * the gates and the program's own calls.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "pinned_world.h"
#include "unit.h"

static void recall__one_gate_and_one_drain_for_each_pd(void **state)
{
	(void)state;
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(closed, 2);
	assert_int_equal(drained, 2);
	assert_int_equal(opened, 0);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	wait_for_all();
	assert_int_equal(closed, 2);
	assert_int_equal(opened, 2);
	assert_int_equal(severed, 0);
	assert_int_equal(told[PINNED_BACK], REGIONS);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(logged_late, 0);
}

/* As by a program that is stopped, and goes on. */
static void recall__others_had_it_before_the_mr_went(void **state)
{
	(void)state;
	keep = true;
	ask_all();
	wait_for(&refused_dereg, 1);
	hear_all(RECALL_YIELDED, RECALL_OUT_OF_TIME);
	assert_int_equal(gone, 0);
	keep = false;
	wait_for(&gone, REGIONS);
	wait_for(&logged_late, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* Nothing is drained, no post waits. */
static void recall__peers_are_cut_off_at_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	ask_all();
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(drained, 0);
	assert_int_equal(opened, closed);
	assert_in_range(severed, 2, closed);
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* All at once; the second PD's regions have less time. */
static void recall__who_has_little_time_does_not_wait_for_others(void **state)
{
	int64_t now_ns = clock_now_ns();

	(void)state;
	hold_draining = true;
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++) {
		if (i >= REGIONS / 2)
			regions[i].quiesce_ns = QUIESCE_NS / 2;
		regions[i].is_held = false;
		regions[i].is_asked = true;
		regions[i].leave_ns = now_ns;
		regions[i].deadline_ns = now_ns + regions[i].quiesce_ns;
	}
	pthread_cond_broadcast(&pinned_changed);
	pthread_mutex_unlock(&pinned_lock);
	wait_for(&agreed, REGIONS / 2);
	wait_for(&held, 1);
	for (size_t i = REGIONS / 2; i < REGIONS; i++)
		assert_null(regions[i].mr);
	hold_draining = false;
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 2);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* What librdmacm does for that may take its time. */
static void recall__peers_are_told_and_nobody_waits_for_that(void **state)
{
	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	hold_disconnecting = true;
	ask_all();
	wait_for(&held, 1);
	wait_for(&agreed, REGIONS);
	hold_disconnecting = false;
	wait_for(&disconnected, 1);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* Nobody else wants the file. */
static void own_call__cuts_nobody_off(void **state)
{
	struct pinned_own own;

	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	pinned_own_begin(&own, DEV, INO);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(drained, 2);
	pinned_own_end(&own);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	assert_int_equal(severed, 0);
}

static void recall__what_is_not_drained_is_severed_once(void **state)
{
	(void)state;
	left = 30;
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 2);
	assert_int_equal(severed, 2);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&opened, 2);
}

/* It cannot be registered for a while: posts wait, and find it. */
static void back__is_tried_until_it_can_be(void **state)
{
	(void)state;
	refuse = ENOMEM;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&refused, 3 * REGIONS);
	assert_int_equal(opened, 0);
	assert_int_equal(back, 0);
	refuse = 0;
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	assert_int_equal(severed, 0);
}

static void back__that_takes_too_long_severs(void **state)
{
	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].quiesce_ns = 50000000;
	refuse = ENOMEM;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&severed, REGIONS);
	wait_for(&opened, 2);
	/* and is tried still */
	refuse = 0;
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(severed, REGIONS);
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ENOMEM);
	assert_int_equal(opened, closed);
}

/* What comes next is not spoilt by what came before. */
static void back__recall_while_it_is_tried(void **state)
{
	(void)state;
	refuse = ENOMEM;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&refused, 2 * REGIONS);
	ask_all();
	wait_for(&agreed, 2 * REGIONS);
	refuse = 0;
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	assert_int_equal(closed, 2);
	assert_int_equal(severed, 0);
}

/* The second half of the regions is another file's, and has another PD. */
static void have_two_files(int64_t quiesce_ns)
{
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		if (i < REGIONS / 2)
			regions[i].quiesce_ns = quiesce_ns;
		else
			regions[i].file.ino = INO + 1;
	pthread_mutex_unlock(&pinned_lock);
}

static void ask_some(size_t first, size_t end)
{
	int64_t deadline_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;

	for (size_t i = first; i < end; i++)
		pinned_hear_asked(&regions[i].listener, deadline_ns);
}

static void hear_some(size_t first, size_t end)
{
	const struct recall_report report = {.to = RECALL_HELD,
					     .cause = RECALL_RETAKEN};

	for (size_t i = first; i < end; i++)
		pinned_hear(&regions[i].listener, &report, 0);
}

/* As of a large one. */
static void back__that_takes_long_holds_up_no_other_file(void **state)
{
	(void)state;
	have_two_files(QUIESCE_NS);
	ask_some(0, REGIONS / 2);
	wait_for(&agreed, REGIONS / 2);
	hold_making = true;
	hear_some(0, REGIONS / 2);
	wait_for(&held, 1);
	ask_some(REGIONS / 2, REGIONS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(back, 0);
	hold_making = false;
	hear_some(REGIONS / 2, REGIONS);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(opened, closed);
	assert_int_equal(severed, 0);
}

/* Its gate has opened meanwhile, and a post does not end. */
static void back__that_waits_for_a_post_holds_up_no_other_file(void **state)
{
	(void)state;
	have_two_files(50000000);
	ask_some(0, REGIONS / 2);
	wait_for(&agreed, REGIONS / 2);
	wait_for(&opened, 1);
	hold_closing = true;
	hear_some(0, REGIONS / 2);
	wait_for(&held, 1);
	ask_some(REGIONS / 2, REGIONS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(opened, 1);
	hold_closing = false;
	hear_some(REGIONS / 2, REGIONS);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(opened, closed);
}

/* Nor does severing what could not come back. */
static void back__that_severs_holds_up_no_other_file(void **state)
{
	(void)state;
	have_two_files(50000000);
	ask_some(0, REGIONS / 2);
	wait_for(&agreed, REGIONS / 2);
	wait_for(&opened, 1);
	refuse = ENOMEM;
	hold_closing = true;
	hear_some(0, REGIONS / 2);
	wait_for(&held, 1);
	assert_int_equal(severed, 0);
	ask_some(REGIONS / 2, REGIONS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	refuse = 0;
	hold_closing = false;
	hear_some(REGIONS / 2, REGIONS);
	wait_for(&back, REGIONS);
}

static void own_call__all_go_before_and_come_back_after_the_last(void **state)
{
	struct pinned_own first, second, other;

	(void)state;
	pinned_own_begin(&other, DEV, INO + 1);
	assert_int_equal(gone, 0);
	pinned_own_begin(&first, DEV, INO);
	assert_int_equal(gone, REGIONS);
	pinned_own_begin(&second, DEV, INO);
	pinned_own_end(&first);
	/* the thread has had its turn: the gate is not left for good */
	wait_for_all();
	assert_int_equal(back, 0);
	assert_int_equal(opened, 0);
	pinned_own_end(&second);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	pinned_own_end(&other);
	assert_int_equal(drained, 2);
}

/* How many were gone when it had begun. */
static void *begin_and_end(void *arg)
{
	unsigned int *ret = arg;
	struct pinned_own own;

	pinned_own_begin(&own, DEV, INO);
	*ret = atomic_load(&gone);
	pinned_own_end(&own);
	return NULL;
}

static void own_call__waits_for_an_mr_that_does_not_go(void **state)
{
	unsigned int were_gone = 0;
	pthread_t thread;

	(void)state;
	keep = true;
	assert_int_equal(
		pthread_create(&thread, NULL, begin_and_end, &were_gone), 0);
	wait_for(&refused_dereg, 1);
	keep = false;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(were_gone, REGIONS);
	wait_for(&back, REGIONS);
}

/* Registered while such a call is under way: it waits, and is not waited for.
 */
static void own_call__region_that_comes_meanwhile(void **state)
{
	struct pinned_own first, second;
	struct pinned *late = &regions[0];
	bool is_there;

	(void)state;
	pthread_mutex_lock(&pinned_lock);
	pinned_all = late->next;
	pthread_mutex_unlock(&pinned_lock);
	pinned_own_begin(&first, DEV, INO);
	assert_int_equal(gone, REGIONS - 1);

	pthread_mutex_lock(&pinned_lock);
	free(late->mr);
	late->mr = NULL;
	late->is_busy = late->is_entering = true;
	pinned_all = late;
	is_there = pinned_own_is_there_locked(late);
	pthread_mutex_unlock(&pinned_lock);
	assert_true(is_there);
	pinned_own_begin(&second, DEV, INO);
	pinned_own_end(&first);
	pthread_mutex_lock(&pinned_lock);
	is_there = pinned_own_is_there_locked(late);
	pthread_mutex_unlock(&pinned_lock);
	assert_true(is_there);
	pinned_own_end(&second);
	pthread_mutex_lock(&pinned_lock);
	is_there = pinned_own_is_there_locked(late);
	late->is_entering = false;
	pthread_mutex_unlock(&pinned_lock);
	assert_false(is_there);
	pinned_end(late);
	wait_for(&back, REGIONS);
}

static atomic_uint handled;

static void handle(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static bool is_watching_forks;
static unsigned int handled_before_fork;

/* Registered before the lock's own, so run after it. */
static void raise_before_fork(void)
{
	if (!is_watching_forks)
		return;
	raise(SIGUSR1);
	handled_before_fork = atomic_load(&handled);
}

/* Its handler may open a file, and would wait for who has the lock. */
static void signal__is_handled_when_the_lock_is_given(void **state)
{
	const struct sigaction action = {.sa_handler = handle};
	struct pinned_locked locked;
	struct sigaction before;

	(void)state;
	handled = 0;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	pinned_lock_take(&locked);
	raise(SIGUSR1);
	assert_int_equal(handled, 0);
	pinned_lock_give(&locked);
	assert_int_equal(handled, 1);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void signal__is_handled_when_a_fork_is_over(void **state)
{
	const struct sigaction action = {.sa_handler = handle};
	struct sigaction before;
	sigset_t mask;
	int status;
	pid_t pid;

	(void)state;
	handled = 0;
	is_watching_forks = true;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	pid = fork();
	if (pid == 0) {
		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		_exit(sigismember(&mask, SIGUSR1));
	}
	is_watching_forks = false;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(handled_before_fork, 0);
	assert_int_equal(handled, 1);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void own_call__none_where_regions_are_not_wanted(void **state)
{
	struct pinned_own own;

	(void)state;
	assert_false(pinned_own_try(&own, DEV, INO));
	assert_true(pinned_own_try(&own, DEV, INO + 1));
	pinned_own_end(&own);
	assert_int_equal(gone, 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)
	const struct CMUnitTest tests[] = {
		CASE(recall__one_gate_and_one_drain_for_each_pd),
		CASE(recall__others_had_it_before_the_mr_went),
		CASE(recall__peers_are_cut_off_at_once),
		CASE(recall__who_has_little_time_does_not_wait_for_others),
		CASE(recall__peers_are_told_and_nobody_waits_for_that),
		CASE(recall__what_is_not_drained_is_severed_once),
		CASE(back__is_tried_until_it_can_be),
		CASE(back__that_takes_too_long_severs),
		CASE(back__recall_while_it_is_tried),
		CASE(back__that_takes_long_holds_up_no_other_file),
		CASE(back__that_waits_for_a_post_holds_up_no_other_file),
		CASE(back__that_severs_holds_up_no_other_file),
		CASE(own_call__all_go_before_and_come_back_after_the_last),
		CASE(own_call__cuts_nobody_off),
		CASE(own_call__waits_for_an_mr_that_does_not_go),
		CASE(own_call__region_that_comes_meanwhile),
		CASE(own_call__none_where_regions_are_not_wanted),
		CASE(signal__is_handled_when_the_lock_is_given),
		CASE(signal__is_handled_when_a_fork_is_over),
	};

	pthread_atfork(raise_before_fork, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
