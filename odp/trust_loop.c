/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loopback of the trust test: trust_loop.h has the drawing.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "trust_loop.h"
#include "trust_port.h"

/*
 * The timers of the RC QPs. A loopback loses nothing, so they matter only
 * when something is wrong: 2^14 * 4 us = 67 ms until a packet is sent again,
 * 7 times. Shorter ones end a failing case sooner, but under emulation a
 * processor can be away for tens of milliseconds, and exhausted retries would
 * be taken for a failure. A device that answers a fault on on-demand memory
 * with "receiver not ready" (mlx5) is to be asked again without end: it is
 * loop_wait() that has the deadline.
 */
#define ACK_TIMEOUT 14
#define RETRY_COUNT 7
#define RNR_FOREVER 7
#define RNR_TIMER   1 /* 10 us */
#define FIRST_PSN   0x5eed

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int loop_fail(struct loop *loop, int err, const char *format, ...)
{
	va_list args;
	size_t used;

	if (loop->reason[0])
		return -1;
	va_start(args, format);
	vsnprintf(loop->reason, sizeof(loop->reason), format, args);
	va_end(args);
	used = strlen(loop->reason);
	if (err > 0)
		snprintf(loop->reason + used, sizeof(loop->reason) - used,
			 ": %s (errno %d)", strerrordesc_np(err) ?: "?", err);
	return -1;
}

int loop_fail_pinned(struct loop *loop, int err, const char *what)
{
	bool is_first = !loop->reason[0];
	size_t used;

	loop_fail(loop, err, "%s", what);
	used = strlen(loop->reason);
	if (is_first && err == ENOMEM)
		snprintf(loop->reason + used, sizeof(loop->reason) - used,
			 "; the limit on locked memory (ulimit -l) should be "
			 "raised");
	return -1;
}

/* A limit of the device, where it is one that can be believed. */
static unsigned int at_most(unsigned int wanted, int limit)
{
	if (limit < 1)
		return 1;
	return (unsigned int)limit < wanted ? (unsigned int)limit : wanted;
}

int loop_open(struct loop *loop, const struct verbs_table *verbs,
	      struct ibv_device *device, uint64_t total_ns)
{
	int err;

	memset(loop, 0, sizeof(*loop));
	loop->verbs = verbs;
	loop->start_ns = loop_now_ns();
	loop->deadline_ns = loop->start_ns + total_ns;

	if (!verbs->reg_mr_iova2)
		return loop_fail(loop, 0,
				 "libibverbs has no ibv_reg_mr_iova2(): "
				 "rdma-core 28 or newer is needed");
	errno = 0;
	loop->context = verbs->open_device(device);
	if (!loop->context)
		return loop_fail(loop, errno, "the device cannot be opened");
	err = -odp_caps_query(verbs, loop->context, &loop->caps);
	if (!err && !loop->caps.has_odp)
		return loop_fail(loop, 0, "the device has no on-demand paging");
	if (!err)
		err = verbs->query_device_ex(loop->context, NULL, &loop->attr);
	if (err)
		return loop_fail(loop, err, "the device cannot be queried");
	if (port_find(loop))
		return -1;

	loop->sges = at_most(LOOP_SGES, loop->attr.orig_attr.max_sge);
	if (loop->attr.orig_attr.max_srq_sge > 0)
		loop->sges =
			at_most(loop->sges, loop->attr.orig_attr.max_srq_sge);
	errno = 0;
	loop->pd = verbs->alloc_pd(loop->context);
	if (!loop->pd)
		return loop_fail(loop, errno, "no protection domain");
	errno = 0;
	loop->cq =
		verbs->create_cq(loop->context, 4 * LOOP_DEPTH, NULL, NULL, 0);
	if (!loop->cq)
		return loop_fail_pinned(loop, errno, "no completion queue");
	return 0;
}

void loop_close(struct loop *loop)
{
	for (int i = 0; i < LINK_COUNT; i++)
		loop_unlink(loop, (enum link_type)i);
	if (loop->cq)
		loop->verbs->destroy_cq(loop->cq);
	if (loop->pd)
		loop->verbs->dealloc_pd(loop->pd);
	if (loop->context)
		loop->verbs->close_device(loop->context);
	loop->cq = NULL;
	loop->pd = NULL;
	loop->context = NULL;
}

static struct ibv_ah_attr own_address(const struct loop *loop)
{
	const struct loop_address *to = &loop->address[loop->used_address];
	struct ibv_ah_attr ah = {
		.dlid = loop->port_attr.lid,
		.is_global = to->is_global,
		.port_num = loop->port,
	};

