/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

#define RESOLVE_MS 5000
#define PROBE_MS   10000
#define READS_MAX  16

/* wr_id: what, and its number */
enum {
	ID_RECEIVE = 1,
	ID_READ,
	ID_WRITE,
	ID_SEND,
	ID_PROBE
};
#define ID(what, number) ((uint64_t)(what) << 32 | (number))

__attribute__((format(printf, 3, 4))) static int
because(struct link *link, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(link->why, sizeof(link->why), format, args);
	va_end(args);
	return error;
}

static int refused(struct link *link, const struct link_target *target,
		   const struct rdma_cm_event *event)
{
	struct wire_refusal refusal = {0};
	const void *data = event->param.conn.private_data;

	if (data && event->param.conn.private_data_len >= sizeof(refusal))
		memcpy(&refusal, data, sizeof(refusal));
	if (refusal.magic != WIRE_MAGIC)
		return because(link, -ECONNREFUSED,
			       "%s:%s: nobody listens there", target->host,
			       target->port);
	if (refusal.error == ENXIO)
		return because(link, -ENXIO,
			       "the store has no window %u (--window)",
			       target->window);
	if (refusal.error == EBUSY)
		return because(link, -EBUSY, "window %u: another client has it",
			       target->window);
	return because(link, -(int)refusal.error,
		       "window %u: the server refuses", target->window);
}

/* The next event of the connection's making is the one that is wanted. */
static int expect(struct link *link, const struct link_target *target,
		  enum rdma_cm_event_type wanted)
{
	struct rdma_cm_event *event;
	int r = 0;

	if (rdma_get_cm_event(link->channel, &event))
		return because(link, -errno, "no word of the connection");
	if (event->event == RDMA_CM_EVENT_REJECTED)
		r = refused(link, target, event);
	else if (event->event != wanted)
		r = because(link, event->status < 0 ? event->status : -ENETDOWN,
			    "%s:%s: %s", target->host, target->port,
			    rdma_event_str(event->event));
	rdma_ack_cm_event(event);
	return r;
}

static int find_route(struct link *link, const struct link_target *target)
{
	struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP},
			     *found = NULL;
	int r;

	link->channel = rdma_create_event_channel();
	if (!link->channel ||
	    rdma_create_id(link->channel, &link->id, NULL, RDMA_PS_TCP))
		return because(link, -errno,
			       "no connection manager: is rdma_ucm loaded?");
	if (rdma_getaddrinfo(target->host, target->port, &hints, &found))
		return because(link, -EINVAL, "%s:%s: is no address",
			       target->host, target->port);
	r = rdma_resolve_addr(link->id, NULL, found->ai_dst_addr, RESOLVE_MS);
	rdma_freeaddrinfo(found);
	if (r)
		return because(link, -errno, "%s: no RDMA device leads there",
			       target->host);
	r = expect(link, target, RDMA_CM_EVENT_ADDR_RESOLVED);
	if (r)
		return r;
	if (rdma_resolve_route(link->id, RESOLVE_MS))
		return because(link, -errno, "%s: no route", target->host);
	return expect(link, target, RDMA_CM_EVENT_ROUTE_RESOLVED);
}

static int post_receive(struct link *link, uint32_t number)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)&link->received[number],
		.length = sizeof(link->received[number]),
		.lkey = link->messages_mr->lkey,
	};
	struct ibv_recv_wr wr =
				   {
					   .wr_id = ID(ID_RECEIVE, number),
					   .sg_list = &sge,
					   .num_sge = 1,
				   },
			   *bad;
	int r = ibv_post_recv(link->id->qp, &wr, &bad);

	return r ? because(link, -r, "no receive can be posted") : 0;
}

