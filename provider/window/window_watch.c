/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far peers reach: the thread of window.h.
 *
 * It looks at what is due, one region after the other, and waits for news, or
 * for the next time to look: while others have a file, or a file is shorter
 * than its region, that time comes by itself, after growing pauses.
 */
#include <stddef.h>

#include "aside.h"
#include "clock.h"
#include "own_thread.h"
#include "quiet.h"
#include "window_parts.h"

#define MS	  1000000LL
#define STACK	  (256 << 10)
#define PAUSE_MIN (10 * MS)
#define PAUSE_MAX (1000 * MS)

static bool is_started;	    /* under the lock, as all that follows */
static bool is_at_work;	    /* the thread, and not aside */
static unsigned int paused; /* so many do not want it to be */

void window_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed)
{
	struct window *window =
		(struct window *)((char *)listener -
				  offsetof(struct window, listener));
	int64_t now_ns = clock_now_ns();
	struct window_still locked;

	(void)report;
	(void)missed;
	window_lock_take(&locked);
	if (window->due_ns > now_ns)
		window->due_ns = now_ns;
	window->pause_ns = 0;
	pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
}

/* When to look again, though nothing is heard. */
static void set_next(struct window *window, bool is_complete)
{
	struct window_still locked;

	window_lock_take(&locked);
	if (is_complete) {
		window->pause_ns = 0;
	} else {
		window->pause_ns =
			window->pause_ns ? 2 * window->pause_ns : PAUSE_MIN;
		if (window->pause_ns > PAUSE_MAX)
			window->pause_ns = PAUSE_MAX;
		if (window->due_ns == WINDOW_NEVER)
			window->due_ns = clock_now_ns() + window->pause_ns;
	}
	window_lock_give(&locked);
}

void window_follow(struct window *window)
{
	struct window_still locked;

	window_lock_take(&locked);
	window->due_ns = WINDOW_NEVER;
	window_lock_give(&locked);
	set_next(window, window_look(window));
}

/* The first that is due is marked, and returned. */
static struct window *take_due_locked(int64_t *ret_next_ns)
{
	int64_t now_ns = clock_now_ns();
	struct window *window;

	*ret_next_ns = WINDOW_NEVER;
	for (window = window_all; window; window = window->next) {
		if (window->is_busy)
			continue;
		if (window->due_ns <= now_ns)
			break;
		if (window->due_ns < *ret_next_ns)
			*ret_next_ns = window->due_ns;
	}
	if (window)
		window->is_busy = true;
	return window;
}

/* Where nothing is due the thread is aside, and whoever waits for that goes on.
 */
static void rest_locked(int64_t until_ns)
{
	if (is_at_work) {
		is_at_work = false;
		aside_step_out();
		pthread_cond_broadcast(&window_changed);
	}
	window_wait_locked(until_ns);
}

static void *watch_over_all(void *arg)
{
	struct window_still locked;
	struct window *window;
	int64_t next_ns;

	own_thread_keep_small();
	pthread_setname_np(pthread_self(), "daxmr-window");
	window_lock_take(&locked);
	for (;;) {
		window = paused ? NULL : take_due_locked(&next_ns);
		if (!window) {
			rest_locked(paused ? WINDOW_NEVER : next_ns);
			continue;
		}
		if (!is_at_work)
			aside_step_in();
		is_at_work = true;
		window_lock_give(&locked);
		window_follow(window);
		window_busy_end(&window->is_busy);
		window_lock_take(&locked);
	}
	return arg;
}

/* Of the thread that forks. */
static sigset_t signals_before_fork;

static void before_fork(void)
{
	quiet_lock_over_fork(&window_lock, &signals_before_fork);
}

static void after_fork(void)
{
	quiet_unlock_after_fork(&window_lock, &signals_before_fork);
}

/* No thread and no lease: all regions are its parent's. */
static void in_child(void)
{
	pthread_mutex_init(&window_lock, NULL);
	pthread_cond_init(&window_changed, NULL);
	is_started = is_at_work = false;
	paused = 0;
	aside_forget();
	for (struct window *at = window_all; at; at = at->next)
		at->is_busy = false;
	window_pds_in_child();
	window_forget_all();
	quiet_end(&signals_before_fork);
}

static void follow(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

void window_follow_forks(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, follow);
}

/* All signals are blocked: none of the program's is for it. */
static int start_locked(void)
{
	pthread_t thread;

	return -own_thread_start(&thread, STACK, true, watch_over_all, NULL);
}

int window_start(void)
{
	struct window_still locked;
	int r = 0;

	window_follow_forks();
	window_lock_take(&locked);
	if (!is_started)
		r = start_locked();
	if (!is_started && !r)
		is_started = is_at_work = true; /* until it is aside */
	window_lock_give(&locked);
	return r;
}

void window_pause(struct window_still *ret)
{
	bool has_thread;

	window_follow_forks();
	window_lock_take(ret);
	has_thread = is_started;
	paused++;
	while (is_at_work)
		window_wait_locked(WINDOW_NEVER);
	if (has_thread) {
		pthread_mutex_unlock(&window_lock);
		return;
	}
	/* Nobody would be waited for. */
	window_lock_give(ret);
	ret->is_still = false;
}

/* A child of fork() in between has none to resume. */
void window_resume(const struct window_still *still)
{
	struct window_still locked;

	window_lock_take(&locked);
	if (paused && !--paused)
		pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
	window_still_end(still);
}
