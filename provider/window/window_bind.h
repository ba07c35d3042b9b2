/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Binding memory windows of type 1, with a key that stays.
 *
 * ibv_bind_mw() gives a window a new key each time. The work request that it
 * is made of takes any key, the old one too: a window that is bound is bound to
 * something else, and who goes on using its rkey reaches that. A bind has to go
 * through a QP of the PD that the window is of; it is a pair of ours, connected
 * to each other and used for nothing else.
 *
 * A loop (trust_loop.h) in a PD that is somebody else's.
 */
#ifndef DAXMR_WINDOW_BIND_H
#define DAXMR_WINDOW_BIND_H

#include "trust_loop.h"

/*
 * 0, or -errno and the loop's reason. Sends nothing. A loop that is all zeroes,
 * or could not be opened, can be closed. The device is one of which there are
 * loops: window_test.h knows.
 */
int window_loop_open(struct loop *loop, const struct verbs_table *verbs,
		     struct ibv_pd *pd);
void window_loop_close(struct loop *loop);

/* Of one work request. Nobody waits for it but who has to. */
#define WINDOW_PATIENCE_NS 10000000000ULL

/* What a window lets peers reach; a length of 0: nothing. */
struct window_range {
	struct ibv_mr
		*mr; /* any of the PD with IBV_ACCESS_MW_BIND, never NULL */
	uint64_t addr;
	uint64_t length;
	unsigned int access; /* IBV_ACCESS_REMOTE_* */
};

/*
 * From now on the window, whose key stays, is on that. 0; -EIO, with the loop's
 * reason: the device says no; -ETIMEDOUT: it says nothing; errors of
 * ibv_post_send(). What becomes of the window is known only where it is 0.
 */
int window_bind(struct loop *loop, const struct ibv_mw *mw,
		const struct window_range *range, uint64_t patience_ns);

/*
 * One work request through the pair: 0 and how it has ended. After one that
 * has not succeeded the pair is another. -ETIMEDOUT, or errors of
 * ibv_post_send() and of making the pair.
 */
int window_run(struct loop *loop, struct ibv_send_wr *wr, uint64_t patience_ns,
	       enum ibv_wc_status *ret_status);

#endif
