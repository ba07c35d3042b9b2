/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Binds of windows on their way from the program to its provider, and the
 * functions that take the place of the provider's for that (gate_window.h).
 */
#ifndef DAXMR_GATE_BIND_H
#define DAXMR_GATE_BIND_H

#include <stdbool.h>

#include <infiniband/verbs.h>

#include "gate_post.h"

typedef int (*gate_bind_mw_fn)(struct ibv_qp *qp, struct ibv_mw *mw,
			       struct ibv_mw_bind *bind);
typedef int (*gate_dealloc_mw_fn)(struct ibv_mw *mw);
typedef void (*gate_wr_bind_mw_fn)(struct ibv_qp_ex *qp, struct ibv_mw *mw,
				   uint32_t rkey,
				   const struct ibv_mw_bind_info *info);

struct gate_window;

/* One bind between the two: inside a post. */
struct gate_binding {
	struct ibv_mw_bind_info info; /* for the provider */
	const struct ibv_mr *seen;    /* NULL: no region of ours */
	struct gate_window *spare;
};

/* 0; or ENOMEM, and there is nothing to end. */
int gate_binding_begin(struct gate_binding *binding,
		       const struct ibv_mw_bind_info *info);
/* is_posted: the provider has taken it. */
void gate_binding_end(struct gate_binding *binding, struct ibv_mw *mw,
		      bool is_posted);

/* wr_bind_mw of a batch. */
void gate_batch_bind(gate_wr_bind_mw_fn original, struct ibv_qp_ex *qp,
		     struct ibv_mw *mw, uint32_t rkey,
		     const struct ibv_mw_bind_info *info);

/* The program frees it. If the provider says no its records stay. */
int gate_window_dealloc(gate_dealloc_mw_fn original, struct ibv_mw *mw);

/* ops.bind_mw and ops.dealloc_mw of a context. 0, -ENOSPC. */
struct gate_context;
int gate_bind_patch_locked(struct gate_context *context);
void gate_bind_unpatch_locked(struct ibv_context *context);

/* Whether posts of the provider with this function are looked at for binds. */
bool gate_windows_are_bindable_locked(gate_post_send_fn post_send);

/* A context that is closed. In a child after fork: nobody uses any. */
void gate_windows_forget_locked(const struct ibv_context *context);
void gate_windows_in_child_locked(void);

#endif
