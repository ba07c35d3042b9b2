/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
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

static int make_by_lid(const struct gate_verbs *verbs, struct ibv_pd *pd,
		       uint8_t port, uint16_t lid, struct ibv_ah **ret)
{
	struct ibv_ah_attr attr = {.dlid = lid, .port_num = port};

	*ret = verbs->create_ah(pd, &attr);
	return *ret ? 0 : -EADDRNOTAVAIL;
}

static int make_by_gid(const struct gate_verbs *verbs, struct ibv_pd *pd,
		       uint8_t port, int entries, int64_t deadline_ns,
		       struct ibv_ah **ret)
{
	struct ibv_ah_attr attr = {
		.is_global = 1, .port_num = port, .grh.hop_limit = 1};

	if (entries > GIDS_LOOKED_AT)
		entries = GIDS_LOOKED_AT;
	for (int i = 0; i < entries; i++) {
		attr.grh.sgid_index = (uint8_t)i;
		if (verbs->query_gid(pd->context, port, i, &attr.grh.dgid) ||
		    is_zero(&attr.grh.dgid))
			continue;
		*ret = verbs->create_ah(pd, &attr);
		if (*ret)
			return 0;
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
	return -EADDRNOTAVAIL;
}

static int make(const struct gate_verbs *verbs, struct ibv_pd *pd,
		uint8_t number, int64_t deadline_ns, struct ibv_ah **ret)
{
	struct ibv_port_attr port;
	int r;

	if (!verbs->query_port || !verbs->query_gid || !verbs->create_ah ||
	    !verbs->destroy_ah)
		return -ENOSYS;
	r = verbs->query_port(pd->context, number, &port);
	if (r)
		return -r;
	if (port.link_layer != IBV_LINK_LAYER_ETHERNET && port.lid &&
	    !(port.flags & IBV_QPF_GRH_REQUIRED))
		return make_by_lid(verbs, pd, number, port.lid, ret);
	return make_by_gid(verbs, pd, number, port.gid_tbl_len, deadline_ns,
			   ret);
}

const struct gate_address *gate_address_get(const struct gate_verbs *verbs,
					    struct ibv_pd *pd, uint8_t port,
					    int64_t deadline_ns,
					    struct gate_address **list)
{
	struct gate_address *address = *list;

	while (address && address->port != port)
		address = address->next;
	if (address)
		return address;
	address = calloc(1, sizeof(*address));
	if (!address)
		return NULL;
	address->port = port;
	address->error = make(verbs, pd, port, deadline_ns, &address->ah);
	address->next = *list;
	*list = address;
	return address;
}

void gate_addresses_free(const struct gate_verbs *verbs,
			 struct gate_address *list)
{
	struct gate_address *next;

	for (; list; list = next) {
		next = list->next;
		if (list->ah)
			verbs->destroy_ah(list->ah);
		free(list);
	}
}

int gate_datagram_post(struct ibv_ah *ah,
		       int (*post_send)(struct ibv_qp *qp,
					struct ibv_send_wr *wr,
					struct ibv_send_wr **bad_wr),
		       struct ibv_qp *qp, uint32_t qkey, uint64_t wr_id)
{
	struct ibv_send_wr wr = {.wr_id = wr_id,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.ud = {.ah = ah,
					   .remote_qpn = qp->qp_num,
					   .remote_qkey = foreign_qkey(qkey)}},
			   *bad_wr;

	return post_send(qp, &wr, &bad_wr);
}
