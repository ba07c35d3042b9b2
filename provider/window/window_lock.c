/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock of window_parts.h. */
#include <errno.h>

#include "quiet.h"
#include "window_parts.h"

pthread_mutex_t window_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t window_changed = PTHREAD_COND_INITIALIZER;
struct window *window_all;

void window_still_begin(struct window_still *ret)
{
	still_begin(&ret->before);
	ret->is_still = true;
}

void window_still_end(const struct window_still *still)
{
	if (still->is_still)
		still_end(&still->before);
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
	return quiet_wait(&window_changed, &window_lock, until_ns) != ETIMEDOUT;
}

bool window_busy_try(bool *is_busy, int64_t until_ns)
{
	struct window_still locked;
	bool is_ours;

	window_lock_take(&locked);
	while (*is_busy && window_wait_locked(until_ns))
		;
	is_ours = !*is_busy;
	if (is_ours)
		*is_busy = true;
	window_lock_give(&locked);
	return is_ours;
}

void window_busy_begin(bool *is_busy)
{
	window_busy_try(is_busy, WINDOW_NEVER);
}

void window_busy_end(bool *is_busy)
{
	struct window_still locked;

	window_lock_take(&locked);
	*is_busy = false;
	pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
}
