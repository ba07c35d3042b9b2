/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fake device's objects: made, found, counted. odp_fake_move.c has what
 * they do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "odp_fake_verbs.h"

#define KEYS 64

struct fake_device fake;

static struct fake_mr *mrs[KEYS];
static struct fake_qp *qps[KEYS];

void fake_reset(void)
{
	const uint32_t all = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
			     IBV_ODP_SUPPORT_SRQ_RECV;
	const union ibv_gid link_local = {.raw = {0xfe, 0x80, [15] = 1}};
	const union ibv_gid ipv4 = {.raw = {[10] = 0xff, 0xff, 10, 0, 0, 1}};

	memset(&fake, 0, sizeof(fake));
	strcpy(fake.device.name, "fake0");
	fake.attr.orig_attr.phys_port_cnt = 1;
	fake.attr.orig_attr.max_sge = 32;
	fake.attr.orig_attr.max_sge_rd = 32;
	fake.attr.orig_attr.max_srq_sge = 27;
	fake.attr.orig_attr.max_qp_rd_atom = 128;
	fake.attr.orig_attr.max_qp_init_rd_atom = 128;
	fake.attr.orig_attr.atomic_cap = IBV_ATOMIC_HCA;
	fake.attr.odp_caps.general_caps = IBV_ODP_SUPPORT;
	fake.attr.odp_caps.per_transport_caps.rc_odp_caps =
		all | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ |
		IBV_ODP_SUPPORT_ATOMIC;
	fake.attr.odp_caps.per_transport_caps.ud_odp_caps = all;
	fake.port.state = IBV_PORT_ACTIVE;
	fake.port.link_layer = IBV_LINK_LAYER_ETHERNET;
	fake.port.active_mtu = IBV_MTU_1024;
	fake.port.gid_tbl_len = 4;
	fake.gid[0] = link_local;
	fake.gid[1] = ipv4;
	fake.working_gid = -1;
}

/* Counts the call; whether it is the one to fail. */
static bool fails(const char *verb)
{
	if (__atomic_add_fetch(&fake.calls, 1, __ATOMIC_RELAXED) !=
	    fake.fail_at)
		return false;
	fake.failed = verb;
	errno = ENOMEM;
	return true;
}

#define FAILS() fails(__func__ + strlen("fake_"))

/*
 * An object is a mapping of its own: AddressSanitizer's allocator, of GCC 12
 * at least, is not unlocked in the child of a program that forks while another
 * of its threads allocates, and such a child would wait for ever.
 */
#define OBJECT_BYTES (64 << 10)

