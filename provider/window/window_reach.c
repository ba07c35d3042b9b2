/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far peers reach a region: one look at its file (window.h).
 *
 * Where a bind fails, or there is no MR to be had for less than before, peers
 * reach nothing, until a later look can do better. Where not even that can be
 * bound the window goes, and its key with it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "leases.h"
#include "log.h"
#include "own.h"
#include "reason.h"
#include "stage_limits.h"
#include "window_parts.h"

_Atomic int64_t window_patience_ns = (int64_t)WINDOW_PATIENCE_NS;

/* How often reports that come meanwhile, of flushes too, may spoil a look. */
#define LOOKS 8

/* *is_ours: nobody else had the file from before the look until after it. */
static int see_size(struct lease *lease, uint64_t *ret, bool *is_ours)
{
	uint64_t reports;
	bool is_held;
	int r, looks = 0;

	do {
		reports = lease_reports(lease);
		is_held = lease_state(lease) == RECALL_HELD;
		r = lease_size(lease, ret);
		is_held = is_held && lease_state(lease) == RECALL_HELD;
		*is_ours = is_held && lease_reports(lease) == reports;
	} while (!r && is_held && !*is_ours && ++looks < LOOKS);
	return r;
}

/* So much of the region is in the file, or may be reached already. */
static int find_end(struct window *window, size_t *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), size;
	bool is_ours;
	int r = see_size(window->lease, &size, &is_ours);

	if (r)
		return r;
	size = (size + page - 1) & ~(page - 1);
	*ret = size > window->offset ? size - window->offset : 0;
	if (*ret > window->length)
		*ret = window->length;
	/* What others have put there is in the shadow when it is merged. */
	if (*ret > window->end && !is_ours)
		*ret = window->end;
	return 0;
}

static int register_shorter(const struct window *window, size_t end,
			    struct ibv_mr **ret)
{
	int error;

	errno = 0;
	*ret = window->key.real->table.reg_mr_iova2(
		window->key.pd, window->view.start, end, window->addr,
		window->access);
	if (*ret)
		return 0;
	error = errno ? -errno : -EIO;
	if (error == -ENOMEM && stage_limits_check_again(end))
		return error;
	return reason_set(error, "%zu bytes of it cannot be registered: %s",
			  end, strerrordesc_np(-error));
}

/* What comes last has a moment in any case: nothing else may be left then. */
static int64_t bind_until(const struct window *window)
{
	int64_t least_ns = clock_now_ns() + window_patience_ns / 10;

	return window->until_ns > least_ns ? window->until_ns : least_ns;
}

static int bind_to(struct window *window, struct ibv_mr *mr, size_t end)
{
	int r = window_key_bind(&window->key, mr, window->addr, end,
				bind_until(window));

	if (!r)
		window->end = end;
	return r;
}

/* What the window is on no more. */
static void drop_shorter(struct window *window, struct ibv_mr *mr)
{
	if (mr && window->key.real->table.dereg_mr(mr))
		log_write(LOG_WARN,
			  "an MR of %zu bytes that no window is on any more "
			  "does not go: %s",
			  mr->length, strerrordesc_np(errno));
	window_view_keep(&window->view);
}

/* Of an error, which is this thread's sentence all the while. */
static void reach_nothing(struct window *window)
{
	struct ibv_mr *before = window->shorter;
	char why[REASON_MAX];

	strcpy(why, reason_text());
	if (!window_key_clear(&window->key, window->mr, window->addr,
			      bind_until(window))) {
		window->end = 0;
		window->shorter = NULL;
		drop_shorter(window, before);
	}
	reason_set(-EIO, "%s", why);
}

/*
 * From `end` of the region on nothing, up to there all, at once. Where no
 * memory can be pinned for the next one before the last one is gone, there is a
 * moment in between in which it is nothing.
 */
static int reach(struct window *window, size_t end)
{
	bool is_all = end == window->length;
	struct ibv_mr *shorter = NULL, *before = window->shorter;
	int r;

	/* As it is nobody reaches too much. */
	if (end > window->end && window_pd_is_dead(window->key.binder))
		return reason_set(-ETIMEDOUT,
				  "the device has not answered before");
	r = end && !is_all ? register_shorter(window, end, &shorter) : 0;
	if (r == -ENOMEM && before) {
		reach_nothing(window);
		if (!window->key.mw)
			return -EIO;
		before = window->shorter;
		r = register_shorter(window, end, &shorter);
	}
	if (r) {
		if (end < window->end)
			reach_nothing(window);
		return r;
	}
	r = bind_to(window, shorter ? shorter : window->mr, end);
	if (!r) {
		window->shorter = shorter;
		drop_shorter(window, before);
		return 0;
	}
	reach_nothing(window);
	drop_shorter(window, shorter);
	return r;
}