	if (to->is_global) {
		ah.grh.dgid = to->gid;
		ah.grh.sgid_index = to->gid_index;
		ah.grh.hop_limit = 64;
	}
	return ah;
}

static enum ibv_qp_type qp_type(enum link_type type)
{
	switch (type) {
	case LINK_UD:
	case LINK_UD_SRQ:
		return IBV_QPT_UD;
	case LINK_UC:
		return IBV_QPT_UC;
	default:
		return IBV_QPT_RC;
	}
}

static int to_init(struct loop *loop, struct ibv_qp *qp, enum ibv_qp_type type)
{
	int mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = loop->port,
		.qkey = LOOP_QKEY,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};

	if (type == IBV_QPT_RC) {
		attr.qp_access_flags |= IBV_ACCESS_REMOTE_READ;
		if (loop->attr.orig_attr.atomic_cap != IBV_ATOMIC_NONE)
			attr.qp_access_flags |= IBV_ACCESS_REMOTE_ATOMIC;
	}
	mask |= type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS;
	return loop->verbs->modify_qp(qp, &attr, mask);
}

static int to_rtr(struct loop *loop, struct ibv_qp *qp, enum ibv_qp_type type,
		  uint32_t peer)
{
	int mask = IBV_QP_STATE;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		/* Many packets to a message, and to a page. */
		.path_mtu = IBV_MTU_256,
		.dest_qp_num = peer,
		.rq_psn = FIRST_PSN,
		.max_dest_rd_atomic = (uint8_t)at_most(
			4, loop->attr.orig_attr.max_qp_rd_atom),
		.min_rnr_timer = RNR_TIMER,
		.ah_attr = own_address(loop),
	};

	if (type != IBV_QPT_UD)
		mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
			IBV_QP_RQ_PSN;
	if (type == IBV_QPT_RC)
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	return loop->verbs->modify_qp(qp, &attr, mask);
}

static int to_rts(struct loop *loop, struct ibv_qp *qp, enum ibv_qp_type type)
{
	int mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.sq_psn = FIRST_PSN,
		.timeout = ACK_TIMEOUT,
		.retry_cnt = RETRY_COUNT,
		.rnr_retry = RNR_FOREVER,
		.max_rd_atomic = (uint8_t)at_most(
			4, loop->attr.orig_attr.max_qp_init_rd_atom),
	};

	if (type == IBV_QPT_RC)
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_MAX_QP_RD_ATOMIC;
	return loop->verbs->modify_qp(qp, &attr, mask);
}

static struct ibv_qp *new_qp(struct loop *loop, enum ibv_qp_type type,
			     struct ibv_srq *srq)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = loop->cq,
		.recv_cq = loop->cq,
		.srq = srq,
		.qp_type = type,
		.sq_sig_all = 1,
		.cap =
			{
				.max_send_wr = LOOP_DEPTH,
				.max_recv_wr = srq ? 0 : LOOP_DEPTH,
				.max_send_sge = loop->sges,
				.max_recv_sge = srq ? 0 : loop->sges,
			},
	};
	struct ibv_qp *qp;
	int err;

	errno = 0;
	qp = loop->verbs->create_qp(loop->pd, &attr);
	if (!qp) {
		loop_fail_pinned(loop, errno, "no queue pair");
		return NULL;
	}
	err = to_init(loop, qp, type);
	if (err) {
		loop_fail(loop, err, "a queue pair does not reach INIT");
		loop->verbs->destroy_qp(qp);
		return NULL;
	}
	return qp;
}

static int make_link(struct loop *loop, enum link_type type)
{
	struct loop_link *link = &loop->link[type];
	enum ibv_qp_type qpt = qp_type(type);
	int err;

	if (type == LINK_RC_SRQ || type == LINK_UD_SRQ) {
		struct ibv_srq_init_attr attr = {
			.attr = {.max_wr = LOOP_DEPTH, .max_sge = loop->sges},
		};

		errno = 0;
		link->srq = loop->verbs->create_srq(loop->pd, &attr);
		if (!link->srq)
			return loop_fail_pinned(loop, errno,
						"no shared receive queue");
	}
	link->a = new_qp(loop, qpt, NULL);
	if (!link->a)
		return -1;
	link->b = new_qp(loop, qpt, link->srq);
	if (!link->b)
		return -1;
	if ((err = to_rtr(loop, link->a, qpt, link->b->qp_num)) ||
	    (err = to_rtr(loop, link->b, qpt, link->a->qp_num)))
		return loop_fail(loop, err, "a queue pair does not reach RTR");
	if ((err = to_rts(loop, link->a, qpt)) ||
	    (err = to_rts(loop, link->b, qpt)))
		return loop_fail(loop, err, "a queue pair does not reach RTS");
	if (qpt == IBV_QPT_UD) {
		struct ibv_ah_attr ah = own_address(loop);

		errno = 0;
		link->ah = loop->verbs->create_ah(loop->pd, &ah);
		if (!link->ah)
			return loop_fail(loop, errno, "no address handle");
	}
	return 0;
}

