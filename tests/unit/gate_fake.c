/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gate_fake.h"

static struct ibv_device device = {.name = "fake0"};
struct verbs_context fake_context;
struct ibv_pd fake_pds[2];
_Atomic bool fake_closed;
_Atomic int fake_windows;
void (*_Atomic fake_in_poll)(void);
int fake_gids;
_Atomic int fake_addresses_made;
int64_t fake_address_ns;
uint32_t fake_batch_lkeys[4], fake_receive_lkeys[16];
unsigned int fake_received;

struct ibv_qp *fake_ibv(struct fake_qp *qp)
{
	return &qp->ex.qp_base;
}

static struct fake_qp *of_qp(struct ibv_qp *qp)
{
	return (struct fake_qp *)qp;
}

/* Tests post other work. */
static bool is_marker(const struct ibv_send_wr *wr)
{
	return wr->opcode == IBV_WR_BIND_MW ||
	       (wr->opcode == IBV_WR_SEND && !wr->num_sge);
}

static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_object objects[FAKE_OBJECTS];
_Atomic bool fake_keeps_windows;
struct ibv_mw *fake_kept_window;
_Atomic bool fake_holds_windows, fake_is_freeing;

const struct ibv_mr *fake_is_on(const struct ibv_mw *mw)
{
	const struct ibv_mr *mr;

	pthread_mutex_lock(&objects_lock);
	mr = objects[mw->handle].mr;
	pthread_mutex_unlock(&objects_lock);
	return mr;
}

static void put_on(const struct ibv_mw *mw, const struct ibv_mw_bind_info *info)
{
	pthread_mutex_lock(&objects_lock);
	if (objects[mw->handle].is_there)
		objects[mw->handle].mr = info->length ? info->mr : NULL;
	pthread_mutex_unlock(&objects_lock);
}

static int post_one(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
	unsigned int at = qp->tail % FAKE_DEPTH;

	if (qp->tail - qp->head == qp->depth)
		return ENOMEM;
	qp->queue[at] = *wr;
	if (wr->num_sge)
		qp->sges[at] = wr->sg_list[0];
	if (wr->opcode == IBV_WR_BIND_MW && wr->bind_mw.mw)
		put_on(wr->bind_mw.mw, &wr->bind_mw.bind_info);
	qp->tail++;
	if (is_marker(wr)) {
		qp->done--;
		return 0;
	}
	qp->posted++;
	if (fake_closed && qp->ex.qp_base.pd == &fake_pds[0])
		qp->posted_late++;
	return 0;
}

static int post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	struct fake_qp *qp = of_qp(ibqp);
	int r = 0;

	pthread_mutex_lock(&qp->lock);
	for (; wr && !r; wr = wr->next) {
		r = post_one(qp, wr);
		if (r)
			*bad_wr = wr;
	}
	pthread_mutex_unlock(&qp->lock);
	return r;
}

static void receive(const struct ibv_recv_wr *wr)
{
	for (; wr; wr = wr->next)
		fake_receive_lkeys[fake_received++ % 16] = wr->sg_list[0].lkey;
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr,
		     struct ibv_recv_wr **bad_wr)
{
	(void)qp;
	(void)bad_wr;
	receive(wr);
	return 0;
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr,
			 struct ibv_recv_wr **bad_wr)
{
	(void)srq;
	(void)bad_wr;
	receive(wr);
	return 0;
}

static struct ibv_mw *alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
	static uint32_t rkeys;
	struct ibv_mw *mw = calloc(1, sizeof(*mw));

	if (!mw)
		return NULL;
	mw->context = pd->context;
	mw->pd = pd;
	mw->type = type;
	pthread_mutex_lock(&objects_lock);
	while (objects[mw->handle].is_there)
		mw->handle++;
	objects[mw->handle].is_there = true;
	objects[mw->handle].mr = NULL;
	mw->rkey = ++rkeys << 8;
	pthread_mutex_unlock(&objects_lock);
	fake_windows++;
	return mw;
}

static int dealloc_mw(struct ibv_mw *mw)
{
	bool was_there;

	if (fake_keeps_windows) {
		fake_kept_window = mw;
		return EBUSY;
	}
	fake_is_freeing = true;
	while (fake_holds_windows)
		sched_yield();
	pthread_mutex_lock(&objects_lock);
	was_there = objects[mw->handle].is_there;
	objects[mw->handle].is_there = false;
	objects[mw->handle].mr = NULL;
	pthread_mutex_unlock(&objects_lock);
	if (!was_there)
		return ENOENT;
	fake_windows--;
	free(mw);
	return 0;
}

