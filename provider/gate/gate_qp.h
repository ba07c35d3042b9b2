/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The QPs that the program has. A record is made when a QP is modified for the
 * first time, and goes with the QP. All of this with the lock (gate_mark.h).
 */
#ifndef DAXMR_GATE_QP_H
#define DAXMR_GATE_QP_H

#include "gate.h"
#include "gate_cm.h"
#include "gate_mark.h"

struct gate_qp {
	struct ibv_qp *qp;
	struct ibv_context *context;
	bool has_pd; /* else any PD's MRs may be its own */
	uint32_t pd_handle;
	uint32_t qp_num;
	enum ibv_qp_type type;
	bool was_ready;	 /* has been in RTS since it was made or reset */
	bool was_live;	 /* could receive or send, since it was made */
	bool is_patched; /* its CQ was looked at (gate_cq_ex.h) */
	bool is_going;	 /* ibv_destroy_qp() has begun: hands off */
	bool is_marked;	 /* a marker was posted since it was made or reset */
	unsigned int directs; /* how often the program got at its rings */
	unsigned int refs;    /* the record's */
	unsigned int uses;    /* the QP's, by calls of ours that end soon */
	uint32_t resets;      /* how often its work was thrown away */
	enum gate_left left;  /* what the last drain said */
	uint64_t severed_in;  /* the gate's number */
	/* librdmacm's, if it made the QP (gate_cm.h), as long as it is there */
	struct cm_id *id;
	gate_disconnect_fn *disconnect;
	bool has_to_disconnect; /* it was severed */
	bool is_disconnected;	/* that was done, or tried */
	struct gate_qp *next;
};

/* NULL: none yet. */
struct gate_qp *gate_qp_find_locked(const struct ibv_qp *qp);
struct gate_qp *gate_qp_first_locked(void);
/* Whether some record could not be made: nothing is known for sure then. */
bool gate_qp_are_unknown_locked(void);

/* Keep the record, whatever becomes of the QP. */
struct gate_qp *gate_qp_get_locked(struct gate_qp *record);
void gate_qp_put_locked(struct gate_qp *record);

/* Keeps the QP from being destroyed while a call of ours uses it. */
void gate_qp_use_locked(struct gate_qp *record);
void gate_qp_unuse(struct gate_qp *record);
/* The lock is given meanwhile: the record has to be kept. */
void gate_qp_wait_unused_locked(const struct gate_qp *record,
				struct gate_locked *locked);

/* Records of a context that is closed. */
void gate_qp_forget_locked(const struct ibv_context *context);

/* Patches (or not any more) the batches of the context's QPs. 0, -ENOSPC. */
int gate_qp_patch_all_locked(struct ibv_context *context,
			     const struct gate_verbs *verbs);
/* The CQs that the context's QPs send to. Without the lock. */
void gate_qp_patch_cqs(const struct ibv_context *context);
/* Whether for sure nothing has ever completed there. */
bool gate_qp_has_had_none_live_locked(const struct ibv_cq *cq);
void gate_qp_unpatch_all_locked(struct ibv_context *context,
				const struct gate_verbs *verbs);

#endif
