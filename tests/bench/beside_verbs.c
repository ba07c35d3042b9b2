/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages by verbs alone: beside.h. */
#include <string.h>

#include "beside.h"
#include "ends.h"

/* libibverbs has it for its providers, and no header of ours declares it. */
int ibv_cmd_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		      uint32_t flags, struct ibv_sge *sg_list,
		      uint32_t num_sge);

static struct end server, peer;
static struct ibv_mr *sent, *received;

void let_advise(struct ibv_context *context)
{
	struct verbs_context *verbs = verbs_get_ctx(context);

	if (!verbs)
		die("a context without the newer calls");
	verbs->advise_mr = ibv_cmd_advise_mr;
}

static void verbs_open(char *source, size_t length)
{
	end_open(&server);
	end_open(&peer);
	let_advise(server.context);
	ends_connect(&server, &peer);
	sent = end_register(&peer, source, length, 0);
}

static void verbs_reg(char *addr, size_t length, bool on_demand, bool prefetch)
{
	struct ibv_sge all = {.addr = (uintptr_t)addr,
			      .length = (uint32_t)length};
	int r;

	received = end_register(
		&server, addr, length,
		IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
			(on_demand ? (int)IBV_ACCESS_ON_DEMAND : 0));
	if (!prefetch)
		return;
	all.lkey = received->lkey;
	r = ibv_advise_mr(server.pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			  IBV_ADVISE_MR_FLAG_FLUSH, &all, 1);
	if (r)
		die("ibv_advise_mr: %s", strerror(r));
}

static void verbs_post(size_t from, size_t to, size_t message)
{
	struct ibv_send_wr wr[BATCH], *bad;
	struct ibv_sge sge[BATCH];
	int r;

	memset(wr, 0, sizeof(wr));
	for (size_t i = 0; i < BATCH; i++) {
		sge[i] = (struct ibv_sge){
			.addr = (uintptr_t)sent->addr + from + i * message,
			.length = (uint32_t)message,
			.lkey = sent->lkey,
		};
		wr[i].next = i + 1 < BATCH ? &wr[i + 1] : NULL;
		wr[i].sg_list = &sge[i];
		wr[i].num_sge = 1;
		wr[i].opcode = IBV_WR_RDMA_WRITE;
		wr[i].send_flags = i + 1 < BATCH ? 0 : IBV_SEND_SIGNALED;
		wr[i].wr.rdma.remote_addr =
			(uintptr_t)received->addr + to + i * message;
		wr[i].wr.rdma.rkey = received->rkey;
	}
	r = ibv_post_send(peer.qp, wr, &bad);
	if (r)
		die("ibv_post_send: %s", strerror(r));
}

static int verbs_poll(struct ibv_wc *wc)
{
	int n = ibv_poll_cq(peer.cq, 1, wc);

	if (n < 0)
		die("ibv_poll_cq failed");
	return n;
}

const struct transport by_verbs = {verbs_open, verbs_reg, verbs_post,
				   verbs_poll};
