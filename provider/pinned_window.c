/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows that the program has bound to a pinned region (gate/gate_window.h).
 *
 * No MR goes as long as one is on it. Those of type 1 are bound to nothing
 * before it goes and to what is left of the region when it is back, with the
 * key that their peers know, by a QP pair of ours (window/window_bind.h). What
 * still blocks the MR then is severed: another window takes its place in the
 * program's struct ibv_mw. One after another, until the MR can go: a window of
 * type 2 may have been invalidated, which nobody sees.
 */
#include <string.h>

#include "clock.h"
#include "gate/gate_window.h"
#include "log.h"
#include "pinned_parts.h"
#include "reason.h"
#include "stats.h"
#include "window/window_parts.h"
#include "window/window_test.h"

/* A device that is asked has so long at least; it needs microseconds. */
#define LEAST_NS 100000000LL

static bool is_bindable(const struct pinned *pinned)
{
	return pinned->access & IBV_ACCESS_MW_BIND;
}

int pinned_promise(struct pinned *pinned, struct ibv_mr *mr)
{
	int r;

	if (pinned_is_programs(pinned))
		return 0;
	r = gate_key_promise(pinned->context, pinned->seen->mr.lkey,
			     mr ? mr->lkey : 0);
	if (r)
		return r;
	return gate_mr_promise(pinned->context, &pinned->seen->mr, mr,
			       is_bindable(pinned));
}

bool pinned_windows_test(const struct pinned *pinned, unsigned int access)
{
	struct window_verdict verdict;

	if (!(access & IBV_ACCESS_MW_BIND))
		return false;
	window_verdict_get(&pinned->real->table, pinned->context->device,
			   &verdict);
	if (!verdict.is_right)
		log_write(LOG_INFO,
			  "%s: windows that the program binds to a pinned "
			  "region are severed when others want the file: %s",
			  pinned->context->device->name, verdict.seen);
	return verdict.is_right;
}

void pinned_windows_leave(struct pinned *pinned)
{
	gate_mr_forget(pinned->context, &pinned->seen->mr);
	if (pinned->binder)
		window_pd_put(pinned->binder);
	pinned->binder = NULL;
}

static int bind(struct pinned *pinned, const struct gate_window *window,
		uint64_t length, int64_t until_ns)
{
	const struct window_range range = {
		.mr = pinned->mr,
		.addr = window->addr,
		.length = length,
		.access = length ? window->access : 0,
	};

	if (!pinned->binder)
		pinned->binder = window_pd_get(pinned->real, pinned->pd);
	if (!pinned->binder)
		return reason_set(-ENOMEM, "no memory");
	return window_pd_bind(pinned->binder, window->mw, &range, until_ns);
}

/* A pair of their PD's is the same for all who need one now. */
void pinned_windows_forgive(struct pinned *pinned)
{
	if (pinned->binder && window_pd_is_dead(pinned->binder)) {
		window_pd_put(pinned->binder);
		pinned->binder = NULL;
	}
	if (pinned->keeps_windows && !pinned->binder)
		pinned->binder = window_pd_get(pinned->real, pinned->pd);
}

static int64_t until(struct pinned *pinned)
{
	int64_t least_ns = clock_now_ns() + LEAST_NS, deadline_ns;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	deadline_ns = pinned->deadline_ns;
	pinned_lock_give(&locked);
	return deadline_ns > least_ns ? deadline_ns : least_ns;
}

/* Where the device says no they go another way. */
static int unbind(struct pinned *pinned)
{
	struct gate_window *window = NULL;
	int64_t until_ns = until(pinned);
	int r = 0;

	while (!r && (window = gate_window_next(&pinned->seen->mr,
						GATE_WINDOW_ON, window))) {
		if (window->type != IBV_MW_TYPE_1)
			continue;
		r = bind(pinned, window, 0, until_ns);
		if (!r)
			gate_window_set(window, GATE_WINDOW_OFF);
	}
	if (window)
		gate_window_unuse(window);
	return r;
}

static void note(struct pinned_lost *lost, uint32_t before, uint32_t after)
{
	if (lost->count < PINNED_LOST_NAMED) {
		lost->named[lost->count].before = before;
		lost->named[lost->count].after = after;
	}
	lost->count++;
}

