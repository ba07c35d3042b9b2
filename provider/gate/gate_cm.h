/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections that librdmacm has made: who severs their QPs tells the peers,
 * which get RDMA_CM_EVENT_DISCONNECTED at once; any other peer learns it at its
 * next request.
 *
 * Only with ids whose events come through a channel that the program has made.
 * Those without one (synchronous ids, rsocket's among them) have one of
 * librdmacm's own, and rdma_disconnect() would wait there for the event, and
 * take it from the thread of the program that does.
 */
#ifndef DAXMR_GATE_CM_H
#define DAXMR_GATE_CM_H

#include <infiniband/verbs.h>

/* What struct rdma_cm_id of <rdma/rdma_cma.h> begins with. */
struct cm_id {
	struct ibv_context *verbs;
	void *channel;
	void *context;
	struct ibv_qp *qp;
};

/* rdma_disconnect() */
typedef int gate_disconnect_fn(struct cm_id *id);

/* What the hooks report: after, and before, the real call. */
void gate_cm_channel_made(const void *channel);
void gate_cm_channel_going(const void *channel);
void gate_cm_qp_made(struct cm_id *id, gate_disconnect_fn *disconnect);
void gate_cm_id_going(const struct cm_id *id);

/*
 * Disconnects whose QPs were severed since it was last called; how many. No
 * lock is held meanwhile, but ids, QPs and channels that go wait for it.
 */
unsigned int gate_disconnect(void);

/* In a child after fork: that is its parent's to do. */
void gate_cm_forget_locked(void);

#endif
