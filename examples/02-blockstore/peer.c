/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "peer.h"
#include "say.h"

/* wr_id: generation, window, number of the receive; the last: a send */
#define SENT 0xffffU

static uint64_t make_wr_id(const struct peer *peer, uint32_t number)
{
	return (uint64_t)peer->generation << 32 | peer->window->number << 16 |
	       number;
}

static int post_receive(struct peer *peer, uint32_t number)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)&peer->received[number],
		.length = sizeof(peer->received[number]),
		.lkey = peer->mr->lkey,
	};
	struct ibv_recv_wr wr =
				   {
					   .wr_id = make_wr_id(peer, number),
					   .sg_list = &sge,
					   .num_sge = 1,
				   },
			   *bad;

	return -ibv_post_recv(peer->id->qp, &wr, &bad);
}

/* Inline: the message may be forgotten when this returns. */
static void tell(struct peer *peer, void *message, uint32_t length)
{
	struct ibv_sge sge = {.addr = (uintptr_t)message, .length = length};
	struct ibv_send_wr wr =
				   {
					   .wr_id = make_wr_id(peer, SENT),
					   .sg_list = &sge,
					   .num_sge = 1,
					   .opcode = IBV_WR_SEND,
					   .send_flags = IBV_SEND_INLINE |
							 IBV_SEND_SIGNALED,
				   },
			   *bad;

	if (ibv_post_send(peer->id->qp, &wr, &bad))
		rdma_disconnect(peer->id);
}

static void send_window(struct peer *peer)
{
	struct wire_window message;

	window_describe(peer->window, &message);
	peer->told = peer->window->shape;
	tell(peer, &message, sizeof(message));
}

static int make_qp(struct peer *peer, struct ibv_cq *cq)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = PEER_SENDS,
			.max_recv_wr = PEER_RECEIVES,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = sizeof(struct wire_window)},
	};
	int r = 0;

	if (rdma_create_qp(peer->id, peer->window->pd, &attr))
		return -errno;
	peer->mr = ibv_reg_mr(peer->window->pd, peer->received,
			      sizeof(peer->received), IBV_ACCESS_LOCAL_WRITE);
	if (!peer->mr)
		r = -errno;
	for (uint32_t i = 0; !r && i < PEER_RECEIVES; i++)
		r = post_receive(peer, i);
	return r;
}

int peer_accept(struct peer *peer, struct rdma_cm_id *id, struct ibv_cq *cq,
		struct rdma_conn_param *request)
{
	struct rdma_conn_param param = {
		.responder_resources = request->responder_resources,
		.rnr_retry_count = 7,
		.flow_control = 1,
	};
	int r;

	peer->id = id;
	peer->generation++;
	peer->waiting_count = 0;
	r = make_qp(peer, cq);
	if (!r && rdma_accept(id, &param))
		r = -errno;
	if (!r)
		return 0;
	say(r, "window %u: a client cannot be served", peer->window->number);
	peer_refuse(id, -r);
	peer_drop(peer);
	return r;
}

void peer_refuse(struct rdma_cm_id *id, int error)
{
	struct wire_refusal refusal = {WIRE_MAGIC, (uint32_t)error};

	rdma_reject(id, &refusal, sizeof(refusal));
}

void peer_greet(struct peer *peer)
{
	peer->is_up = true;
	send_window(peer);
	/* Nor did it go by an older one, if it has been here before. */
	window_settle(peer->window);
}

void peer_drop(struct peer *peer)
{
	if (peer->id->qp)
		rdma_destroy_qp(peer->id);
	if (peer->mr)
		ibv_dereg_mr(peer->mr);
	rdma_destroy_id(peer->id);
	peer->mr = NULL;
	peer->id = NULL;
	peer->is_up = false;
	window_retire(peer->window);
}

/*
 * False: not now. In this order: what others do while they have the file is
 * known as a change when it is ours again.
 */
static bool commit(struct peer *peer, uint32_t number)
{
	const struct wire_commit *message = &peer->received[number].commit;
	struct wire_committed answer = {
		.head = {.kind = WIRE_COMMITTED, .id = message->head.id},
	};
	int r = -EAGAIN;

	if (window_is_ours(peer->window) &&
	    !store_has_changed(peer->window->store))
		r = window_commit(peer->window, message);
	if (r == -EAGAIN)
		return false;
	answer.error = (uint32_t)-r;
	if (post_receive(peer, number))
		rdma_disconnect(peer->id);
	else
		tell(peer, &answer, sizeof(answer));
	return true;
}

void peer_go_on(struct peer *peer)
{
	while (peer->is_up && peer->waiting_count &&
	       commit(peer, peer->waiting[peer->waiting_first])) {
		peer->waiting_first = (peer->waiting_first + 1) % PEER_RECEIVES;
		peer->waiting_count--;
	}
}

/*
 * A client whose machine is gone says nothing, and we say nothing to one that
 * asks for nothing. A write of no bytes its device has to answer: it takes no
 * key, and the client sees nothing of it.
 */
void peer_probe(struct peer *peer)
{
	struct ibv_send_wr wr =
				   {
					   .wr_id = make_wr_id(peer, SENT),
					   .opcode = IBV_WR_RDMA_WRITE,
					   .send_flags = IBV_SEND_SIGNALED,
				   },
			   *bad;

	if (peer->is_up && ibv_post_send(peer->id->qp, &wr, &bad))
		rdma_disconnect(peer->id);
}

static void take_commit(struct peer *peer, uint32_t number)
{
	peer->waiting[(peer->waiting_first + peer->waiting_count++) %
		      PEER_RECEIVES] = number;
	peer_go_on(peer);
}

static void take_message(struct peer *peer, uint32_t number, uint32_t length)
{
	const union wire_message *message = &peer->received[number];

	if (length >= sizeof(message->commit) &&
	    message->head.kind == WIRE_COMMIT) {
		take_commit(peer, number);
	} else if (length >= sizeof(message->head) &&
		   message->head.kind == WIRE_TAKEN) {
		if (message->head.id == peer->window->shape)
			window_settle(peer->window);
		if (post_receive(peer, number))
			rdma_disconnect(peer->id);
	} else {
		say(0, "window %u: a message of %u bytes that is none",
		    peer->window->number, length);
		rdma_disconnect(peer->id);
	}
}

void peer_complete(struct peer *peers, uint32_t count,
		   const struct ibv_wc *completion)
{
	uint32_t window = completion->wr_id >> 16 & 0xffff,
		 number = completion->wr_id & 0xffff;
	struct peer *peer = &peers[window];

	if (window >= count || !peer->id ||
	    peer->generation != completion->wr_id >> 32)
		return;
	if (completion->status == IBV_WC_RETRY_EXC_ERR) {
		say(0, "window %u: its client is there no more", window);
		peer_drop(peer);
	} else if (completion->status)
		/* DISCONNECTED follows, if it is not why */
		rdma_disconnect(peer->id);
	else if (number < PEER_RECEIVES)
		take_message(peer, number, completion->byte_len);
}

int peer_fit(struct peer *peer)
{
	int r = window_fit(peer->window);

	if (peer->is_up && peer->told != peer->window->shape)
		send_window(peer);
	else if (!peer->id)
		window_retire(peer->window);
	return r;
}
