/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loopback of the trust test: a context, a PD and QPs of our own, through
 * which a device sends to itself.
 *
 *	loop (context, PD, CQ, port and address)
 *	  +-- link RC       a ----> b
 *	  +-- link RC_SRQ   a ----> b, b receives through an SRQ
 *	  +-- link UD, UD_SRQ, UC
 *
 * A link is made when it is asked for, and unmade when another is. One on which
 *anything went wrong is unmade, and made anew for what comes next: its QPs are
 *in the error state.
 *
 * Nothing here waits without a deadline: neither for one batch nor in total.
 * Everything that was made is unmade by loop_close(), whatever failed before.
 * What failed is told as a sentence in reason; the first one stays.
 */
#ifndef DAXMR_ODP_TRUST_LOOP_H
#define DAXMR_ODP_TRUST_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "caps.h"
#include "verbs_table.h"

enum link_type {
	LINK_RC,
	LINK_RC_SRQ,
	LINK_UD,
	LINK_UD_SRQ,
	LINK_UC,
	LINK_COUNT,
};

/* Work requests that a link takes at once, on each of its queues. */
#define LOOP_DEPTH 16
/* Scatter/gather elements of one, at most; a device may have fewer. */
#define LOOP_SGES 4

#define LOOP_QKEY 0x0daf0daf

struct loop_link {
	struct ibv_qp *a;
	struct ibv_qp *b;
	struct ibv_srq *srq; /* of b */
	struct ibv_ah *ah;   /* of UD links: to our own port */
};

/* One way to reach our own port. */
struct loop_address {
	uint8_t is_global;
	uint8_t gid_index;
	union ibv_gid gid;
};

#define LOOP_ADDRESSES 4

struct loop {
	const struct verbs_table *verbs;
	struct ibv_context *context;
	struct ibv_device_attr_ex attr;
	struct odp_caps caps;

	uint8_t port;
	struct ibv_port_attr port_attr;
	struct loop_address address[LOOP_ADDRESSES]; /* the likeliest first */
	unsigned int addresses;
	unsigned int used_address;

	unsigned int sges; /* per work request */

	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct loop_link link[LINK_COUNT];

	uint64_t start_ns;
	uint64_t deadline_ns; /* of all */
	uint64_t patience_ns; /* for one batch; the caller sets it */
	uint32_t batch;	      /* tells completions of earlier batches apart */

	char reason[200];
};

/* One completion that was waited for, or the lack of it. */
struct loop_done {
	bool seen;
	struct ibv_wc wc;
};

/*
 * All return 0 or -1, with a reason.
 *
 * loop_open() leaves a loop that loop_close() takes, also when it fails. It
 * does not send anything: whether an address works shows the first transfer.
 */
int loop_open(struct loop *loop, const struct verbs_table *verbs,
	      struct ibv_device *device, uint64_t total_ns);
void loop_close(struct loop *loop);

int loop_link(struct loop *loop, enum link_type type);
void loop_unlink(struct loop *loop, enum link_type type);

/*
 * Work requests and their completions: the WR number i of a batch has
 * wr_id = loop_wr_id(loop, receive, i). loop_wait() collects those of the
 * current batch, numbers [first, end), into the arrays; receives says whether
 * there are any. At most patience_ns long; -1 also where one has an error.
 */
void loop_new_batch(struct loop *loop);
uint64_t loop_wr_id(const struct loop *loop, bool receive, unsigned int i);
int loop_wait(struct loop *loop, struct loop_done *sent,
	      struct loop_done *received, unsigned int first, unsigned int end,
	      bool receives);

/* Sets the reason where there is none yet; err > 0 adds its meaning. Gives -1.
 */
int loop_fail(struct loop *loop, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same where memory is locked: ENOMEM may be a limit, and says so. */
int loop_fail_pinned(struct loop *loop, int err, const char *what);

uint64_t loop_now_ns(void);

#endif