/* What is sent and received is in *link itself. */
static int make_qp(struct link *link, const struct link_target *target)
{
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		/* posted again before the last ones' completions were read */
		.cap = {.max_send_wr =
				2 * (target->depth + WIRE_COMMITS + 1) + 1,
			.max_recv_wr = LINK_RECEIVES,
			.max_send_sge = 1,
			.max_recv_sge = 1},
	};
	int r = 0;

	link->completions = ibv_create_comp_channel(link->id->verbs);
	if (link->completions)
		link->cq = ibv_create_cq(
			link->id->verbs,
			(int)(attr.cap.max_send_wr + LINK_RECEIVES), NULL,
			link->completions, 0);
	attr.send_cq = link->cq;
	attr.recv_cq = link->cq;
	if (!link->cq || rdma_create_qp(link->id, link->id->pd, &attr))
		return because(link, -errno,
			       "no queue pair for %u operations (--depth)",
			       target->depth);
	link->messages_mr = ibv_reg_mr(link->id->pd, link, sizeof(*link),
				       IBV_ACCESS_LOCAL_WRITE);
	link->memory_mr = ibv_reg_mr(link->id->pd, target->memory,
				     target->length, IBV_ACCESS_LOCAL_WRITE);
	if (!link->messages_mr || !link->memory_mr)
		return because(link, -errno,
			       "%zu bytes cannot be registered (ulimit -l)",
			       target->length);
	for (uint32_t i = 0; !r && i < LINK_RECEIVES; i++)
		r = post_receive(link, i);
	return r;
}

static int connect_to(struct link *link, const struct link_target *target)
{
	struct wire_hello hello = {WIRE_MAGIC, target->window};
	struct rdma_conn_param param = {
		.private_data = &hello,
		.private_data_len = sizeof(hello),
		/* both ends' count; 7 would be for ever on soft-RoCE */
		.retry_count = 6,
		.rnr_retry_count = 7,
	};
	struct ibv_device_attr device;

	if (ibv_query_device(link->id->verbs, &device))
		return because(link, -errno, "the device says nothing");
	param.initiator_depth = (uint8_t)(device.max_qp_init_rd_atom < READS_MAX
						  ? device.max_qp_init_rd_atom
						  : READS_MAX);
	if (rdma_connect(link->id, &param))
		return because(link, -errno, "%s:%s: cannot be connected to",
			       target->host, target->port);
	return expect(link, target, RDMA_CM_EVENT_ESTABLISHED);
}

int link_open(struct link *link, const struct link_target *target)
{
	struct link_news news = {0};
	int r;

	memset(link, 0, sizeof(*link));
	r = find_route(link, target);
	if (!r)
		r = make_qp(link, target);
	if (!r)
		r = connect_to(link, target);
	if (r)
		return r;
	do
		r = link_wait(link, &news);
	while (!r && news.kind != LINK_WINDOW);
	if (r == -EINTR)
		return because(link, r, "the server has said nothing yet");
	if (!r) {
		link->window = link->next;
		link->has_next = false;
	}
	return r;
}

void link_close(struct link *link)
{
	if (link->id && link->id->qp) {
		rdma_disconnect(link->id);
		rdma_destroy_qp(link->id);
	}
	if (link->memory_mr)
		ibv_dereg_mr(link->memory_mr);
	if (link->messages_mr)
		ibv_dereg_mr(link->messages_mr);
	if (link->cq)
		ibv_destroy_cq(link->cq);
	if (link->completions)
		ibv_destroy_comp_channel(link->completions);
	if (link->id)
		rdma_destroy_id(link->id);
	if (link->channel)
		rdma_destroy_event_channel(link->channel);
	link->id = NULL;
	link->channel = NULL;
}

static int post(struct link *link, struct ibv_send_wr wr, const void *local,
		size_t length, uint32_t lkey)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)local,
		.length = (uint32_t)length,
		.lkey = lkey,
	};
	struct ibv_send_wr *bad;
	int r;

	wr.sg_list = &sge;
	wr.num_sge = length ? 1 : 0;
	r = ibv_post_send(link->id->qp, &wr, &bad);
	return r ? because(link, -r, "the queue pair takes no more") : 0;
}

int link_read(struct link *link, uint32_t number, void *to, size_t length,
	      uint64_t offset)
{
	struct ibv_send_wr wr = {
		.wr_id = ID(ID_READ, number),
		.opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = link->window.data + offset,
			    .rkey = link->window.data_rkey},
	};

	return post(link, wr, to, length, link->memory_mr->lkey);
}

int link_read_index(struct link *link, uint32_t number, void *to, size_t length)
{
	struct ibv_send_wr wr = {
		.wr_id = ID(ID_READ, number),
		.opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = link->window.index,
			    .rkey = link->window.index_rkey},
	};

	return post(link, wr, to, length, link->memory_mr->lkey);
}

