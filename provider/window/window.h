/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * on_shrink=error: staged regions of which peers reach what is in the file, and
 * no byte more, by a key that stays.
 *
 *   the program's lkey --> its MR, on all of the shadow ---------------+
 *                            ^                                         |
 *   rkey: a window's --------+  while all of the region is in the file |
 *      of type 1, ours       |                                         |
 *                            +--> a shorter MR, where others have cut -+
 *                                 the file off: up to its new end
 *                                 (no end: the window is on nothing)
 *
 * The program's struct ibv_mr is the provider's own, registered with what its
 * own posts need and nothing that a peer could use; its rkey is the window's.
 * When the file is cut off by anybody, the window is bound to less, with the
 * same key: a peer's access beyond the end fails as it does with on-demand
 * paging (remote access error, its QP is in ERR), inside it goes on. When the
 * file has grown, and what is there has been merged, the window is bound to
 * more: the same rkey reaches it again. Ends are those of whole pages, as with
 * on-demand paging. Where that cannot be followed, or not be seen, peers reach
 * nothing, and the log and the ear are told.
 *
 * The shorter MR is made at any later time, when the program may have anything
 * else at its addresses: it is on a mapping of ours of the same shadow, which
 * is there as long as the window. It counts as locked memory once more.
 *
 * What peers write between the moment that the file is cut off and the bind
 * (the file's lease is back then, or it is looked at again while others have
 * it, after 10 ms first) becomes zeroes in the shadow after the bind, and is
 * never written to the file. What the program does by itself beyond the end, by
 * its stores and its own work by the lkey, which no window is in the way of,
 * fails nowhere: it is never written to the file either, and counted
 * (RECALL_DROPPED).
 *
 * A window is bound through a QP pair of ours in the program's PD, which goes
 * with the last region there. A device that does not answer there is not asked
 * again: the windows go when they are to be on less. Verbs need the program's
 * descriptors, so a thread of ours in its table does the work: made with the
 * first region, all signals blocked. It does not count as one of the program's
 * (aside.h).
 *
 * A forked child can deregister what its parent registered, and nothing else
 * happens there.
 */
#ifndef DAXMR_WINDOW_H
#define DAXMR_WINDOW_H

#include <stdbool.h>

#include "quiet.h"
#include "region.h"
#include "stage.h"
#include "window_key.h"

struct window;

/*
 * Peers may reach the region, and its file's lease has on_shrink=error. NULL:
 * it is on no file.
 */
bool window_is_due(const struct stage *stage, unsigned int access);

/*
 * Whether it is due: 1, or 0; or -errno with a sentence (reason.h), and the
 * region cannot be had so: -EOPNOTSUPP  the device has no windows, or ones that
 * do not what they should (window_test.h), or not for these access flags; it is
 *                not one piece of one file; its iova is not its address
 * May run the test, so it is not to be called with a lock held.
 */
int window_is_wanted(const struct region_call *call, const struct stage *stage);

/*
 * mr is one of window_mr_access() (window_key.h). Its rkey is the window's from
 * now on. 0; or -errno with a sentence: -EOPNOTSUPP the device takes no such
 * window (mostly 2 GiB), -ENOMEM also where the memory could not be locked once
 * more, those of making QPs.
 */
int window_open(const struct region_call *call, const struct stage *stage,
		struct ibv_mr *mr, struct window **ret);

/* Before its MR is deregistered: has the rkey that its provider gave it. */
void window_close(struct window *window);

/*
 * Who is told that peers reach nothing of the region, because its window could
 * not follow the end of the file, and why; -EBUSY: not even that could be had,
 * they reach what they reached before. Once, and at once where that has been
 * so. By a thread that has a lock then: he must not wait. NULL: nobody is being
 * told when this returns.
 */
struct window_ear {
	void (*tell)(struct window_ear *ear, int error);
};
void window_listen(struct window *window, struct window_ear *ear);

/* What a thread of the program was before it heard no signal (quiet.h). */
struct window_still {
	bool is_still;
	struct still before;
};

/*
 * Around what may ask whether the program has one thread (aside.h): ours is at
 * rest. Not by that thread. Where there is one the caller hears no signal and
 * is not cancelled until it resumes: a handler might wait for it.
 */
void window_pause(struct window_still *ret);
void window_resume(const struct window_still *still);

/*
 * The program has cut the file off, or let it grow, by itself: its windows have
 * followed when this returns, but where a device does not answer, or somebody
 * has paused for long. To be called when nothing of the program's is announced
 * (own.h): who has paused may wait for that.
 */
void window_own_end(dev_t dev, ino_t ino);

/* Before ibv_close_device(): what the program has not deregistered goes. */
void window_context_closing(const struct ibv_context *context);

#endif