/* What is left of dereg_mr()'s result r after those in that state are gone. */
static int sever(struct pinned *pinned, enum gate_window_state state, int r,
		 struct pinned_lost *lost)
{
	struct gate_window *window = NULL;
	uint32_t before, after;

	while (r &&
	       (window = gate_window_next(&pinned->seen->mr, state, window))) {
		before = window->mw->rkey;
		if (gate_window_replace(window, &after))
			continue;
		note(lost, before, after);
		r = pinned->real->dereg_mr(pinned->mr);
	}
	if (window)
		gate_window_unuse(window);
	return r;
}

/*
 * What is left of dereg_mr()'s result r when the program has freed what it was
 * just freeing: no other window has to go for that.
 */
static int settled_dereg_mr(struct pinned *pinned, int r)
{
	if (!r)
		return 0;
	gate_windows_settle(&pinned->seen->mr);
	return pinned->real->dereg_mr(pinned->mr);
}

/* Who was asked, and said nothing, has done it all the same, if late. */
static void note_unbound(struct pinned *pinned)
{
	struct gate_window *window = NULL;

	while ((window = gate_window_next(&pinned->seen->mr, GATE_WINDOW_ON,
					  window)))
		if (window->type == IBV_MW_TYPE_1)
			gate_window_set(window, GATE_WINDOW_OFF);
}

int pinned_dereg_mr(struct pinned *pinned, struct pinned_lost *lost)
{
	bool is_silent = pinned->keeps_windows && unbind(pinned);
	int r;

	lost->are_silent |= is_silent;
	r = settled_dereg_mr(pinned, pinned->real->dereg_mr(pinned->mr));
	r = sever(pinned, GATE_WINDOW_ON, r, lost);
	r = sever(pinned, GATE_WINDOW_OFF, r, lost);
	r = sever(pinned, GATE_WINDOW_PAST, r, lost);
	r = settled_dereg_mr(pinned, r);
	if (!r && is_silent)
		note_unbound(pinned);
	if (!r)
		gate_windows_gone(&pinned->seen->mr);
	return r;
}

/* How much of what it was bound to is there. */
static uint64_t left_of(const struct pinned *pinned,
			const struct gate_window *window)
{
	uint64_t end = pinned->iova + pinned->mr->length;

	if (window->addr >= end)
		return 0;
	return window->length < end - window->addr ? window->length
						   : end - window->addr;
}

/*
 * It may be on the MR all the same, if late: so it is bound to nothing once
 * more before that goes. Whether this is the first time.
 */
static bool stays_away(struct pinned *pinned, struct gate_window *window)
{
	bool is_first = !window->is_severed;

	log_try_write(LOG_WARN,
		      "%s: it is back, and the program's window with rkey %#x "
		      "is severed: it stays bound to nothing, %s",
		      pinned->file.name, window->mw->rkey, reason_text());
	gate_window_set(window, GATE_WINDOW_ON);
	window->is_severed = true;
	return is_first;
}

static void count_severed(struct pinned *pinned, unsigned int severed)
{
	if (!severed)
		return;
	pinned_count(pinned, severed, 0);
	stats_device_count(pinned->context->device->name, STATS_SEVERED,
			   severed);
	pinned_tell(pinned, PINNED_SEVERED, 0, 0);
}

void pinned_windows_bind(struct pinned *pinned)
{
	int64_t until_ns = clock_now_ns() + pinned->quiesce_ns;
	struct gate_window *window = NULL;
	unsigned int severed = 0;
	uint64_t left;

	while ((window = gate_window_next(&pinned->seen->mr, GATE_WINDOW_OFF,
					  window))) {
		left = left_of(pinned, window);
		if (!left) {
			log_try_write(LOG_WARN,
				      "%s: it is back, and the program's "
				      "window with rkey %#x stays bound to "
				      "nothing: what it was on is not there "
				      "any more",
				      pinned->file.name, window->mw->rkey);
		} else if (bind(pinned, window, left, until_ns)) {
			severed += stays_away(pinned, window);
		} else {
			gate_window_set(window, GATE_WINDOW_ON);
			window->is_severed = false;
		}
	}
	count_severed(pinned, severed);
}
