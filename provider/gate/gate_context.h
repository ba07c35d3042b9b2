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

struct gate {
	struct ibv_context *context;
	struct ibv_pd *pd;
	uint32_t pd_handle;
	struct gate_verbs verbs;
	gate_post_send_fn post_send;
	gate_bind_mw_fn bind_mw;
	uint64_t number;
	/* its drain is still to wait for all that polls now */
	bool waits_for_polls;
	int64_t closed_ns; /* when it was */
	struct gate *next;
};

/* From now on a post within a poll waits as any other. */
void gate_polls_are_over(struct gate *gate);

/* NULL: not attached. */
struct gate_context *
gate_context_find_locked(const struct ibv_context *context);

/* Attached, and of the provider with this function. */
bool gate_context_is_of_locked(const struct ibv_context *context,
			       gate_post_send_fn post_send);

struct gate_qp;
bool gate_has_qp_locked(const struct gate *gate, const struct gate_qp *record);

#endif
