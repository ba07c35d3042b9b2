/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known of an attached context, and of a closed gate. With the lock. */
#ifndef DAXMR_GATE_CONTEXT_H
#define DAXMR_GATE_CONTEXT_H

#include "gate.h"
#include "gate_bind.h"
#include "gate_post.h"

struct gate_context {
	struct ibv_context *context;
	struct gate_verbs verbs;
	unsigned int attached;
	gate_post_send_fn post_send; /* the provider's */
	gate_bind_mw_fn bind_mw;     /* the provider's */
	bool is_translated;	     /* gate_keys.h */
	size_t receivers;
	struct gate_context *next;
};

struct drain;

struct gate {
	struct ibv_context *context;
	struct ibv_pd *pd;
	uint32_t pd_handle;
	struct gate_verbs verbs;
	gate_post_send_fn post_send;
	gate_bind_mw_fn bind_mw;
	uint64_t number;
	const struct drain *drain; /* while it waits for polls to end */
	int64_t closed_ns;	   /* when it was */
	struct gate *next;
};

/*
 * Answered by gate_drain.c: the gate's drain waits for all polls to end, and
 * posts a marker on qp then. What is posted within a poll is behind none yet,
 * and waiting here it would hold up what is waited for.
 */
bool gate_drain_is_to_come_locked(const struct gate *gate,
				  const struct ibv_qp *qp);

/* NULL: not attached. */
struct gate_context *
gate_context_find_locked(const struct ibv_context *context);

/* Attached, and of the provider with this function. */
bool gate_context_is_of_locked(const struct ibv_context *context,
			       gate_post_send_fn post_send);

struct gate_qp;
bool gate_has_qp_locked(const struct gate *gate, const struct gate_qp *record);

#endif
