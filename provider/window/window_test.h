/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does a memory window of this device do what a region needs whose keys are to
 * stay (window.h)? A capability bit is no proof: rxe looks at no bounds of a
 * window, only at those of its MR.
 *
 * In a context and PD of our own a window is bound, written and read through,
 * bound to a shorter MR with the same key, which is on other memory by the same
 * address (window_view_map()), accessed inside and beyond of that,
 * bound to nothing, and bound to all again. Its MRs have to go when it has left
 * them, and every byte is looked at. What the limits are for the length of a
 * window is not tested: that takes memory.
 */
#ifndef DAXMR_WINDOW_TEST_H
#define DAXMR_WINDOW_TEST_H

#include <stdbool.h>

#include "verbs_table.h"

struct window_verdict {
	bool is_right;
	bool has_atomics; /* through a window */
	unsigned int time_us;
	/* one sentence: what was seen, or why nothing could be */
	char seen[320];
};

/*
 * Never fails: what goes wrong is not right. Runs in a thread of its own, for
 * which the caller waits, keeps errno. Milliseconds.
 */
void window_test(const struct verbs_table *verbs, struct ibv_device *device,
		 struct window_verdict *ret);

/*
 * The verdict, tested once per process and coming of the device. One that is
 * not right is tried again after a second: a port may come up. Not to be
 * called with a lock held.
 */
void window_verdict_get(const struct verbs_table *verbs,
			struct ibv_device *device, struct window_verdict *ret);

#endif
