/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "gate_bind.h"
#include "gate_context.h"
#include "gate_keys.h"
#include "gate_mark.h"
#include "gate_window.h"

/* What the program has of an MR that goes and comes. */
struct region {
	struct ibv_context *context;
	const struct ibv_mr *seen;
	struct ibv_mr *actual; /* NULL: none for now */
	bool is_bindable;
	struct region *next;
};

/* With the gate's lock, as the windows' records. */
static struct region *regions;
static struct gate_window *windows;
static struct gate_window *going; /* of windows that the program just frees */

/* The device frees a window in microseconds. */
#define GOING_NS 100000000LL

static struct region *region_of(const struct ibv_mr *seen)
{
	struct region *region = regions;

	while (region && region->seen != seen)
		region = region->next;
	return region;
}

bool gate_windows_are_bindable_locked(gate_post_send_fn post_send)
{
	const struct region *region = regions;

	while (region &&
	       !(region->is_bindable &&
		 gate_context_is_of_locked(region->context, post_send)))
		region = region->next;
	return region;
}

void gate_windows_in_child_locked(void)
{
	for (struct gate_window *at = windows; at; at = at->next)
		at->uses = 0;
	going = NULL;
}

static struct region *add_region_locked(struct ibv_context *context,
					const struct ibv_mr *seen)
{
	struct region *added = calloc(1, sizeof(*added));

	if (!added)
		return NULL;
	added->context = context;
	added->seen = seen;
	added->next = regions;
	regions = added;
	return added;
}

int gate_mr_promise(struct ibv_context *context, const struct ibv_mr *seen,
		    struct ibv_mr *actual, bool is_bindable)
{
	struct gate_context *found;
	struct region *region = NULL;
	struct gate_locked locked;
	int r = -EINVAL;

	gate_lock(&locked);
	found = gate_context_find_locked(context);
	if (found) {
		r = -ENOMEM;
		region = region_of(seen);
		if (!region)
			region = add_region_locked(context, seen);
	}
	if (region) {
		r = 0;
		region->actual = actual;
		region->is_bindable = is_bindable;
		if (is_bindable)
			gate_post_send_translate_locked(found->post_send, true);
	}
	gate_unlock(&locked);
	return r;
}

static void unlink_window(struct gate_window *window)
{
	struct gate_window **at = &windows;

	while (*at != window)
		at = &(*at)->next;
	*at = window->next;
}

/* As soon as nobody uses it: at once, or by the last who does. */
static void end_locked(struct gate_window *window)
{
	window->is_over = true;
	if (window->uses)
		return;
	unlink_window(window);
	free(window);
}

static void end_all_locked(const struct ibv_mr *seen,
			   const struct ibv_context *context, bool with_off)
{
	struct gate_window *window, *next;

	for (window = windows; window; window = next) {
		next = window->next;
		if ((window->seen == seen || window->context == context) &&
		    (with_off || window->state != GATE_WINDOW_OFF))
			end_locked(window);
	}
}

static void forget_locked(const struct ibv_mr *seen,
			  const struct ibv_context *context)
{
	struct region **at = &regions, *region;

	end_all_locked(seen, context, true);
	while ((region = *at))
		if (region->seen == seen || region->context == context) {
			*at = region->next;
			free(region);
		} else {
			at = &region->next;
		}
}

void gate_mr_forget(struct ibv_context *context, const struct ibv_mr *seen)
{
	struct gate_locked locked;

	gate_lock(&locked);
	forget_locked(seen, NULL);
	gate_keys_look_again_locked(context);
	gate_unlock(&locked);
}

void gate_windows_forget_locked(const struct ibv_context *context)
{
	forget_locked(NULL, context);
}

void gate_windows_gone(const struct ibv_mr *seen)
{
	struct gate_locked locked;

	gate_lock(&locked);
	end_all_locked(seen, NULL, false);
	gate_unlock(&locked);
}

static void unuse_locked(struct gate_window *window)
{
	if (!--window->uses && window->is_over)
		end_locked(window);
}

struct gate_window *gate_window_next(const struct ibv_mr *seen,
				     enum gate_window_state state,
				     struct gate_window *after)
{
	struct gate_window *next;
	struct gate_locked locked;

	gate_lock(&locked);
	next = after ? after->next : windows;
	while (next &&
	       (next->seen != seen || next->state != state || next->is_over))
		next = next->next;
	if (next)
		next->uses++;
	if (after)
		unuse_locked(after);
	gate_unlock(&locked);
	return next;
}

void gate_window_unuse(struct gate_window *window)
{
	struct gate_locked locked;

	gate_lock(&locked);
	unuse_locked(window);
	gate_unlock(&locked);
}

void gate_window_set(struct gate_window *window, enum gate_window_state state)
{
	struct gate_locked locked;

	gate_lock(&locked);
	window->state = state;
	gate_unlock(&locked);
}

#define SET(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELAXED)

static void exchange_objects(struct ibv_mw *a, struct ibv_mw *b)
{
	uint32_t handle = a->handle, rkey = a->rkey;

	SET(a->handle, b->handle);
	SET(a->rkey, b->rkey);
	b->handle = handle;
	b->rkey = rkey;
}

/*
 * Freed past the provider its handle would soon be another object's, and the
 * program's ibv_dealloc_mw() that one's end. Providers keep nothing of windows
 * but what is in struct ibv_mw (rdma-core 44 to 58).
 */