static void *made(size_t size)
{
	void *object;

	if (size > OBJECT_BYTES)
		abort();
	object = mmap(NULL, OBJECT_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (object == MAP_FAILED)
		abort();
	__atomic_add_fetch(&fake.live, 1, __ATOMIC_RELAXED);
	return object;
}

static void gone(void *object)
{
	munmap(object, OBJECT_BYTES);
	__atomic_sub_fetch(&fake.live, 1, __ATOMIC_RELAXED);
}

static uint32_t take_key(void *table[], void *object)
{
	for (uint32_t i = 1; i < KEYS; i++) {
		if (table[i])
			continue;
		table[i] = object;
		return i;
	}
	abort();
}

struct fake_mr *fake_find_mr(uint32_t key)
{
	return key < KEYS ? mrs[key] : NULL;
}

struct fake_qp *fake_find_qp(uint32_t number)
{
	return number < KEYS ? qps[number] : NULL;
}

static struct ibv_context *fake_open_device(struct ibv_device *device)
{
	struct ibv_context *context;

	__atomic_add_fetch(&fake.opened, 1, __ATOMIC_RELAXED);
	if (FAILS())
		return NULL;
	context = made(sizeof(*context));
	context->device = device;
	return context;
}

static int fake_close_device(struct ibv_context *context)
{
	gone(context);
	return FAILS() ? -1 : 0;
}

static int fake_query_device_ex(struct ibv_context *context,
				const struct ibv_query_device_ex_input *input,
				struct ibv_device_attr_ex *attr)
{
	(void)context;
	(void)input;
	if (FAILS())
		return ENOMEM;
	if (fake.query_error)
		return fake.query_error;
	*attr = fake.attr;
	return 0;
}

static int fake_query_port(struct ibv_context *context, uint8_t port,
			   struct ibv_port_attr *attr)
{
	(void)context;
	(void)port;
	if (FAILS())
		return ENOMEM;
	*attr = fake.port;
	return 0;
}

static int fake_query_gid(struct ibv_context *context, uint8_t port, int index,
			  union ibv_gid *gid)
{
	(void)context;
	(void)port;
	if (FAILS() || index >= 4)
		return -1;
	*gid = fake.gid[index];
	return 0;
}

static struct ibv_pd *fake_alloc_pd(struct ibv_context *context)
{
	struct ibv_pd *pd;

	if (FAILS())
		return NULL;
	pd = made(sizeof(*pd));
	pd->context = context;
	return pd;
}

static int fake_dealloc_pd(struct ibv_pd *pd)
{
	gone(pd);
	return FAILS() ? EBUSY : 0;
}

static struct ibv_cq *fake_create_cq(struct ibv_context *context, int cqe,
				     void *cq_context,
				     struct ibv_comp_channel *channel,
				     int comp_vector)
{
	struct fake_cq *cq;

	(void)context;
	(void)cqe;
	(void)cq_context;
	(void)channel;
	(void)comp_vector;
	if (FAILS())
		return NULL;
	cq = made(sizeof(*cq));
	return &cq->cq;
}

static int fake_destroy_cq(struct ibv_cq *cq)
{
	gone(cq);
	return FAILS() ? EBUSY : 0;
}

static struct ibv_srq *fake_create_srq(struct ibv_pd *pd,
				       struct ibv_srq_init_attr *attr)
{
	struct fake_srq *srq;

	(void)pd;
	(void)attr;
	if (FAILS())
		return NULL;
	srq = made(sizeof(*srq));
	return &srq->srq;
}

static int fake_destroy_srq(struct ibv_srq *srq)
{
	gone(srq);
	return FAILS() ? EBUSY : 0;
}

static struct ibv_qp *fake_create_qp(struct ibv_pd *pd,
				     struct ibv_qp_init_attr *attr)
{
	struct fake_qp *qp;

	if (FAILS())
		return NULL;
	qp = made(sizeof(*qp));
	qp->qp.pd = pd;
	qp->qp.qp_type = attr->qp_type;
	qp->cq = (struct fake_cq *)attr->send_cq;
	qp->srq = (struct fake_srq *)attr->srq;
	qp->max_sge = attr->cap.max_send_sge;
	qp->qp.qp_num = take_key((void **)qps, qp);
	if (++fake.qps > fake.qps_most)
		fake.qps_most = fake.qps;
	return &qp->qp;
}

static int fake_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr,
			  int mask)
{
	struct fake_qp *qp = (struct fake_qp *)ibqp;

	if (FAILS())
		return ENOMEM;
	if (attr->qp_state != qp->state + 1)
		return EINVAL; /* RESET, INIT, RTR, RTS in turn */
	if (mask & IBV_QP_AV)
		fake.used_gid = qp->gid_index = attr->ah_attr.grh.sgid_index;
	if (mask & IBV_QP_DEST_QPN)
		qp->peer = attr->dest_qp_num;
	if (mask & IBV_QP_PATH_MTU && attr->path_mtu != IBV_MTU_256)
		return EINVAL;
	qp->state = attr->qp_state;
	return 0;
}

static int fake_destroy_qp(struct ibv_qp *ibqp)
{
	qps[ibqp->qp_num] = NULL;
	fake.qps--;
	gone(ibqp);
	return FAILS() ? EBUSY : 0;
}

static struct ibv_ah *fake_create_ah(struct ibv_pd *pd,
				     struct ibv_ah_attr *attr)
{
	struct ibv_ah *ah;

	(void)pd;
	(void)attr;
	if (FAILS())
		return NULL;
	ah = made(sizeof(*ah));
	return ah;
}

static int fake_destroy_ah(struct ibv_ah *ah)
{
	gone(ah);
	return FAILS() ? EBUSY : 0;
}

