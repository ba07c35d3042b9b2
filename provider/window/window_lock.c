/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock of window_parts.h. */
#include "window_parts.h"

pthread_mutex_t window_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t window_changed = PTHREAD_COND_INITIALIZER;
struct window *window_all;

void window_lock_take(struct window_locked *ret)
{
	sigset_t all;

	sigfillset(&all);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ret->cancel_state);
	pthread_sigmask(SIG_BLOCK, &all, &ret->signals);
	pthread_mutex_lock(&window_lock);
}

void window_lock_give(const struct window_locked *locked)
{
	pthread_mutex_unlock(&window_lock);
	pthread_sigmask(SIG_SETMASK, &locked->signals, NULL);
	pthread_setcancelstate(locked->cancel_state, NULL);
}

void window_wait_locked(void)
{
	pthread_cond_wait(&window_changed, &window_lock);
}

void window_begin(struct window *window)
{
	struct window_locked locked;

	window_lock_take(&locked);
	while (window->is_busy)
		window_wait_locked();
	window->is_busy = true;
	window_lock_give(&locked);
}

void window_end(struct window *window)
{
	struct window_locked locked;

	window_lock_take(&locked);
	window->is_busy = false;
	pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
}
