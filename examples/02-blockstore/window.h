/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A window and its registered memory. All that the server has to do with daxmr
 * is in window.c.
 *
 *   index   its peer may read it; the server writes it
 *   data    its peer may read and write it
 *
 * Each window has a protection domain of its own: no peer reaches another's,
 * whatever keys it guesses. All are registered before the first client comes,
 * and stay: who connects waits for no copy, nor for somebody who has the file.
 *
 * When the file has another size the data are registered a second time, as far
 * as they reach now. The peer is told, and once it goes by the new key the old
 * registration ends (window_retire()): its connection sees nothing of it.
 */
#ifndef WINDOW_H
#define WINDOW_H

#include <daxmr.h>
#include <infiniband/verbs.h>

#include "store.h"
#include "wire.h"

struct window {
	struct store *store;
	struct daxmr_channel *channel;
	struct ibv_pd *pd;
	struct daxmr_region *index;
	struct daxmr_region *data; /* NULL: no blocks */
	struct daxmr_region *old;  /* its peer may still go by this one */
	uint32_t number;
	uint32_t blocks;
	uint32_t shape; /* counts what its peer is to be told */
	/* Of this shape's registration: */
	uint32_t failures;
	int64_t retry_at_ms; /* not before */
	/* Since its peer went by another shape: */
	uint32_t kept;	  /* so many blocks were there all the time */
	bool is_doubtful; /* bytes that it had written may have been cut off */
};

/* 0, or -errno and a sentence. */
int window_open(struct window *window, struct store *store, uint32_t number,
		struct ibv_context *context, struct daxmr_channel *channel);
void window_close(struct window *window);

/*
 * After store_look(), while the file is ours: it has another shape. Blocks that
 * have been cut off are empty, also where the file has grown back, and so are
 * all behind the first of them: that is what the peer is told.
 */
void window_look(struct window *window);
/*
 * Registers what it reaches now. 0; -EAGAIN: not now, as others have the file,
 * or the peer still goes by the old registration, or it failed: then it is said
 * once, and tried again after a pause that doubles, from 200 ms to 30 s.
 */
int window_fit(struct window *window);
/* The old registration ends: nobody goes by it. */
void window_retire(struct window *window);
/* Its peer, who is there, goes by the present shape. */
void window_settle(struct window *window);
void window_describe(const struct window *window, struct wire_window *ret);

/* False while others have the file, or want it: nothing is to be committed. */
bool window_is_ours(const struct window *window);

/*
 * The blocks are what was written to their free slots, and durable: 0. Or
 * nothing has changed:
 *   -ENOSPC  they are not in the window, or have been cut off since they were
 *            written
 *   -ESTALE  the words don't follow those that are in the index
 *   -EINVAL  no blocks, or too many
 *   -EOVERFLOW  a block has been committed 2^32 - 1 times: it stays as it is
 *   -EAGAIN  not now: again when an event has come
 *   others of daxmr_flush()
 */
int window_commit(struct window *window, const struct wire_commit *commit);

#endif
