/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The marker of a UD QP, which no window can be bound on: an empty datagram to
 * itself, under a Q_Key that is not its own. Its send queue is in order, so its
 * completion says that all before it has been sent, signaled or not. Whoever
 * delivers it, drops it: no receive is used up.
 */
#ifndef DAXMR_GATE_DATAGRAM_H
#define DAXMR_GATE_DATAGRAM_H

#include "gate.h"

struct gate_datagram {
	struct ibv_ah *ah; /* of its own port; NULL: there is none */
	uint32_t qkey;
};

/*
 * For the QP, of the PD. Waits for the kernel, which may look for a neighbour:
 * no other address is tried after deadline_ns. 0; -ENOSYS: a verb is missing;
 * -EADDRNOTAVAIL: its port has no address that reaches itself; -errno of
 * ibv_query_qp() and ibv_query_port().
 */
int gate_datagram_make(const struct gate_verbs *verbs, struct ibv_pd *pd,
		       struct ibv_qp *qp, int64_t deadline_ns,
		       struct gate_datagram *ret);

/* Signaled, by the provider's function. As ibv_post_send(). */
int gate_datagram_post(const struct gate_datagram *datagram,
		       int (*post_send)(struct ibv_qp *qp,
					struct ibv_send_wr *wr,
					struct ibv_send_wr **bad_wr),
		       struct ibv_qp *qp, uint64_t wr_id);

void gate_datagram_unmake(const struct gate_verbs *verbs,
			  struct gate_datagram *datagram);

#endif
