/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device that does nothing but verbs: send queues and completion queues of
 * fixed size, in order, without data. Work is done by fake_run() alone, so that
 * a test decides when.
 */
#ifndef DAXMR_TESTS_GATE_FAKE_H
#define DAXMR_TESTS_GATE_FAKE_H

#include <pthread.h>
#include <stdbool.h>

#include "gate/gate.h"

#define FAKE_DEPTH 64

struct fake_cq {
	union {
		struct ibv_cq cq;
		struct ibv_cq_ex ex;
	};
	struct ibv_wc current; /* of an extended one */
	unsigned long polls;   /* that were begun with the provider's start */
	pthread_mutex_t lock;
	_Atomic bool is_polled; /* from a poll's start to its end */
	struct ibv_wc ring[FAKE_DEPTH];
	unsigned int head, tail;
	bool has_overrun;
};

struct fake_qp {
	struct ibv_qp_ex ex;
	pthread_mutex_t lock;
	bool has_batches;
	unsigned int depth; /* of the send queue */
	uint32_t qkey;
	struct ibv_send_wr queue[FAKE_DEPTH];
	struct ibv_sge sges[FAKE_DEPTH];
	unsigned int head, tail;
	unsigned long posted, done;
	unsigned long posted_late; /* while fake_closed */
};

/* What the device has; made by fake_init(), in RTS. */
extern struct verbs_context fake_context;
extern struct ibv_pd fake_pds[2];
extern const struct gate_verbs fake_verbs;
/* Set by a test while nothing may be posted to the first PD. */
extern _Atomic bool fake_closed;
extern _Atomic int fake_windows; /* and MRs and AHs that are there */
/* What a poll does with the CQ's lock: a signal handler's work. NULL: none */
extern void (*_Atomic fake_in_poll)(void);
extern int fake_gids; /* addresses of its port */
extern _Atomic int fake_addresses_made;
extern int64_t fake_address_ns; /* what making one takes; 0 again: at once */
/* What came with the last wr_set_sge or list, and with all receives. */
extern uint32_t fake_batch_lkeys[4], fake_receive_lkeys[16];
extern unsigned int fake_received;

/*
 * The windows that the kernel has, by their handle: what they are on. Freeing
 * one and deregistering an MR fail as they do there.
 */
#define FAKE_OBJECTS 64
struct fake_object {
	bool is_there;
	const struct ibv_mr *mr; /* NULL: on nothing */
};
const struct ibv_mr *fake_is_on(const struct ibv_mw *mw);
extern _Atomic bool fake_keeps_windows; /* they cannot be freed */
extern struct ibv_mw *fake_kept_window; /* the last that could not */
extern _Atomic bool fake_holds_windows; /* that takes until it is off; */
extern _Atomic bool fake_is_freeing;	/* and somebody is at it */

void fake_init(void);
void fake_cq_init(struct fake_cq *cq, int cqe);
/* One that is read by ibv_start_poll(), but for its addresses. */
void fake_cq_ex_init(struct fake_cq *cq, int cqe);
void fake_qp_init(struct fake_qp *qp, struct ibv_pd *pd, struct fake_cq *cq,
		  enum ibv_qp_type type);
struct ibv_qp *fake_ibv(struct fake_qp *qp);

/* Posts one WR. */
int fake_post(struct fake_qp *qp, uint64_t wr_id, unsigned int flags);

/* Does at most count WRs; how many it did. */
unsigned int fake_run(struct fake_qp *qp, unsigned int count);

/* Completes a receive. */
void fake_receive(struct fake_qp *qp, uint64_t wr_id);

#endif
