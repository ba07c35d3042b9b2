/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The functions that take the place of the provider's in contexts and in
 * ibv_qp_ex. Which provider's they stand for is known from the function alone:
 * there is one of each for every slot, and a provider has a slot.
 */
#ifndef DAXMR_GATE_POST_H
#define DAXMR_GATE_POST_H

#include <stdbool.h>

#include <infiniband/verbs.h>

typedef int (*gate_post_send_fn)(struct ibv_qp *qp, struct ibv_send_wr *wr,
				 struct ibv_send_wr **bad_wr);
typedef void (*gate_wr_fn)(struct ibv_qp_ex *qp);
typedef int (*gate_wr_complete_fn)(struct ibv_qp_ex *qp);
typedef void (*gate_set_sge_fn)(struct ibv_qp_ex *qp, uint32_t lkey,
				uint64_t addr, uint32_t length);
typedef void (*gate_set_sge_list_fn)(struct ibv_qp_ex *qp, size_t count,
				     const struct ibv_sge *sges);

/* The slot of a provider's function, found or made; NULL: all are taken. */
gate_post_send_fn gate_post_send_for_locked(gate_post_send_fn original);

/* Whether its posts' lkeys are exchanged, and binds seen (gate_keys.h). */
void gate_post_send_translate_locked(gate_post_send_fn original,
				     bool is_translated);

/* Patches the QP's batch, if it is not. 0, -ENOSPC. */
int gate_batch_patch_locked(struct ibv_qp_ex *qp);
void gate_batch_unpatch_locked(struct ibv_qp_ex *qp);

#endif
