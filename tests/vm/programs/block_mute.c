/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * block_mute client|server ADDRESS PORT: that end of examples/02-blockstore,
 * whose machine is gone. Its queue pair is reset behind the connection
 * manager's back: from then on nothing is answered, and nobody is told.
 */
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

static int connect_to(const char *host, const char *port, struct ibv_qp **ret)
{
	struct link_target target = {.length = 65536, .depth = 1};
	static struct link link;

	if (strlen(host) >= sizeof(target.host) ||
	    strlen(port) >= sizeof(target.port))
		return 2;
	strcpy(target.host, host);
	strcpy(target.port, port);
	target.memory = malloc(target.length);
	if (!target.memory || link_open(&link, &target)) {
		fprintf(stderr, "block_mute: %s\n", link.why);
		return 1;
	}
	*ret = link.id->qp;
	return 0;
}

static int next_event(struct rdma_event_channel *channel,
		      enum rdma_cm_event_type wanted, struct rdma_cm_id **ret)
{
	struct rdma_cm_event *event;
	int r;

	if (rdma_get_cm_event(channel, &event))
		return -1;
	*ret = event->id;
	r = event->event == wanted ? 0 : -1;
	rdma_ack_cm_event(event);
	return r;
}

/* A client is let in, and never told of its window. */
static int let_in(const char *host, const char *port, struct ibv_qp **ret)
{
	struct rdma_addrinfo hints = {.ai_flags = RAI_PASSIVE,
				      .ai_port_space = RDMA_PS_TCP},
			     *found;
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = 1,
			.max_recv_wr = 1,
			.max_send_sge = 1,
			.max_recv_sge = 1},
	};
	struct rdma_conn_param param = {.rnr_retry_count = 7};
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct rdma_cm_id *listener, *id;

	if (!channel || rdma_create_id(channel, &listener, NULL, RDMA_PS_TCP) ||
	    rdma_getaddrinfo(host, port, &hints, &found) ||
	    rdma_bind_addr(listener, found->ai_src_addr) ||
	    rdma_listen(listener, 1)) {
		perror("block_mute: cannot listen");
		return 1;
	}
	rdma_freeaddrinfo(found);
	printf("listens\n");
	fflush(stdout);
	if (next_event(channel, RDMA_CM_EVENT_CONNECT_REQUEST, &id) ||
	    rdma_create_qp(id, NULL, &attr) || rdma_accept(id, &param) ||
	    next_event(channel, RDMA_CM_EVENT_ESTABLISHED, &id)) {
		perror("block_mute: no client");
		return 1;
	}
	*ret = id->qp;
	return 0;
}

int main(int argc, char **argv)
{
	struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
	struct ibv_qp *qp;
	int r;

	if (argc != 4)
		return 2;
	r = strcmp(argv[1], "server") ? connect_to(argv[2], argv[3], &qp)
				      : let_in(argv[2], argv[3], &qp);
	if (r)
		return r;
	if (ibv_modify_qp(qp, &reset, IBV_QP_STATE)) {
		perror("block_mute: its queue pair cannot be reset");
		return 1;
	}
	printf("mute\n");
	fflush(stdout);
	pause();
	return 1;
}
