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

static int refuse_pi(const struct sleeper *sleeper, void *arg)
{
	if (!sleeper->is_pi || !view_of(arg, sleeper))
		return 0;
	return reason_set(-EOPNOTSUPP,
			  "thread %d waits for a process-shared mutex in the "
			  "range that hands on priorities "
			  "(PTHREAD_PRIO_INHERIT), and would never be woken: "
			  "do it while none waits, or keep the mutex elsewhere",
			  (int)sleeper->tid);
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

int swap_sleepers_check(const struct swap *swap)
{
	int r = swap->is_alone ? 0 : sleepers_each(refuse_pi, (void *)swap);

	/* Where they cannot be seen they are not: daxmr(7). */
	return r == -EOPNOTSUPP ? r : 0;
}

void swap_sleepers_wake(const struct swap *swap, enum swap_side side)
{
	struct waking waking = {swap, side};

	if (!swap->is_alone)
		sleepers_each(wake, &waking);
}
