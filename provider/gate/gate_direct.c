/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "gate_cq.h"
#include "gate_direct.h"
#include "gate_mark.h"
#include "gate_qp.h"

static int begin_qp(struct ibv_qp *qp)
{
	struct gate_locked locked;
	struct gate_qp *record;
	int r = -ENOMEM;

	/* it may be the first that is heard of it */
	gate_qp_modified(qp, IBV_QPS_UNKNOWN);
	gate_lock(&locked);
	record = gate_qp_find_locked(qp);
	if (record)
		r = record->is_marked ? -EBUSY : 0;
	if (!r)
		record->directs++;
	gate_unlock(&locked);
	return r;
}

static void undo_qp(struct ibv_qp *qp)
{
	struct gate_locked locked;
	struct gate_qp *record;

	gate_lock(&locked);
	record = gate_qp_find_locked(qp);
	if (record)
		record->directs--;
	gate_unlock(&locked);
}

int gate_direct_begin(struct ibv_qp *qp, struct ibv_cq *cq)
{
	int saved_errno = errno;
	int r = qp ? begin_qp(qp) : 0;

	if (!r && cq) {
		r = gate_cq_direct_begin(cq);
		if (r && qp)
			undo_qp(qp);
	}
	errno = saved_errno;
	return r;
}

void gate_direct_undo(struct ibv_qp *qp, struct ibv_cq *cq)
{
	int saved_errno = errno;

	if (qp)
		undo_qp(qp);
	if (cq)
		gate_cq_direct_undo(cq);
	errno = saved_errno;
}