static int bind_mw(struct ibv_qp *ibqp, struct ibv_mw *mw,
		   struct ibv_mw_bind *bind)
{
	struct ibv_send_wr wr = {
		.wr_id = bind->wr_id,
		.opcode = IBV_WR_BIND_MW,
		.send_flags = bind->send_flags,
		.bind_mw = {.mw = mw, .bind_info = bind->bind_info}};
	struct fake_qp *qp = of_qp(ibqp);
	int r;

	/* as rxe's provider, which would look into it */
	if (!bind->bind_info.mr || bind->bind_info.mr->pd != mw->pd)
		return EINVAL;
	mw->rkey++;
	pthread_mutex_lock(&qp->lock);
	r = post_one(qp, &wr);
	pthread_mutex_unlock(&qp->lock);
	return r;
}

static struct ibv_mr *reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length,
				   uint64_t iova, unsigned int access)
{
	struct ibv_mr *mr = calloc(1, sizeof(*mr));

	(void)iova;
	(void)access;
	if (!mr)
		return NULL;
	*mr = (struct ibv_mr){pd->context, pd, addr, length, 0, 0, 0};
	fake_windows++;
	return mr;
}

static int dereg_mr(struct ibv_mr *mr)
{
	bool is_used = false;

	pthread_mutex_lock(&objects_lock);
	for (size_t i = 0; i < FAKE_OBJECTS; i++)
		is_used = is_used || objects[i].mr == mr;
	pthread_mutex_unlock(&objects_lock);
	if (is_used)
		return EINVAL;
	fake_windows--;
	free(mr);
	return 0;
}

static int query_port(struct ibv_context *context, uint8_t number,
		      struct ibv_port_attr *port)
{
	(void)context;
	memset(port, 0, sizeof(*port));
	port->link_layer = IBV_LINK_LAYER_ETHERNET;
	port->gid_tbl_len = 4;
	return number == 1 ? 0 : EINVAL;
}

/* The last ones are there. */
static int query_gid(struct ibv_context *context, uint8_t port, int index,
		     union ibv_gid *gid)
{
	(void)context;
	(void)port;
	memset(gid, 0, sizeof(*gid));
	if (index >= 4 - fake_gids)
		gid->raw[15] = (uint8_t)index;
	return 0;
}

static struct ibv_ah *create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr)
{
	struct timespec time = {fake_address_ns / 1000000000,
				fake_address_ns % 1000000000};
	struct ibv_ah *ah = calloc(1, sizeof(*ah));

	clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
	fake_addresses_made++;
	if (!ah || attr->grh.dgid.raw[15] != attr->grh.sgid_index) {
		free(ah);
		return NULL;
	}
	*ah = (struct ibv_ah){.context = pd->context, .pd = pd};
	fake_windows++;
	return ah;
}

static int destroy_ah(struct ibv_ah *ah)
{
	fake_windows--;
	free(ah);
	return 0;
}

static void complete(struct fake_cq *cq, const struct ibv_wc *wc)
{
	pthread_mutex_lock(&cq->lock);
	if (cq->tail - cq->head == (unsigned int)cq->cq.cqe)
		cq->has_overrun = true;
	else
		cq->ring[cq->tail++ % FAKE_DEPTH] = *wc;
	pthread_mutex_unlock(&cq->lock);
}

static enum ibv_wc_opcode opcode_of(const struct ibv_send_wr *wr)
{
	return wr->opcode == IBV_WR_BIND_MW ? IBV_WC_BIND_MW
	       : wr->opcode == IBV_WR_SEND  ? IBV_WC_SEND
					    : IBV_WC_RDMA_WRITE;
}

static void finish_one(struct fake_qp *qp, enum ibv_wc_status status)
{
	const struct ibv_send_wr *wr = &qp->queue[qp->head++ % FAKE_DEPTH];
	const struct ibv_wc wc = {.wr_id = wr->wr_id,
				  .status = status,
				  .opcode = opcode_of(wr),
				  .qp_num = qp->ex.qp_base.qp_num};

	qp->done++;
	if (wr->send_flags & IBV_SEND_SIGNALED || status)
		complete((struct fake_cq *)qp->ex.qp_base.send_cq, &wc);
}

unsigned int fake_run(struct fake_qp *qp, unsigned int count)
{
	unsigned int n = 0;

	pthread_mutex_lock(&qp->lock);
	for (; n < count && qp->head != qp->tail; n++)
		finish_one(qp, qp->ex.qp_base.state == IBV_QPS_ERR
				       ? IBV_WC_WR_FLUSH_ERR
				       : IBV_WC_SUCCESS);
	pthread_mutex_unlock(&qp->lock);
	return n;
}

void fake_receive(struct fake_qp *qp, uint64_t wr_id)
{
	const struct ibv_wc wc = {.wr_id = wr_id,
				  .opcode = IBV_WC_RECV,
				  .qp_num = qp->ex.qp_base.qp_num};

	complete((struct fake_cq *)qp->ex.qp_base.recv_cq, &wc);
}

