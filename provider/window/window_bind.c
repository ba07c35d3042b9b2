/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "gate/gate.h"
#include "trust_port.h"
#include "window_bind.h"

int window_loop_open(struct loop *loop, const struct verbs_table *verbs,
		     struct ibv_pd *pd)
{
	int r;

	memset(loop, 0, sizeof(*loop));
	loop->verbs = verbs;
	loop->context = pd->context;
	loop->pd = pd;
	loop->sges = 1;
	r = verbs->query_device_ex(pd->context, NULL, &loop->attr);
	if (r) {
		loop_fail(loop, r, "the device cannot be queried");
		return -r;
	}
	if (port_find(loop))
		return -ENETDOWN;
	errno = 0;
	loop->cq = verbs->create_cq(pd->context, 4 * LOOP_DEPTH, NULL, NULL, 0);
	if (loop->cq)
		return 0;
	r = errno ? -errno : -EIO;
	loop_fail_pinned(loop, -r, "no completion queue");
	return r;
}

void window_loop_close(struct loop *loop)
{
	loop->context = NULL;
	loop->pd = NULL;
	loop_close(loop);
}

/* Between two looks: the device may be a driver that needs this processor. */
static void give_way(unsigned int looks)
{
	struct timespec pause = {.tv_nsec = looks < 1000 ? 20000 : 1000000};

	if (looks < 100)
		sched_yield();
	else
		nanosleep(&pause, NULL);
}

/*
 * Those of a pair that was given up may still be there. The clock is read
 * before the last look: the thread may have been away for longer than it was to
 * wait, and the completion has come meanwhile.
 */
static int wait_for(struct loop *loop, uint64_t wr_id, uint64_t patience_ns,
		    enum ibv_wc_status *ret_status)
{
	uint64_t deadline_ns = loop_now_ns() + patience_ns;
	struct ibv_wc wc;
	bool is_over;
	int n;

	for (unsigned int looks = 0;; looks++) {
		is_over = loop_now_ns() >= deadline_ns;
		n = loop->verbs->poll_cq(loop->cq, 1, &wc);
		if (n < 0)
			return loop_fail(loop, 0,
					 "its completion queue failed"),
			       -EIO;
		if (n && wc.wr_id == wr_id) {
			*ret_status = wc.status;
			return 0;
		}
		if (!n && is_over)
			return loop_fail(loop, 0, "it does not answer"),
			       -ETIMEDOUT;
		if (!n)
			give_way(looks);
	}
}

int window_run(struct loop *loop, struct ibv_send_wr *wr, uint64_t patience_ns,
	       enum ibv_wc_status *ret_status)
{
	struct ibv_send_wr *bad_wr;
	int r;

	*ret_status = IBV_WC_GENERAL_ERR;
	loop->reason[0] = '\0';
	if (loop_link(loop, LINK_RC))
		return -EIO;
	loop_new_batch(loop);
	wr->wr_id = loop_wr_id(loop, false, 0);
	wr->send_flags |= IBV_SEND_SIGNALED;
	r = gate_post_past(loop->verbs->post_send, loop->link[LINK_RC].a, wr,
			   &bad_wr);
	if (r) {
		r = r < 0 ? r : -r;
		loop_fail(loop, -r, "it takes no such work request");
	} else {
		r = wait_for(loop, wr->wr_id, patience_ns, ret_status);
	}
	if (r || *ret_status != IBV_WC_SUCCESS)
		loop_unlink(loop, LINK_RC);
	return r;
}

int window_bind(struct loop *loop, const struct ibv_mw *mw,
		const struct window_range *range, uint64_t patience_ns)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.bind_mw =
			{
				.mw = (struct ibv_mw *)mw,
				.rkey = mw->rkey,
				.bind_info =
					{
						.mr = range->mr,
						.addr = range->addr,
						.length = range->length,
						.mw_access_flags =
							range->access,
					},
			},
	};
	enum ibv_wc_status status;
	int r = window_run(loop, &wr, patience_ns, &status);

	if (r)
		return r;
	if (status == IBV_WC_SUCCESS)
		return 0;
	loop_fail(loop, 0, "the bind ends with status %d", status);
	return -EIO;
}
