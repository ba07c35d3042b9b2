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
#include "stage_limits.h"
#include "window_parts.h"
#include "window_test.h"

/* What a window can give. */
#define REMOTE                                                                 \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |                    \
	 IBV_ACCESS_REMOTE_ATOMIC)
/* Flushes by peers, which go by the key as well (rdma-core 45's names). */
#define FLUSHES (1U << 8 | 1U << 9)

#define WHAT "on_shrink=error wants a memory window"

unsigned int window_mr_access(unsigned int access)
{
	return (access & ~(unsigned int)(REMOTE | IBV_ACCESS_ON_DEMAND)) |
	       IBV_ACCESS_MW_BIND;
}

static int check_access(const struct region_call *call)
{
	if (call->access & IBV_ACCESS_MW_BIND)
		return reason_set(-EOPNOTSUPP,
				  WHAT " of daxmr's: one of the program's own "
				       "(IBV_ACCESS_MW_BIND) would reach "
				       "beyond the end of the file");
	if (call->access & FLUSHES)
		return reason_set(-EOPNOTSUPP,
				  WHAT ", which lets no peer flush "
				       "(IBV_ACCESS_FLUSH_GLOBAL)");
	if (call->access & IBV_ACCESS_ZERO_BASED ||
	    call->iova != (uintptr_t)call->addr)
		return reason_set(-EOPNOTSUPP,
				  WHAT ", which is at the region's address: "
				       "leave the iova and "
				       "IBV_ACCESS_ZERO_BASED to that");
	return 0;
}

static int check_device(const struct region_call *call)
{
	struct ibv_device *device = call->pd->context->device;
	struct window_verdict verdict;

	window_verdict_get(&call->real->table, device, &verdict);
	log_write(LOG_DEBUG, "%s: memory windows %s (%s), %u us", device->name,
		  verdict.is_right ? "right" : "not to be used", verdict.seen,
		  verdict.time_us);
	if (!verdict.is_right)
		return reason_set(-EOPNOTSUPP,
				  WHAT ", and those of %s do not do: %s",
				  device->name, verdict.seen);
	if (call->access & IBV_ACCESS_REMOTE_ATOMIC && !verdict.has_atomics)
		return reason_set(-EOPNOTSUPP,
				  WHAT ", and through those of %s come no "
				       "atomics (IBV_ACCESS_REMOTE_ATOMIC)",
				  device->name);
	return 0;
}

bool window_is_due(const struct stage *stage, unsigned int access)
{
	const struct lease *lease = stage ? stage_lease(stage, 0) : NULL;

	return lease && lease_terms(lease)->on_shrink == ON_SHRINK_ERROR &&
	       access & (REMOTE | IBV_ACCESS_MW_BIND | FLUSHES);
}

int window_is_wanted(const struct region_call *call, const struct stage *stage)
{
	uint64_t offset;
	int r;

	if (!window_is_due(stage, call->access))
		return 0;
	r = check_access(call);
	if (!r && !stage_piece(stage, &offset))
		r = reason_set(-EOPNOTSUPP,
			       WHAT ", which has one end: the range is not one "
				    "piece of one file, register each piece "
				    "apart");
	if (!r)
		r = check_device(call);
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
	if (window->mw)
		window->pd->context->ops.dealloc_mw(window->mw);
	if (window->shorter)
		window->real->table.dereg_mr(window->shorter);
	if (window->binder)
		window_pd_put(window->binder);
	window->mw = NULL;
	window->shorter = NULL;
	window->binder = NULL;
	window_view_unmap(&window->view);
}

static int make_window(struct window *window)
{
	struct ibv_context *context = window->pd->context;
	const struct window_range all = {
		.mr = window->mr,
		.addr = window->addr,
		.length = window->length,
		.access = window->remote,
	};
	int r;

	window->binder = window_pd_get(window->real, window->pd);
	if (!window->binder)
		return reason_set(-ENOMEM, "no memory for one region more");
	errno = 0;
	window->mw = context->ops.alloc_mw(window->pd, IBV_MW_TYPE_1);
	if (!window->mw)
		return reason_set(errno ? -errno : -EOPNOTSUPP,
				  WHAT ", and %s has none left (%s)",
				  context->device->name,
				  strerrordesc_np(errno));
	/* As ibv_alloc_mw() does where the provider does not. */
	window->mw->context = context;
	window->mw->pd = window->pd;
	window->mw->type = IBV_MW_TYPE_1;
	window->rkey = window->mw->rkey;
	r = window_pd_bind(window->binder, window->mw, &all,
			   clock_now_ns() + window_patience_ns);
	if (r == -EIO && window->length > 1UL << 31)
		return reason_set(-EOPNOTSUPP,
				  WHAT ", and those of %s are shorter than "
				       "%zu bytes: 2 GiB mostly, register it "
				       "in pieces",
				  context->device->name, window->length);
	return r;
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
	window->real = call->real;
	window->pd = call->pd;
	window->mr = mr;
	window->mr_rkey = mr->rkey;
	window->addr = call->iova;
	window->length = call->length;
	window->access = window_mr_access(call->access);
	window->remote = call->access & REMOTE;
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
		r = make_window(window);
	if (!r)
		r = watch(window);
	if (r) {
		free_window(window);
		free(window);
	} else {
		mr->rkey = window->rkey;
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
	for (window = window_all; window && window->pd->context != context;)
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
