/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far peers reach: the thread of window.h.
 *
 * It looks at what is due, one region after the other, and waits for news, or
 * for the next time to look: while others have a file, or a file is shorter
 * than its region, that time comes by itself, after growing pauses.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "reason.h"
#include "window_parts.h"

#define NEVER	  INT64_MAX
#define MS	  1000000LL
#define STACK	  (256 << 10)
#define PAUSE_MIN (10 * MS)
#define PAUSE_MAX (1000 * MS)

pthread_mutex_t window_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t window_changed = PTHREAD_COND_INITIALIZER;
struct window *window_all;

static bool is_started; /* under the lock */

void window_begin(struct window *window)
{
	int cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	pthread_mutex_lock(&window_lock);
	while (window->is_busy)
		pthread_cond_wait(&window_changed, &window_lock);
	window->is_busy = true;
	pthread_mutex_unlock(&window_lock);
	pthread_setcancelstate(cancel_state, NULL);
}

void window_end(struct window *window)
{
	pthread_mutex_lock(&window_lock);
	window->is_busy = false;
	pthread_cond_broadcast(&window_changed);
	pthread_mutex_unlock(&window_lock);
}

void window_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed)
{
	struct window *window =
		(struct window *)((char *)listener -
				  offsetof(struct window, listener));
	int64_t now_ns = clock_now_ns();

	(void)report;
	(void)missed;
	pthread_mutex_lock(&window_lock);
	if (window->due_ns > now_ns)
		window->due_ns = now_ns;
	window->pause_ns = 0;
	pthread_cond_broadcast(&window_changed);
	pthread_mutex_unlock(&window_lock);
}

/* So much of the region is in the file, or may be reached already. */
static int find_end(struct window *window, size_t *ret)
{
	uint64_t reports = lease_reports(window->lease), size;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	bool is_ours = lease_state(window->lease) == RECALL_HELD;
	int r = lease_size(window->lease, &size);

	if (r)
		return r;
	is_ours = is_ours && lease_state(window->lease) == RECALL_HELD &&
		  lease_reports(window->lease) == reports;
	size = (size + page - 1) & ~(page - 1);
	*ret = size > window->offset ? size - window->offset : 0;
	if (*ret > window->length)
		*ret = window->length;
	/* What others have put there is in the shadow when it is merged. */
	if (*ret > window->end && !is_ours)
		*ret = window->end;
	return 0;
}

static int make_shorter(const struct window *window, size_t end,
			struct ibv_mr **ret)
{
	*ret = NULL;
	if (!end || end == window->length)
		return 0;
	errno = 0;
	*ret = window->real->table.reg_mr_iova2(window->pd, window->memory, end,
						window->addr, window->access);
	if (*ret)
		return 0;
	return reason_set(errno ? -errno : -EIO,
			  "%zu bytes of it cannot be registered: %s", end,
			  strerrordesc_np(errno));
}

/* Where it cannot be less than before, it is nothing. */
static int reach(struct window *window, size_t end)
{
	struct window_range range = {
		.mr = window->mr,
		.addr = window->addr,
		.length = end,
		.access = window->remote,
	};
	struct ibv_mr *shorter, *before = window->shorter;
	int error = make_shorter(window, end, &shorter), r;

	if (error && end > window->end)
		return error;
	if (error)
		range.length = 0;
	if (shorter)
		range.mr = shorter;
	r = window_pd_bind(window->binder, window->mw, &range);
	if (r) {
		if (shorter)
			window->real->table.dereg_mr(shorter);
		return r;
	}
	window->shorter = shorter;
	window->end = range.length;
	if (before)
		window->real->table.dereg_mr(before);
	return error;
}

/* When to look again, though nothing is heard. */
static void set_next(struct window *window, bool is_complete)
{
	pthread_mutex_lock(&window_lock);
	if (is_complete) {
		window->pause_ns = 0;
	} else {
		window->pause_ns =
			window->pause_ns ? 2 * window->pause_ns : PAUSE_MIN;
		if (window->pause_ns > PAUSE_MAX)
			window->pause_ns = PAUSE_MAX;
		if (window->due_ns == NEVER)
			window->due_ns = clock_now_ns() + window->pause_ns;
	}
	pthread_mutex_unlock(&window_lock);
}

void window_look(struct window *window)
{
	const char *device = window->pd->context->device->name;
	size_t end, before = window->end;
	int r;

	pthread_mutex_lock(&window_lock);
	window->due_ns = NEVER;
	pthread_mutex_unlock(&window_lock);
	r = find_end(window, &end);
	if (!r && end != before)
		r = reach(window, end);
	if (r)
		log_write(LOG_ERROR,
			  "how far peers reach %zu bytes at %#llx on %s (rkey "
			  "%#x) cannot follow the end of the file: %s; it is "
			  "tried again",
			  window->length, (unsigned long long)window->addr,
			  device, window->mw->rkey, reason_text());
	if (window->end != before)
		log_write(LOG_INFO,
			  "peers reach %zu of %zu bytes at %#llx on %s, rkey "
			  "%#x",
			  window->end, window->length,
			  (unsigned long long)window->addr, device,
			  window->mw->rkey);
	set_next(window, !r && window->end == window->length &&
				 lease_state(window->lease) == RECALL_HELD);
}

/* The first that is due is marked, and returned. */
static struct window *take_due_locked(int64_t *ret_next_ns)
{
	int64_t now_ns = clock_now_ns();
	struct window *window;

	*ret_next_ns = NEVER;
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

static void wait_locked(int64_t until_ns)
{
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

	if (until_ns == NEVER)
		pthread_cond_wait(&window_changed, &window_lock);
	else
		pthread_cond_clockwait(&window_changed, &window_lock,
				       CLOCK_MONOTONIC, &until);
}

static void *watch_over_all(void *arg)
{
	struct window *window;
	int64_t next_ns;

	pthread_setname_np(pthread_self(), "daxmr-window");
	pthread_mutex_lock(&window_lock);
	for (;;) {
		window = take_due_locked(&next_ns);
		if (!window) {
			wait_locked(next_ns);
			continue;
		}
		pthread_mutex_unlock(&window_lock);
		window_look(window);
		window_end(window);
		pthread_mutex_lock(&window_lock);
	}
	return arg;
}

static void before_fork(void)
{
	pthread_mutex_lock(&window_lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&window_lock);
}

/* No thread and no lease: all regions are its parent's. */
static void in_child(void)
{
	pthread_mutex_init(&window_lock, NULL);
	pthread_cond_init(&window_changed, NULL);
	is_started = false;
	for (struct window *at = window_all; at; at = at->next)
		at->is_busy = false;
	window_pds_in_child();
	window_forget_all();
}

static void follow_forks(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

/* None of the program's signals is for it. */
static int start(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = -pthread_attr_init(&attr);
	if (r)
		return r;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&thread, &attr, watch_over_all, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

int window_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int r = 0;

	pthread_once(&once, follow_forks);
	pthread_mutex_lock(&window_lock);
	if (!is_started)
		r = start();
	is_started = is_started || !r;
	pthread_mutex_unlock(&window_lock);
	return r;
}
