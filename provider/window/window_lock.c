/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock of window_parts.h. */
#include <errno.h>
#include <time.h>

#include "quiet.h"
#include "window_parts.h"

pthread_mutex_t window_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t window_changed = PTHREAD_COND_INITIALIZER;
struct window *window_all;

void window_still_begin(struct window_still *ret)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ret->cancel_state);
	quiet_begin(&ret->signals);
	ret->is_still = true;
}

void window_still_end(const struct window_still *still)
{
	if (!still->is_still)
		return;
	quiet_end(&still->signals);
	pthread_setcancelstate(still->cancel_state, NULL);
}

void window_lock_take(struct window_still *ret)
{
	window_still_begin(ret);
	pthread_mutex_lock(&window_lock);
}

void window_lock_give(const struct window_still *locked)
{
	pthread_mutex_unlock(&window_lock);
	window_still_end(locked);
}

bool window_wait_locked(int64_t until_ns)
{
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

	if (until_ns == WINDOW_NEVER)
		return !pthread_cond_wait(&window_changed, &window_lock);
	return pthread_cond_clockwait(&window_changed, &window_lock,
				      CLOCK_MONOTONIC, &until) != ETIMEDOUT;
}

void window_begin(struct window *window)
{
	struct window_still locked;

	window_lock_take(&locked);
	while (window->is_busy)
		window_wait_locked(WINDOW_NEVER);
	window->is_busy = true;
	window_lock_give(&locked);
}

void window_end(struct window *window)
{
	struct window_still locked;

	window_lock_take(&locked);
	window->is_busy = false;
	pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
}