int gate_window_replace(struct gate_window *window, uint32_t *ret_rkey)
{
	const struct ibv_context_ops *ops = &window->context->ops;
	struct ibv_mw *mw = window->mw, *other;
	struct gate_locked locked;
	uint32_t rkey;
	int r;

	errno = 0;
	other = ops->alloc_mw(mw->pd, window->type);
	if (!other)
		return errno ? -errno : -ENOMEM;
	exchange_objects(mw, other);
	rkey = mw->rkey;
	r = ops->dealloc_mw(other);
	if (r) {
		exchange_objects(mw, other);
		ops->dealloc_mw(other);
		return r < 0 ? r : -r;
	}
	gate_lock(&locked);
	for (struct gate_window *at = windows, *next; at; at = next) {
		next = at->next;
		if (at->mw == mw)
			end_locked(at);
	}
	gate_unlock(&locked);
	*ret_rkey = rkey;
	return 0;
}

/*
 * A record of the window on seen, or any (NULL), once nobody uses it; those
 * that do end soon. The lock is given meanwhile.
 */
static struct gate_window *find_unused_locked(const struct ibv_mw *mw,
					      const struct ibv_mr *seen,
					      struct gate_locked *locked)
{
	const struct timespec pause = {0, 50000};
	struct gate_window *window;
	int cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	for (;;) {
		window = windows;
		while (window &&
		       (window->mw != mw || (seen && window->seen != seen)))
			window = window->next;
		if (!window || !window->uses)
			break;
		gate_unlock(locked);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		gate_lock(locked);
	}
	pthread_setcancelstate(cancel_state, NULL);
	return window;
}

int gate_binding_begin(struct gate_binding *binding,
		       const struct ibv_mw_bind_info *info)
{
	const struct region *region;
	struct gate_locked locked;

	*binding = (struct gate_binding){.info = *info};
	gate_lock(&locked);
	region = info->mr ? region_of(info->mr) : NULL;
	if (region) {
		binding->seen = region->seen;
		if (region->actual)
			binding->info.mr = region->actual;
	}
	gate_unlock(&locked);
	if (!binding->seen || !info->length)
		return 0;
	binding->spare = calloc(1, sizeof(*binding->spare));
	return binding->spare ? 0 : ENOMEM;
}

/* What it was on before, it may still be: whether it is bound is not known. */
static void move_locked(const struct ibv_mw *mw)
{
	for (struct gate_window *at = windows; at; at = at->next)
		if (at->mw == mw && at->state == GATE_WINDOW_ON)
			at->state = GATE_WINDOW_PAST;
}

/* Ours is not to bind it again. */
static void end_off_locked(const struct ibv_mw *mw)
{
	struct gate_window *at, *next;

	for (at = windows; at; at = next) {
		next = at->next;
		if (at->mw == mw && at->state == GATE_WINDOW_OFF)
			end_locked(at);
	}
}

static struct gate_window *add_locked(struct gate_binding *binding,
				      struct ibv_mw *mw,
				      struct gate_locked *locked)
{
	struct gate_window *window;

	window = find_unused_locked(mw, binding->seen, locked);
	if (window)
		return window;
	window = binding->spare;
	binding->spare = NULL;
	window->mw = mw;
	window->context = mw->context;
	window->seen = binding->seen;
	window->next = windows;
	windows = window;
	return window;
}

void gate_binding_end(struct gate_binding *binding, struct ibv_mw *mw,
		      bool is_posted)
{
	struct gate_window *window;
	struct gate_locked locked;

	gate_lock(&locked);
	if (is_posted) {
		end_off_locked(mw);
		move_locked(mw);
	}
	if (is_posted && binding->seen && binding->info.length) {
		window = add_locked(binding, mw, &locked);
		window->type = mw->type;
		window->addr = binding->info.addr;
		window->length = binding->info.length;
		window->access = binding->info.mw_access_flags;
		window->is_severed = false;
		/* Without an MR behind it it will fail: nobody else does it. */
		window->state = binding->info.mr == binding->seen
					? GATE_WINDOW_PAST
					: GATE_WINDOW_ON;
	}
	gate_unlock(&locked);
	free(binding->spare);
}

/* The program has freed it, or not. */
static void end_going_locked(const struct ibv_mw *mw, bool is_freed)
{
	struct gate_window **at = &going, *window;

	while ((window = *at)) {
		if (window->mw != mw) {
			at = &window->next;
			continue;
		}
		*at = window->next;
		if (is_freed || !region_of(window->seen)) {
			free(window);
			continue;
		}
		window->next = windows;
		windows = window;
	}
}

static bool is_any_going_locked(const struct ibv_mr *seen)
{
	const struct gate_window *window = going;

	while (window && window->seen != seen)
		window = window->next;
	return window;
}

void gate_windows_settle(const struct ibv_mr *seen)
{
	const struct timespec pause = {0, 50000};
	int64_t until_ns = clock_now_ns() + GOING_NS;
	struct gate_locked locked;
	bool is_any;

	do {
		gate_lock(&locked);
		is_any = is_any_going_locked(seen);
		gate_unlock(&locked);
		if (is_any)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	} while (is_any && clock_now_ns() < until_ns);
}

int gate_window_dealloc(gate_dealloc_mw_fn original, struct ibv_mw *mw)
{
	int saved_errno = errno, r;
	struct gate_window *window;
	struct gate_locked locked;

	gate_lock(&locked);
	while ((window = find_unused_locked(mw, NULL, &locked))) {
		unlink_window(window);
		window->next = going;
		going = window;
	}
	gate_unlock(&locked);
	errno = saved_errno;
	r = original(mw);
	saved_errno = errno;
	gate_lock(&locked);
	end_going_locked(mw, !r);
	gate_unlock(&locked);
	errno = saved_errno;
	return r;
}
