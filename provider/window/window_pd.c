/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The QP pairs through which windows are bound: one in each PD that has any.
 */
#include <errno.h>
#include <stdlib.h>

#include "reason.h"
#include "window_parts.h"

struct window_pd {
	struct ibv_pd *pd;
	const struct verbs_table *verbs;
	struct loop loop; /* of whoever has set is_busy */
	bool is_open;

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
	struct window_locked locked;

	window_lock_take(&locked);
	for (binder = binders; binder && binder->pd != pd;)
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
	struct window_locked locked;
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

static void begin(struct window_pd *binder)
{
	struct window_locked locked;

	window_lock_take(&locked);
	while (binder->is_busy)
		window_wait_locked();
	binder->is_busy = true;
	window_lock_give(&locked);
}

static void end(struct window_pd *binder)
{
	struct window_locked locked;

	window_lock_take(&locked);
	binder->is_busy = false;
	pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
}

int window_pd_bind(struct window_pd *binder, const struct ibv_mw *mw,
		   const struct window_range *range)
{
	int r = 0, cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	begin(binder);
	if (!binder->is_open) {
		r = window_loop_open(&binder->loop, binder->verbs, binder->pd);
		binder->is_open = !r;
		if (r)
			reason_set(r, "no QP to bind windows by: %s",
				   binder->loop.reason);
		if (r)
			window_loop_close(&binder->loop);
	}
	if (!r) {
		r = window_bind(&binder->loop, mw, range);
		if (r)
			reason_set(r,
				   "the device binds no window of %llu bytes: "
				   "%s",
				   (unsigned long long)range->length,
				   binder->loop.reason);
	}
	end(binder);
	pthread_setcancelstate(cancel_state, NULL);
	return r;
}