/*
 * Spins, as providers do. TSan sees no order of locks in it, and is not to: who
 * is inside one that was begun before the patch may take any lock of ours,
 * since nobody who has one waits for that CQ (gate_cq_ex.h).
 */
static void begin_poll(struct fake_cq *cq)
{
	while (atomic_exchange(&cq->is_polled, true))
		sched_yield();
}

static int take(struct fake_cq *cq, int count, struct ibv_wc *wc)
{
	int n = 0;

	pthread_mutex_lock(&cq->lock);
	for (; n < count && cq->head != cq->tail; n++)
		wc[n] = cq->ring[cq->head++ % FAKE_DEPTH];
	pthread_mutex_unlock(&cq->lock);
	return n;
}

static int poll_cq(struct ibv_cq *ibcq, int count, struct ibv_wc *wc)
{
	struct fake_cq *cq = (struct fake_cq *)ibcq;
	void (*in_poll)(void);
	int n;

	begin_poll(cq);
	in_poll = atomic_exchange(&fake_in_poll, NULL);
	if (in_poll)
		in_poll();
	n = take(cq, count, wc);
	cq->is_polled = false;
	return n;
}

static int next_poll(struct ibv_cq_ex *ex)
{
	struct fake_cq *cq = (struct fake_cq *)ex;

	if (!take(cq, 1, &cq->current))
		return ENOENT;
	ex->wr_id = cq->current.wr_id;
	ex->status = cq->current.status;
	return 0;
}

static int start_poll(struct ibv_cq_ex *ex, struct ibv_poll_cq_attr *attr)
{
	struct fake_cq *cq = (struct fake_cq *)ex;
	int r;

	(void)attr;
	begin_poll(cq);
	r = next_poll(ex);
	cq->polls += !r;
	if (r)
		cq->is_polled = false;
	return r;
}

static void end_poll(struct ibv_cq_ex *ex)
{
	((struct fake_cq *)ex)->is_polled = false;
}

static enum ibv_wc_opcode read_opcode(struct ibv_cq_ex *ex)
{
	return ((struct fake_cq *)ex)->current.opcode;
}

static uint32_t read_qp_num(struct ibv_cq_ex *ex)
{
	return ((struct fake_cq *)ex)->current.qp_num;
}

static void batch_start(struct ibv_qp_ex *ex)
{
	pthread_mutex_lock(&((struct fake_qp *)ex)->lock);
}

static void batch_write(struct ibv_qp_ex *ex, uint32_t rkey, uint64_t addr)
{
	const struct ibv_send_wr wr = {.wr_id = ex->wr_id,
				       .send_flags = ex->wr_flags,
				       .opcode = IBV_WR_RDMA_WRITE,
				       .wr.rdma = {addr, rkey}};

	post_one((struct fake_qp *)ex, &wr);
}

static void batch_bind(struct ibv_qp_ex *ex, struct ibv_mw *mw, uint32_t rkey,
		       const struct ibv_mw_bind_info *info)
{
	const struct ibv_send_wr wr = {.wr_id = ex->wr_id,
				       .send_flags = ex->wr_flags,
				       .opcode = IBV_WR_BIND_MW,
				       .bind_mw = {mw, rkey, *info}};

	post_one((struct fake_qp *)ex, &wr);
}

static void batch_set_sge(struct ibv_qp_ex *ex, uint32_t lkey, uint64_t addr,
			  uint32_t length)
{
	(void)ex;
	(void)addr;
	(void)length;
	fake_batch_lkeys[0] = lkey;
}

static void batch_set_sge_list(struct ibv_qp_ex *ex, size_t count,
			       const struct ibv_sge *sges)
{
	(void)ex;
	for (size_t i = 0; i < count && i < 4; i++)
		fake_batch_lkeys[i] = sges[i].lkey;
}

static int batch_complete(struct ibv_qp_ex *ex)
{
	pthread_mutex_unlock(&((struct fake_qp *)ex)->lock);
	return 0;
}

static void batch_abort(struct ibv_qp_ex *ex)
{
	pthread_mutex_unlock(&((struct fake_qp *)ex)->lock);
}

static struct ibv_qp_ex *qp_to_qp_ex(struct ibv_qp *qp)
{
	return of_qp(qp)->has_batches ? &of_qp(qp)->ex : NULL;
}

static int query_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask,
		    struct ibv_qp_init_attr *init)
{
	struct fake_qp *qp = of_qp(ibqp);

	(void)mask;
	memset(attr, 0, sizeof(*attr));
	memset(init, 0, sizeof(*init));
	pthread_mutex_lock(&qp->lock);
	attr->qp_state = ibqp->state;
	pthread_mutex_unlock(&qp->lock);
	attr->port_num = 1;
	attr->qkey = qp->qkey;
	init->cap.max_send_wr = attr->cap.max_send_wr = qp->depth;
	return 0;
}

