/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions with a window come and go: window.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "reason.h"
#include "refusal.h"
#include "stage_limits.h"
#include "window_parts.h"

#define POLICY "on_shrink=error"
#define WHAT   POLICY " wants a memory window"

static int check_place(const struct region_call *call,
		       const struct stage *stage)
{
	uint64_t offset;

	if (call->iova != (uintptr_t)call->addr)
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WHAT
				       ", which is at the region's address: "
				       "leave the iova to that");
	if (!stage_piece(stage, &offset))
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WHAT
				       ", which has one end: the range is not "
				       "one piece of one file, register each "
				       "piece apart");
	return 0;
}

bool window_is_due(const struct stage *stage, unsigned int access)
{
	const struct lease *lease = stage ? stage_lease(stage, 0) : NULL;

	return lease && lease_terms(lease)->on_shrink == ON_SHRINK_ERROR &&
	       window_key_is_due(access);
}

int window_is_wanted(const struct region_call *call, const struct stage *stage)
{
	int r;

	if (!window_is_due(stage, call->access))
		return 0;
	r = check_place(call, stage);
	if (!r)
		r = window_key_check(call, POLICY);
	return r ? r : 1;
}

/* How many are listed, for who has to do with anything else. */
static atomic_uint regions;

void window_forget_all(void)
{
	window_all = NULL;
	atomic_store(&regions, 0);
}

static void list(struct window *window)
{
	struct window_still locked;

	window_lock_take(&locked);
	window->next = window_all;
	window_all = window;
	atomic_fetch_add(&regions, 1);
	window_lock_give(&locked);
}

static void unlist(const struct window *window)
{
	struct window **at = &window_all;
	struct window_still locked;

	window_lock_take(&locked);
	while (*at && *at != window)
		at = &(*at)->next;
	if (*at) { /* else it is the parent's */
		*at = window->next;
		atomic_fetch_sub(&regions, 1);
	}
	pthread_cond_broadcast(&window_changed);
	window_lock_give(&locked);
}

static void free_window(struct window *window)
{
	const struct real_verbs *real = window->key.real;

	window_key_close(&window->key);
	if (window->shorter)
		real->table.dereg_mr(window->shorter);
	window->shorter = NULL;
	window_view_unmap(&window->view);
}

static int make_window(struct window *window, const struct region_call *call)
{
	int r = window_key_open(&window->key, call, POLICY);

	if (r)
		return r;
	r = window_key_bind(&window->key, window->mr, window->addr,
			    window->length,
			    clock_now_ns() + window_patience_ns);
	return window_key_explain(r, window->length, &window->key, POLICY);
}

/* What happens to the file from before the first look on is not missed. */
static int watch(struct window *window)
{
	int r = window_start();

	if (r)
		return reason_set(r, "no thread to watch over it: %s",
				  strerrordesc_np(-r));
	window->is_busy = true;
	list(window);
	r = lease_news_listen(&window->listener, window->lease);
	if (r) {
		unlist(window);
		return r;
	}
	window_follow(window);
	window_busy_end(&window->is_busy);
	return 0;
}

int window_open(const struct region_call *call, const struct stage *stage,
		struct ibv_mr *mr, struct window **ret)
{
	struct window *window = calloc(1, sizeof(*window));
	int saved_errno = errno, r;
	struct window_still still;

	if (!window)
		return reason_set(-ENOMEM, "no memory for one region more");
	window->mr = mr;
	window->mr_rkey = mr->rkey;
	window->addr = call->iova;
	window->length = call->length;
	window->access = window_mr_access(call->access);
	window->lease = stage_piece(stage, &window->offset);
	window->end = call->length;
	window->due_ns = WINDOW_NEVER;
	window->listener.changed = window_hear;
	window_still_begin(&still);
	r = stage_limits_check_again(call->length);
	if (!r)
		r = window_view_map(&window->view, window->lease,
				    window->offset, window->length);
	if (!r)
		r = make_window(window, call);
	if (!r)
		r = watch(window);
	if (r) {
		free_window(window);
		free(window);
	} else {
		mr->rkey = window->key.rkey;
		*ret = window;
	}
	window_still_end(&still);
	errno = saved_errno;
	return r;
}

/* Whoever calls has begun it. */
static void leave(struct window *window)
{
	unlist(window);
	lease_news_unlisten(&window->listener);
	window->mr->rkey = window->mr_rkey;
	free_window(window);
}

void window_close(struct window *window)
{
	int saved_errno = errno;
	struct window_still still;

	if (!window->is_dead) {
		window_still_begin(&still);
		window_busy_begin(&window->is_busy);
		leave(window);
		window_still_end(&still);
	}
	free(window);
	errno = saved_errno;
}

void window_listen(struct window *window, struct window_ear *ear)
{
	struct window_still locked;

	window_lock_take(&locked);
	window->ear = ear;
	if (ear && window->error)
		ear->tell(ear, window->error);
	window_lock_give(&locked);
}

static struct window *first_of(const struct ibv_context *context)
{
	struct window_still locked;
	struct window *window;

	window_lock_take(&locked);
	for (window = window_all; window && window->key.pd->context != context;)
		window = window->next;
	window_lock_give(&locked);
	return window;
}

void window_context_closing(const struct ibv_context *context)
{
	int saved_errno = errno;
	struct window_still still;
	struct window *window;

	window_still_begin(&still);
	while ((window = first_of(context))) {
		window_busy_begin(&window->is_busy);
		window->is_dead = true;
		leave(window);
	}
	window_still_end(&still);
	errno = saved_errno;
}

static struct window *first_on(dev_t dev, ino_t ino, const struct window *after)
{
	struct window *at = after ? after->next : window_all;
	dev_t at_dev;
	ino_t at_ino;

	for (; at; at = at->next) {
		lease_file(at->lease, &at_dev, &at_ino);
		if (at_dev == dev && at_ino == ino)
			break;
	}
	return at;
}

static struct window *first_to_see_locked(dev_t dev, ino_t ino, int64_t now_ns)
{
	struct window *window = NULL;

	while ((window = first_on(dev, ino, window)))
		if (window->is_busy || window->due_ns <= now_ns)
			break;
	return window;
}

void window_own_end(dev_t dev, ino_t ino)
{
	int64_t now_ns, until_ns;
	bool is_in_time = true;
	struct window_still locked;
	struct window *window = NULL;

	if (!atomic_load_explicit(&regions, memory_order_acquire))
		return;
	now_ns = clock_now_ns();
	/* one may have to come to its end before the next */
	until_ns = now_ns + 2 * window_patience_ns;
	window_lock_take(&locked);
	while ((window = first_on(dev, ino, window))) {
		/* not later than another waits for */
		if (window->due_ns > now_ns)
			window->due_ns = now_ns;
		window->pause_ns = 0;
	}
	pthread_cond_broadcast(&window_changed);
	while (is_in_time && first_to_see_locked(dev, ino, now_ns))
		is_in_time = window_wait_locked(until_ns);
	window_lock_give(&locked);
	if (!is_in_time)
		log_write(LOG_WARN,
			  "peers may still reach a file as it was before this "
			  "program has changed its size: %s",
			  "a device does not answer, or a large range is being "
			  "registered");
}
