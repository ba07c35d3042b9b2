/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The QP pairs through which windows are bound: one in each PD that has any.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "reason.h"
#include "window_parts.h"

struct window_pd {
	struct ibv_pd *pd;
	const struct verbs_table *verbs;
	struct loop loop; /* of whoever has set is_busy */
	bool is_open;
	atomic_bool is_dead; /* the device has not answered for long */

	/* Under the lock. */
	unsigned int refs;
	bool is_busy;
	struct window_pd *next;
};

static struct window_pd *binders;

void window_pds_in_child(void)
{
	for (struct window_pd *at = binders; at; at = at->next)
		at->is_busy = false;
}

struct window_pd *window_pd_get(const struct real_verbs *real,
				struct ibv_pd *pd)
{
	struct window_pd *new = calloc(1, sizeof(*new)), *binder;
	struct window_still locked;

	window_follow_forks();
	window_lock_take(&locked);
	for (binder = binders; binder && (binder->pd != pd || binder->is_dead);)
		binder = binder->next;
	if (!binder && new) {
		binder = new;
		new = NULL;
		binder->pd = pd;
		binder->verbs = &real->table;
		binder->next = binders;
		binders = binder;
	}
	if (binder)
		binder->refs++;
	window_lock_give(&locked);
	free(new);
	return binder;
}

void window_pd_put(struct window_pd *binder)
{
	struct window_pd **at = &binders;
	struct window_still locked;
	bool is_last;

	window_lock_take(&locked);
	is_last = !--binder->refs;
	while (is_last && *at != binder)
		at = &(*at)->next;
	if (is_last)
		*at = binder->next;
	window_lock_give(&locked);
	if (!is_last)
		return;
	window_loop_close(&binder->loop);
	free(binder);
}

bool window_pd_is_dead(const struct window_pd *binder)
{
	return binder->is_dead;
}

/* Whoever calls has begun it. */
static int open_loop(struct window_pd *binder)
{
	int r;

	if (binder->is_open)
		return 0;
	r = window_loop_open(&binder->loop, binder->verbs, binder->pd);
	binder->is_open = !r;
	if (!r)
		return 0;
	reason_set(r, "no QP to bind windows by: %s", binder->loop.reason);
	window_loop_close(&binder->loop);
	return r;
}

static uint64_t patience_ns(int64_t until_ns)
{
	int64_t left_ns = until_ns - clock_now_ns();

	return left_ns > 0 ? (uint64_t)left_ns : 0;
}

/* Who had but a moment to wait has seen nothing of the device. */
static bool says_something(uint64_t waited_ns)
{
	return waited_ns >= (uint64_t)window_patience_ns / 10;
}

static int bind_by(struct window_pd *binder, const struct ibv_mw *mw,
		   const struct window_range *range, int64_t until_ns)
{
	uint64_t left_ns;
	int r;

	if (binder->is_dead)
		return reason_set(-ETIMEDOUT,
				  "the device has not answered before");
	r = open_loop(binder);
	if (r)
		return r;
	left_ns = patience_ns(until_ns);
	r = window_bind(&binder->loop, mw, range, left_ns);
	if (r == -ETIMEDOUT && says_something(left_ns))
		binder->is_dead = true;
	return r ? reason_set(r, "the device binds no window of %llu bytes: %s",
			      (unsigned long long)range->length,
			      binder->loop.reason)
		 : 0;
}

int window_pd_bind(struct window_pd *binder, const struct ibv_mw *mw,
		   const struct window_range *range, int64_t until_ns)
{
	struct window_still still;
	int r;

	window_still_begin(&still);
	if (window_busy_try(&binder->is_busy, until_ns)) {
		r = bind_by(binder, mw, range, until_ns);
		window_busy_end(&binder->is_busy);
	} else {
		r = reason_set(-ETIMEDOUT,
			       "the device has not answered another's bind");
	}
	window_still_end(&still);
	return r;
}