int loop_link(struct loop *loop, enum link_type type)
{
	if (loop->link[type].a)
		return 0;
	/* The rings of one are all that has to be locked at a time. */
	for (int i = 0; i < LINK_COUNT; i++)
		loop_unlink(loop, (enum link_type)i);
	if (!make_link(loop, type))
		return 0;
	loop_unlink(loop, type);
	return -1;
}

void loop_unlink(struct loop *loop, enum link_type type)
{
	struct loop_link *link = &loop->link[type];
	struct ibv_wc wc[8];

	if (link->b)
		loop->verbs->destroy_qp(link->b);
	if (link->a)
		loop->verbs->destroy_qp(link->a);
	if (link->srq)
		loop->verbs->destroy_srq(link->srq);
	if (link->ah)
		loop->verbs->destroy_ah(link->ah);
	/* What the QPs left behind would fill the CQ in the end. */
	for (int i = 0; loop->cq && link->a && i < LOOP_DEPTH; i++)
		if (loop->verbs->poll_cq(loop->cq, 8, wc) <= 0)
			break;
	*link = (struct loop_link){0};
}

void loop_new_batch(struct loop *loop)
{
	loop->batch++;
}

uint64_t loop_wr_id(const struct loop *loop, bool receive, unsigned int i)
{
	return (uint64_t)loop->batch << 32 | (receive ? 0x100u : 0u) | i;
}

static const char *status_name(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_LOC_LEN_ERR:
		return "local length error";
	case IBV_WC_LOC_QP_OP_ERR:
		return "local QP operation error";
	case IBV_WC_LOC_PROT_ERR:
		return "local protection error";
	case IBV_WC_WR_FLUSH_ERR:
		return "flushed";
	case IBV_WC_REM_INV_REQ_ERR:
		return "remote invalid request";
	case IBV_WC_REM_ACCESS_ERR:
		return "remote access error";
	case IBV_WC_REM_OP_ERR:
		return "remote operation error";
	case IBV_WC_RETRY_EXC_ERR:
		return "transport retries exhausted";
	case IBV_WC_RNR_RETRY_EXC_ERR:
		return "receiver-not-ready retries exhausted";
	default:
		return "error";
	}
}

/* Between two looks: the device may be a driver that needs this processor. */
static void give_way(unsigned int looks)
{
	struct timespec ts = {.tv_nsec = 20000};

	if (looks < 200)
		sched_yield();
	else
		nanosleep(&ts, NULL);
}

int loop_wait(struct loop *loop, struct loop_done *sent,
	      struct loop_done *received, unsigned int first, unsigned int end,
	      bool receives)
{
	uint64_t deadline = loop_now_ns() + loop->patience_ns;
	unsigned int all = (end - first) * (receives ? 2 : 1);
	unsigned int missing = all;

	for (unsigned int i = first; i < end; i++)
		sent[i].seen = received[i].seen = false;
	if (deadline > loop->deadline_ns)
		deadline = loop->deadline_ns;
	for (unsigned int looks = 0; missing; looks++) {
		struct loop_done *done;
		struct ibv_wc wc;
		unsigned int i;
		int n = loop->verbs->poll_cq(loop->cq, 1, &wc);

		if (n < 0)
			return loop_fail(loop, 0,
					 "the completion queue failed");
		if (!n) {
			if (loop_now_ns() >= deadline)
				return loop_fail(
					loop, 0,
					"%u of %u completions did not come",
					missing, all);
			give_way(looks);
			continue;
		}
		looks = 0;
		if (wc.wr_id >> 32 != loop->batch)
			continue; /* of a batch that was given up */
		if (wc.status != IBV_WC_SUCCESS)
			return loop_fail(loop, 0,
					 "a completion says %s (status %d)",
					 status_name(wc.status), wc.status);
		i = (unsigned int)wc.wr_id & 0xff;
		done = wc.wr_id & 0x100 ? received : sent;
		if (i < first || i >= end || done[i].seen ||
		    (done == received && !receives))
			return loop_fail(
				loop, 0,
				"a completion came that nobody waits for");
		done[i].seen = true;
		done[i].wc = wc;
		missing--;
	}
	return 0;
}
