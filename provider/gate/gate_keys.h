/* SPDX-License-Identifier: BSD-2-Clause */
/* lkeys as the program knows them, and as the device does (gate.h). */
#ifndef DAXMR_GATE_KEYS_H
#define DAXMR_GATE_KEYS_H

#include "gate_post.h"

typedef int (*gate_post_recv_fn)(struct ibv_qp *qp, struct ibv_recv_wr *wr,
				 struct ibv_recv_wr **bad_wr);
typedef int (*gate_post_srq_recv_fn)(struct ibv_srq *srq,
				     struct ibv_recv_wr *wr,
				     struct ibv_recv_wr **bad_wr);

/* lkey itself if it is not promised. No lock. */
uint32_t gate_key_actual(const struct ibv_context *context, uint32_t lkey);

/*
 * A post with the lkeys of the device, and the MRs that windows are bound to
 * (gate_window.h), in copies: the WRs are the program's.
 */
int gate_send_translated(gate_post_send_fn original, struct ibv_qp *qp,
			 struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);

void gate_set_sge_list_translated(gate_set_sge_list_fn original,
				  struct ibv_qp_ex *qp, size_t count,
				  const struct ibv_sge *sges);

/* Whether posts and receives of the context are translated. 0, -ENOSPC. */
struct gate_context;
int gate_translate_locked(struct gate_context *context);
void gate_untranslate_locked(struct gate_context *context, bool is_last);

/* What of the context is still promised decides what its posts have to do. */
void gate_keys_look_again_locked(const struct ibv_context *context);

/* A context that is closed, before its record goes. */
void gate_keys_forget_locked(const struct ibv_context *context);

#endif
