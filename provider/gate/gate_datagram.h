/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The marker of a UD QP, which no window can be bound on: an empty datagram to
 * itself, under a Q_Key that is not its own. Its send queue is in order, so its
 * completion says that all before it has been sent, signaled or not. Whoever
 * delivers it, drops it: no receive is used up. Where ports count violations of
 * Q_Keys (InfiniBand) it is one, and the subnet manager may be told by a trap.
 */
#ifndef DAXMR_GATE_DATAGRAM_H
#define DAXMR_GATE_DATAGRAM_H

#include "gate.h"

/* From a port to itself. */
struct gate_address {
	uint8_t port;
	struct ibv_ah *ah; /* NULL: error says why */
	int error;
	struct gate_address *next;
};

/*
 * That of the port, for datagrams of the PD's QPs: looked for in the list, else
 * made and put into it, also where that failed. Waits for the kernel, which may
 * look for a neighbour for seconds: one address is tried whatever the time, no
 * other after deadline_ns. NULL: no memory. error is -ENOSYS: a verb is
 * missing; -EADDRNOTAVAIL: the port has no address that reaches itself;
 * -ETIMEDOUT: not all were tried; -errno of ibv_query_port().
 */
const struct gate_address *gate_address_get(const struct gate_verbs *verbs,
					    struct ibv_pd *pd, uint8_t port,
					    int64_t deadline_ns,
					    struct gate_address **list);
void gate_addresses_free(const struct gate_verbs *verbs,
			 struct gate_address *list);

/*
 * Signaled, by the provider's function; qkey is the QP's own. As
 * ibv_post_send().
 */
int gate_datagram_post(struct ibv_ah *ah,
		       int (*post_send)(struct ibv_qp *qp,
					struct ibv_send_wr *wr,
					struct ibv_send_wr **bad_wr),
		       struct ibv_qp *qp, uint32_t qkey, uint64_t wr_id);

#endif
