/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "clock.h"
#include "gate_datagram.h"

#define GIDS_LOOKED_AT 256 /* big tables are empty but for their start */

/*
 * Without the highest bit, with which the QP's own would be sent; different by
 * more than a bit from one that a provider does not tell, and that is read 0.
 */
static uint32_t foreign_qkey(uint32_t qkey)
{
	return (qkey ^ 0x5a6b3c1du) & 0x7fffffffu;
}

static bool is_zero(const union ibv_gid *gid)
{
	static const union ibv_gid zero;

	return !memcmp(gid, &zero, sizeof(zero));
}

static struct ibv_ah *make_by_gid(const struct gate_verbs *verbs,
				  struct ibv_pd *pd, uint8_t port, int entries,
				  int64_t deadline_ns)
{
	struct ibv_ah_attr attr = {
		.is_global = 1, .port_num = port, .grh.hop_limit = 1};
	struct ibv_ah *ah = NULL;

	if (entries > GIDS_LOOKED_AT)
		entries = GIDS_LOOKED_AT;
	for (int i = 0; i < entries && !ah; i++) {
		attr.grh.sgid_index = (uint8_t)i;
		if (verbs->query_gid(pd->context, port, i, &attr.grh.dgid) ||
		    is_zero(&attr.grh.dgid))
			continue;
		if (clock_now_ns() >= deadline_ns)
			break;
		ah = verbs->create_ah(pd, &attr);
	}
	return ah;
}

int gate_datagram_make(const struct gate_verbs *verbs, struct ibv_pd *pd,
		       struct ibv_qp *qp, int64_t deadline_ns,
		       struct gate_datagram *ret)
{
	struct ibv_qp_init_attr init;
	struct ibv_ah_attr by_lid = {0};
	struct ibv_port_attr port;
	struct ibv_qp_attr attr;
	struct ibv_ah *ah;
	int r;

	if (!verbs->query_port || !verbs->query_gid || !verbs->create_ah ||
	    !verbs->destroy_ah)
		return -ENOSYS;
	r = verbs->query_qp(qp, &attr, IBV_QP_PORT | IBV_QP_QKEY, &init);
	if (r)
		return -r;
	r = verbs->query_port(qp->context, attr.port_num, &port);
	if (r)
		return -r;
	if (port.link_layer != IBV_LINK_LAYER_ETHERNET && port.lid &&
	    !(port.flags & IBV_QPF_GRH_REQUIRED)) {
		by_lid.dlid = port.lid;
		by_lid.port_num = attr.port_num;
		ah = verbs->create_ah(pd, &by_lid);
	} else {
		ah = make_by_gid(verbs, pd, attr.port_num, port.gid_tbl_len,
				 deadline_ns);
	}
	if (!ah)
		return -EADDRNOTAVAIL;
	ret->ah = ah;
	ret->qkey = foreign_qkey(attr.qkey);
	return 0;
}

int gate_datagram_post(const struct gate_datagram *datagram,
		       int (*post_send)(struct ibv_qp *qp,
					struct ibv_send_wr *wr,
					struct ibv_send_wr **bad_wr),
		       struct ibv_qp *qp, uint64_t wr_id)
{
	struct ibv_send_wr wr = {.wr_id = wr_id,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.ud = {.ah = datagram->ah,
					   .remote_qpn = qp->qp_num,
					   .remote_qkey = datagram->qkey}},
			   *bad_wr;

	return post_send(qp, &wr, &bad_wr);
}

void gate_datagram_unmake(const struct gate_verbs *verbs,
			  struct gate_datagram *datagram)
{
	if (datagram->ah)
		verbs->destroy_ah(datagram->ah);
	datagram->ah = NULL;
}