static struct ibv_mr *fake_reg_mr_iova2(struct ibv_pd *pd, void *addr,
					size_t length, uint64_t iova,
					unsigned int access)
{
	struct fake_mr *mr;

	fake.access = access;
	fake.iova = iova;
	if (FAILS())
		return NULL;
	mr = made(sizeof(*mr));
	mr->base = addr;
	mr->iova = iova;
	mr->length = length;
	mr->access = access;
	mr->mr.pd = pd;
	mr->mr.addr = addr;
	mr->mr.length = length;
	mr->mr.lkey = mr->mr.rkey = take_key((void **)mrs, mr);
	if (!(access & IBV_ACCESS_ON_DEMAND))
		fake.plain_bytes += length;
	if (fake.plain_bytes > fake.plain_bytes_most)
		fake.plain_bytes_most = fake.plain_bytes;
	return &mr->mr;
}

static int fake_dereg_mr(struct ibv_mr *ibmr)
{
	struct fake_mr *mr = (struct fake_mr *)ibmr;

	mrs[ibmr->lkey] = NULL;
	if (!(mr->access & IBV_ACCESS_ON_DEMAND))
		fake.plain_bytes -= mr->length;
	fake_forget_pages(mr);
	gone(mr);
	return FAILS() ? EBUSY : 0;
}

static int fake_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
			  uint32_t flags, struct ibv_sge *sg_list,
			  uint32_t num_sge)
{
	struct fake_mr *mr = fake_find_mr(sg_list[0].lkey);

	(void)pd;
	if (FAILS())
		return ENOMEM;
	if (fake.advises < 8 && num_sge == 1)
		fake.advised[fake.advises] = sg_list[0];
	fake.advises++;
	if (mr)
		mr->advised = true;
	fake.advice = advice;
	fake.advise_flags = flags;
	if (fake.advise_error && fake.advise_errors) {
		if (fake.advise_errors > 0)
			fake.advise_errors--;
		return fake.advise_error;
	}
	if (mr)
		mr->prefetched = true;
	return 0;
}

static int fake_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
			  struct ibv_send_wr **bad_wr)
{
	*bad_wr = wr;
	if (FAILS())
		return ENOMEM;
	return fake_move((struct fake_qp *)qp, wr);
}

static int push_recv(struct fake_recvs *recvs, const struct ibv_recv_wr *wr)
{
	struct fake_recv *recv = &recvs->recv[recvs->head % FAKE_QUEUE];

	if (recvs->head - recvs->tail == FAKE_QUEUE || wr->num_sge > 4)
		return ENOMEM;
	recv->wr_id = wr->wr_id;
	recv->sges = wr->num_sge;
	memcpy(recv->sge, wr->sg_list,
	       (size_t)wr->num_sge * sizeof(recv->sge[0]));
	recvs->head++;
	return 0;
}

static int fake_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr,
			  struct ibv_recv_wr **bad_wr)
{
	*bad_wr = wr;
	return FAILS() ? ENOMEM : push_recv(&((struct fake_qp *)qp)->recvs, wr);
}

static int fake_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr,
			      struct ibv_recv_wr **bad_wr)
{
	*bad_wr = wr;
	return FAILS() ? ENOMEM
		       : push_recv(&((struct fake_srq *)srq)->recvs, wr);
}

static int fake_poll_cq(struct ibv_cq *ibcq, int num_entries, struct ibv_wc *wc)
{
	struct fake_cq *cq = (struct fake_cq *)ibcq;
	int n = 0;

	if (FAILS())
		return -1;
	while (n < num_entries && cq->tail != cq->head)
		wc[n++] = cq->wc[cq->tail++ % (4 * FAKE_QUEUE)];
	return n;
}

const struct verbs_table fake_verbs = {
	.open_device = fake_open_device,
	.close_device = fake_close_device,
	.query_device_ex = fake_query_device_ex,
	.query_port = fake_query_port,
	.query_gid = fake_query_gid,
	.alloc_pd = fake_alloc_pd,
	.dealloc_pd = fake_dealloc_pd,
	.create_cq = fake_create_cq,
	.destroy_cq = fake_destroy_cq,
	.create_srq = fake_create_srq,
	.destroy_srq = fake_destroy_srq,
	.create_qp = fake_create_qp,
	.modify_qp = fake_modify_qp,
	.destroy_qp = fake_destroy_qp,
	.create_ah = fake_create_ah,
	.destroy_ah = fake_destroy_ah,
	.reg_mr_iova2 = fake_reg_mr_iova2,
	.dereg_mr = fake_dereg_mr,
	.advise_mr = fake_advise_mr,
	.post_send = fake_post_send,
	.post_recv = fake_post_recv,
	.post_srq_recv = fake_post_srq_recv,
	.poll_cq = fake_poll_cq,
};