static int modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask)
{
	struct fake_qp *qp = of_qp(ibqp);

	if (!(mask & IBV_QP_STATE))
		return 0;
	pthread_mutex_lock(&qp->lock);
	ibqp->state = attr->qp_state;
	if (ibqp->state == IBV_QPS_RESET)
		qp->head = qp->tail;
	pthread_mutex_unlock(&qp->lock);
	return 0;
}

static int query_srq(struct ibv_srq *srq, struct ibv_srq_attr *attr)
{
	(void)srq;
	memset(attr, 0, sizeof(*attr));
	return 0;
}

static int resize_cq(struct ibv_cq *cq, int cqe)
{
	if (cqe > FAKE_DEPTH)
		return EINVAL;
	pthread_mutex_lock(&((struct fake_cq *)cq)->lock);
	cq->cqe = cqe;
	pthread_mutex_unlock(&((struct fake_cq *)cq)->lock);
	return 0;
}

const struct gate_verbs fake_verbs = {
	.query_qp = query_qp,
	.modify_qp = modify_qp,
	.query_srq = query_srq,
	.resize_cq = resize_cq,
	.dereg_mr = dereg_mr,
	.reg_mr_iova2 = reg_mr_iova2,
	.qp_to_qp_ex = qp_to_qp_ex,
	.query_port = query_port,
	.query_gid = query_gid,
	.create_ah = create_ah,
	.destroy_ah = destroy_ah,
};

void fake_init(void)
{
	struct ibv_context *context = &fake_context.context;

	gate_context_closing(context);
	memset(&fake_context, 0, sizeof(fake_context));
	context->device = &device;
	context->abi_compat = __VERBS_ABI_IS_EXTENDED;
	context->ops.post_send = post_send;
	context->ops.post_recv = post_recv;
	context->ops.post_srq_recv = post_srq_recv;
	context->ops.poll_cq = poll_cq;
	context->ops.alloc_mw = alloc_mw;
	context->ops.dealloc_mw = dealloc_mw;
	context->ops.bind_mw = bind_mw;
	for (unsigned int i = 0; i < 2; i++)
		fake_pds[i] = (struct ibv_pd){.context = context, .handle = i};
	fake_closed = false;
	fake_windows = 0;
	fake_gids = 2;
	fake_addresses_made = 0;
	fake_address_ns = 0;
	fake_keeps_windows = fake_holds_windows = fake_is_freeing = false;
	memset(objects, 0, sizeof(objects));
}

void fake_cq_init(struct fake_cq *cq, int cqe)
{
	memset(cq, 0, sizeof(*cq));
	cq->cq.context = &fake_context.context;
	cq->cq.cqe = cqe;
	pthread_mutex_init(&cq->lock, NULL);
}

void fake_cq_ex_init(struct fake_cq *cq, int cqe)
{
	fake_cq_init(cq, cqe);
	cq->ex.start_poll = start_poll;
	cq->ex.next_poll = next_poll;
	cq->ex.end_poll = end_poll;
	cq->ex.read_opcode = read_opcode;
	cq->ex.read_qp_num = read_qp_num;
}

void fake_qp_init(struct fake_qp *qp, struct ibv_pd *pd, struct fake_cq *cq,
		  enum ibv_qp_type type)
{
	static uint32_t numbers = 100;
	struct ibv_qp *ibqp = fake_ibv(qp);

	memset(qp, 0, sizeof(*qp));
	ibqp->context = &fake_context.context;
	ibqp->pd = pd;
	ibqp->send_cq = ibqp->recv_cq = &cq->cq;
	ibqp->qp_num = ++numbers;
	ibqp->qp_type = type;
	ibqp->state = IBV_QPS_RTS;
	pthread_mutex_init(&qp->lock, NULL);
	qp->has_batches = true;
	qp->depth = FAKE_DEPTH;
	qp->ex.wr_start = batch_start;
	qp->ex.wr_rdma_write = batch_write;
	qp->ex.wr_bind_mw = batch_bind;
	qp->ex.wr_set_sge = batch_set_sge;
	qp->ex.wr_set_sge_list = batch_set_sge_list;
	qp->ex.wr_complete = batch_complete;
	qp->ex.wr_abort = batch_abort;
	gate_qp_modified(ibqp, IBV_QPS_INIT);
	gate_qp_modified(ibqp, IBV_QPS_RTS);
}

int fake_post(struct fake_qp *qp, uint64_t wr_id, unsigned int flags)
{
	struct ibv_send_wr wr = {.wr_id = wr_id,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = flags},
			   *bad_wr;

	return ibv_post_send(fake_ibv(qp), &wr, &bad_wr);
}