int link_write(struct link *link, const void *from, size_t length,
	       uint64_t offset)
{
	struct ibv_send_wr wr = {
		.wr_id = ID(ID_WRITE, 0),
		.opcode = IBV_WR_RDMA_WRITE,
		.wr.rdma = {.remote_addr = link->window.data + offset,
			    .rkey = link->window.data_rkey},
	};

	return post(link, wr, from, length, link->memory_mr->lkey);
}

static int send_message(struct link *link, const void *message, size_t length)
{
	struct ibv_send_wr wr = {
		.wr_id = ID(ID_SEND, 0),
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
	};

	return post(link, wr, message, length, link->messages_mr->lkey);
}

int link_commit(struct link *link, const struct wire_commit *commit)
{
	union wire_message *message =
		&link->sent[commit->head.id % WIRE_COMMITS];

	message->commit = *commit;
	return send_message(link, message, sizeof(message->commit));
}

int link_take_window(struct link *link)
{
	union wire_message *message = &link->sent[WIRE_COMMITS];

	link->window = link->next;
	link->has_next = false;
	message->head = (struct wire_head){WIRE_TAKEN, link->window.head.id};
	return send_message(link, message, sizeof(message->head));
}

/* 0: it is news. -EAGAIN: it is none. */
static int take_message(struct link *link, uint32_t number, uint32_t length,
			struct link_news *ret)
{
	union wire_message message = link->received[number];
	int r = post_receive(link, number);

	if (r)
		return r;
	if (message.head.kind == WIRE_WINDOW &&
	    length >= sizeof(message.window)) {
		link->next = message.window;
		link->has_next = true;
		ret->kind = LINK_WINDOW;
		return 0;
	}
	if (message.head.kind == WIRE_COMMITTED &&
	    length >= sizeof(message.committed)) {
		ret->kind = LINK_COMMITTED;
		ret->number = message.head.id;
		ret->error = -(int)message.committed.error;
		return 0;
	}
	return because(link, -EPROTO, "a message of %u bytes that is none",
		       length);
}

static int take_completion(struct link *link, const struct ibv_wc *completion,
			   struct link_news *ret)
{
	uint32_t what = (uint32_t)(completion->wr_id >> 32);

	if (completion->status)
		return because(link, -ECONNRESET, "the connection broke (%s)",
			       ibv_wc_status_str(completion->status));
	if (what == ID_PROBE)
		link->is_probed = false;
	ret->number = (uint32_t)completion->wr_id;
	ret->error = 0;
	if (what == ID_RECEIVE)
		return take_message(link, ret->number, completion->byte_len,
				    ret);
	ret->kind = LINK_READ;
	return what == ID_READ ? 0 : -EAGAIN;
}

/*
 * Who waits for a message sends nothing, and of a server whose machine is gone
 * nothing comes. A write of no bytes its device has to answer: it takes no key,
 * and the server sees nothing of it.
 */
static int probe(struct link *link)
{
	struct ibv_send_wr wr = {
		.wr_id = ID(ID_PROBE, 0),
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
	};

	if (link->is_probed)
		return 0;
	link->is_probed = true;
	return post(link, wr, NULL, 0, 0);
}

/* 0: there may be a completion to look for. */
static int sleep_for_one(struct link *link)
{
	struct pollfd sources[] = {
		{.fd = link->completions->fd, .events = POLLIN},
		{.fd = link->channel->fd, .events = POLLIN},
	};
	struct ibv_cq *cq;
	void *context;
	int n = poll(sources, 2, PROBE_MS);

	if (n <= 0)
		return n ? -errno : probe(link);
	if (sources[0].revents) {
		if (!ibv_get_cq_event(link->completions, &cq, &context))
			ibv_ack_cq_events(cq, 1);
		return 0;
	}
	return because(link, -ECONNRESET, "the server has gone");
}

int link_wait(struct link *link, struct link_news *ret)
{
	struct ibv_wc completion;
	bool is_armed = false;

	for (;;) {
		int n = ibv_poll_cq(link->cq, 1, &completion), r;

		if (n < 0)
			return because(link, -EIO,
				       "the completion queue fails");
		if (n) {
			r = take_completion(link, &completion, ret);
			if (r != -EAGAIN)
				return r;
			continue;
		}
		/* looked at once more when it is armed: none is missed */
		if (!is_armed) {
			if (ibv_req_notify_cq(link->cq, 0))
				return because(link, -EIO,
					       "the completion queue fails");
			is_armed = true;
			continue;
		}
		r = sleep_for_one(link);
		if (r)
			return r;
		is_armed = false;
	}
}
