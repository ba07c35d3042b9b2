/* SPDX-License-Identifier: BSD-2-Clause */
/* Who sleeps in a view that shows another file now: swap_sleepers.h. */
#include <errno.h>

#include "fill.h"
#include "reason.h"
#include "sleepers.h"
#include "swap_sleepers.h"

struct waking {
	const struct swap *swap;
	enum swap_side side;
};

/* NULL: it sleeps elsewhere. */
static const struct swap_view *view_of(const struct swap *swap,
				       const struct sleeper *sleeper)
{
	for (unsigned int i = 0; i < swap->count; i++) {
		const struct mapping *place = &swap->views[i].state.mapping;

		if (sleeper->addr >= place->start && sleeper->addr < place->end)
			return &swap->views[i];
	}
	return NULL;
}

int swap_sleepers_refuse(const struct sleeper *sleeper)
{
	return reason_set(-EOPNOTSUPP,
			  "thread %d waits for a process-shared mutex in the "
			  "range that hands on priorities "
			  "(PTHREAD_PRIO_INHERIT), and would never be woken: "
			  "do it while none waits, or keep the mutex elsewhere",
			  (int)sleeper->tid);
}

static int refuse_pi(const struct sleeper *sleeper, void *arg)
{
	return sleeper->is_pi && view_of(arg, sleeper)
		       ? swap_sleepers_refuse(sleeper)
		       : 0;
}

static int wake(const struct sleeper *sleeper, void *arg)
{
	const struct waking *waking = arg;
	const struct swap *swap = waking->swap;
	const struct swap_view *view = view_of(swap, sleeper);
	uint64_t within;

	if (!view)
		return 0;
	within = sleeper->addr - view->state.mapping.start;
	if (waking->side == SWAP_FILE)
		sleepers_wake(swap->file_fd,
			      view->state.mapping.offset + within);
	else
		sleepers_wake(swap->shadow_fd,
			      fill_offset(swap, view) + within);
	return 0;
}

static int refuse_or_wake(const struct sleeper *sleeper, void *arg)
{
	const struct waking *waking = arg;

	return sleeper->is_pi ? refuse_pi(sleeper, (void *)waking->swap)
			      : wake(sleeper, arg);
}

/* Where they cannot be seen they are not: daxmr(7). */
static int refusal(int r)
{
	return r == -EOPNOTSUPP ? r : 0;
}

int swap_sleepers_check(const struct swap *swap)
{
	return swap->is_alone ? 0
			      : refusal(sleepers_each(SLEEPERS_TRAPPED,
						      refuse_pi, (void *)swap));
}

int swap_sleepers_check_and_wake(const struct swap *swap, enum swap_side side)
{
	struct waking waking = {swap, side};

	return swap->is_alone ? 0
			      : refusal(sleepers_each(SLEEPERS_TRAPPED,
						      refuse_or_wake, &waking));
}

void swap_sleepers_wake(const struct swap *swap, enum swap_side side,
			enum sleepers_memory memory)
{
	struct waking waking = {swap, side};

	if (!swap->is_alone)
		sleepers_each(memory, wake, &waking);
}
