/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "unit.h"
#include "window_fake.h"

#define REMOTE                                                                 \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |                    \
	 IBV_ACCESS_REMOTE_ATOMIC)

struct window_fake window_fake;

static struct ibv_mw *alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
	assert_int_equal(type, IBV_MW_TYPE_1);
	if (window_fake.fault == WINDOW_NO_MORE) {
		errno = ENOMEM;
		return NULL;
	}
	window_fake.mw = (struct ibv_mw){.pd = pd, .rkey = WINDOW_KEY};
	__atomic_add_fetch(&fake.live, 1, __ATOMIC_RELAXED);
	return &window_fake.mw;
}

static int dealloc_mw(struct ibv_mw *mw)
{
	assert_ptr_equal(mw, &window_fake.mw);
	if (window_fake.fault == WINDOW_NEVER_GOES)
		return EBUSY;
	window_fake.bound = NULL;
	window_fake.length = 0;
	window_fake.dealloced++;
	__atomic_sub_fetch(&fake.live, 1, __ATOMIC_RELAXED);
	return 0;
}

static struct ibv_context *open_device(struct ibv_device *device)
{
	struct ibv_context *context = fake_verbs.open_device(device);

	if (context && window_fake.fault != WINDOW_NONE) {
		context->ops.alloc_mw = alloc_mw;
		context->ops.dealloc_mw = dealloc_mw;
	}
	return context;
}

static int dereg_mr(struct ibv_mr *mr)
{
	if (window_fake.bound == (struct fake_mr *)mr ||
	    (window_fake.fault == WINDOW_HOLDS_ON &&
	     window_fake.last == (struct fake_mr *)mr && !window_fake.bound &&
	     !window_fake.dealloced) ||
	    (window_fake.fault == WINDOW_KEEPS_MR &&
	     window_fake.first == (struct fake_mr *)mr && window_fake.bound))
		return EINVAL;
	/* An MR that does not go is there. */
	if (fake.calls + 1 == fake.fail_at) {
		fake.calls++;
		window_fake.kept++;
		return EBUSY;
	}
	return fake_verbs.dereg_mr(mr);
}

static void bind(const struct ibv_mw_bind_info *info)
{
	window_fake.bindings++;
	if (window_fake.fault == WINDOW_NEW_KEY)
		window_fake.mw.rkey++;
	if ((window_fake.fault == WINDOW_STICKS && window_fake.bound) ||
	    (window_fake.fault == WINDOW_ALWAYS_SET && !info->length))
		return;
	if (!window_fake.first)
		window_fake.first = (struct fake_mr *)info->mr;
	window_fake.last = (struct fake_mr *)info->mr;
	window_fake.bound = info->length ? (struct fake_mr *)info->mr : NULL;
	window_fake.length = info->length;
}

/* A completion that says so, by a write of nothing. */
static int complete(struct ibv_qp *qp, uint64_t wr_id, bool is_good)
{
	struct ibv_sge nothing = {0};
	struct ibv_send_wr wr =
				   {
					   .wr_id = wr_id,
					   .opcode = IBV_WR_RDMA_READ,
					   .sg_list = &nothing,
					   .num_sge = !is_good,
				   },
			   *bad_wr;

	nothing.length = !is_good;
	return fake_verbs.post_send(qp, &wr, &bad_wr);
}

/* Wherever that is. */
static int reach_anything(struct ibv_qp *qp, const struct ibv_send_wr *wr)
{
	const struct fake_mr *on = window_fake.bound;
	void *local = (void *)(uintptr_t)wr->sg_list[0].addr;
	void *remote = (void *)(uintptr_t)wr->wr.rdma.remote_addr;

	if (window_fake.fault == WINDOW_UNBOUNDED)
		remote = on->base + (wr->wr.rdma.remote_addr - on->iova);

	if (wr->opcode == IBV_WR_RDMA_READ)
		memcpy(local, remote, wr->sg_list[0].length);
	else
		memcpy(remote, local, wr->sg_list[0].length);
	return complete(qp, wr->wr_id, true);
}

/* rxe looks at no bounds of the window, only at those of its MR. */
static int access_window(struct ibv_qp *qp, struct ibv_send_wr *wr,
			 struct ibv_send_wr **bad_wr)
{
	bool is_atomic = wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
	struct fake_mr *on = window_fake.bound;
	struct ibv_send_wr real = *wr;
	unsigned int before;
	int r;

	if (!on || (is_atomic && window_fake.fault == WINDOW_NO_ATOMICS))
		return complete(qp, wr->wr_id, false);
	if (window_fake.fault == WINDOW_UNBOUNDED ||
	    window_fake.fault == WINDOW_BY_ADDRESS)
		return reach_anything(qp, wr);
	if (is_atomic) {
		real.wr.atomic.rkey = on->mr.rkey;
	} else {
		real.wr.rdma.rkey = on->mr.rkey;
		real.wr.rdma.remote_addr += window_fake.fault == WINDOW_SHIFTED;
	}
	before = on->access;
	on->access |= REMOTE;
	r = fake_verbs.post_send(qp, &real, bad_wr);
	on->access = before;
	return r;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	if (wr->opcode != IBV_WR_BIND_MW)
		return access_window(qp, wr, bad_wr);
	window_fake.asked++;
	if (window_fake.on_bind)
		window_fake.on_bind();
	if (window_fake.fault == WINDOW_FULL)
		return ENOMEM;
	if (window_fake.fault == WINDOW_SILENT)
		return 0;
	if (window_fake.fault == WINDOW_REFUSES ||
	    window_fake.fault == WINDOW_NEVER_GOES ||
	    (window_fake.fault == WINDOW_REFUSES_MORE &&
	     wr->bind_mw.bind_info.length))
		return complete(qp, wr->wr_id, false);
	window_fake.is_unseen = window_fake.fault == WINDOW_LATE;
	bind(&wr->bind_mw.bind_info);
	return complete(qp, wr->wr_id, true);
}

static int poll_cq(struct ibv_cq *cq, int entries, struct ibv_wc *wc)
{
	const struct timespec late = {.tv_nsec = WINDOW_LATE_NS};

	if (!window_fake.is_unseen)
		return fake_verbs.poll_cq(cq, entries, wc);
	window_fake.is_unseen = false;
	nanosleep(&late, NULL);
	return 0;
}

void window_fake_reset(void)
{
	memset(&window_fake, 0, sizeof(window_fake));
	window_fake.table = fake_verbs;
	window_fake.table.open_device = open_device;
	window_fake.table.dereg_mr = dereg_mr;
	window_fake.table.post_send = post_send;
	window_fake.table.poll_cq = poll_cq;
	fake.device.transport_type = IBV_TRANSPORT_IB;
}