/*
 * What peers have written beyond the end before the bind is nobody's: zeroes,
 * as what was cut off itself. By a change of the program's own that is none,
 * for which the keeper stands still, and after which shadows follow the file.
 */
static void clear_tail(const struct window *window)
{
	struct lease_engine *engine = leases_engine();
	struct own own;
	dev_t dev;
	ino_t ino;

	if (!engine)
		return;
	lease_file(window->lease, &dev, &ino);
	own_begin(engine, dev, ino, KEEPER_OWN_CHANGE, &own);
	own.effect = OWN_RESIZED;
	own_end(&own);
}

/*
 * A moment of it may be a keeper that takes over from one that died; later the
 * file may be of any length.
 */
static bool has_lost_sight(struct window *window)
{
	int64_t now_ns = clock_now_ns();

	if (!window->blind_ns)
		window->blind_ns = now_ns;
	return now_ns - window->blind_ns >= window_patience_ns / 10;
}

/* Peers should have reached it up to `end`. */
static enum window_trouble trouble_of(const struct window *window, int error,
				      size_t end)
{
	if (!error)
		return WINDOW_FINE;
	if (!window->key.mw)
		return WINDOW_GONE;
	if (window->end > end)
		return WINDOW_STUCK;
	return window->end ? WINDOW_BEHIND : WINDOW_NOTHING;
}

/*
 * Whether it is another trouble than before. Who does not listen yet is told
 * when he does.
 */
static bool set_trouble(struct window *window, enum window_trouble trouble,
			int error)
{
	struct window_still locked;
	bool is_new;

	if (trouble < WINDOW_NOTHING)
		error = 0;
	else if (trouble == WINDOW_STUCK)
		error = -EBUSY;
	else if (error == -EBUSY) /* which says something else */
		error = -EIO;
	window_lock_take(&locked);
	is_new = window->trouble != trouble;
	window->trouble = trouble;
	window->error = error;
	if (is_new && error && window->ear)
		window->ear->tell(window->ear, error);
	window_lock_give(&locked);
	return is_new;
}

static void complain(const struct window *window, enum window_trouble trouble)
{
	static const char *const outcomes[] = {
		[WINDOW_BEHIND] = "they reach no more than before, "
				  "it is tried again",
		[WINDOW_NOTHING] = "they reach nothing, it is tried again",
		[WINDOW_GONE] = "they reach nothing, its key is gone: register "
				"it again",
		[WINDOW_STUCK] = "they may still reach what they reached "
				 "before, also beyond the end: deregister it",
	};

	log_write(LOG_ERROR,
		  "how far peers reach %zu bytes at %#llx on %s (rkey %#x) "
		  "cannot follow the end of the file: %s; %s",
		  window->length, (unsigned long long)window->addr,
		  window->key.pd->context->device->name, window->key.rkey,
		  reason_text(), outcomes[trouble]);
}

bool window_look(struct window *window)
{
	size_t before = window->end, end = before;
	enum window_trouble trouble;
	bool is_sure;
	int r;

	if (!window->key.mw)
		return true;
	window->until_ns = clock_now_ns() + window_patience_ns;
	r = find_end(window, &end);
	is_sure = !r || has_lost_sight(window);
	if (!r)
		window->blind_ns = 0;
	else if (is_sure)
		end = 0;
	if (r && end != before)
		reach_nothing(window);
	else if (end != before)
		r = reach(window, end);
	trouble = is_sure ? trouble_of(window, r, end) : WINDOW_BEHIND;
	if (set_trouble(window, trouble, r) && trouble != WINDOW_FINE)
		complain(window, trouble);
	if (window->end != before)
		log_write(LOG_INFO,
			  "peers reach %zu of %zu bytes at %#llx on %s, rkey "
			  "%#x",
			  window->end, window->length,
			  (unsigned long long)window->addr,
			  window->key.pd->context->device->name,
			  window->key.rkey);
	if (window->end < before)
		clear_tail(window);
	return !window->key.mw || (!r && window->end == window->length &&
				   lease_state(window->lease) == RECALL_HELD);
}
