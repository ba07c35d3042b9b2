/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "engine.h"
#include "gate/gate_direct.h"
#include "log.h"
#include "shadows.h"
#include "window/window.h"

static struct pinned *context_closing(struct ibv_context *context)
{
	struct pinned *left = pinned_context_closing(context);

	window_context_closing(context);
	gate_context_closing(context);
	return left;
}

static int direct_begin(struct ibv_qp *qp, struct ibv_cq *cq)
{
	int r = gate_direct_begin(qp, cq);

	if (r == -EBUSY)
		log_write(LOG_WARN,
			  "%s: direct verbs on a QP or CQ that was drained for "
			  "a pinned region: EBUSY; ask for a QP before it is "
			  "in RTS, for a CQ before any QP that sends to it is "
			  "drained, or make another CQ",
			  (qp ? qp->context : cq->context)->device->name);
	return r;
}

const struct engine *daxmr_private_engine(unsigned int version)
{
	/* Who asks has the hooks. */
	static const struct engine engine = {
		.reg = region_register,
		.rereg = region_reregister,
		.dereg = region_deregister,
		.qp_modifying = gate_qp_modifying,
		.qp_modified = gate_qp_modified,
		.qp_destroying = gate_qp_destroying,
		.qp_destroyed = gate_qp_destroyed,
		.cq_destroying = gate_cq_destroying,
		.cq_destroyed = gate_cq_destroyed,
		.cm_channel_made = gate_cm_channel_made,
		.cm_channel_going = gate_cm_channel_going,
		.cm_qp_made = gate_cm_qp_made,
		.cm_id_going = gate_cm_id_going,
		.pd_imported = gate_pd_imported,
		.pd_going = gate_pd_going,
		.direct_begin = direct_begin,
		.direct_undo = gate_direct_undo,
		.context_closing = context_closing,
		.context_closed = pinned_context_closed,
		.has_pd = pinned_has_pd,
		.leased_files = &own_files,
		.opening = guard_opening,
		.changing = guard_changing,
		.punching = guard_punching,
		.truncate = guard_truncate,
		.end = guard_end,
		.closing = guard_closing,
		.closed = guard_closed,
		.shadows = &shadows_count,
		.lease_acquire = leases_acquire,
		.lease_release = leases_release,
		.lease_stage = lease_stage,
		.lease_unstage = lease_unstage,
		.lease_state = lease_state,
		.lease_reports = lease_reports,
		.sync_memory = sync_memory,
		.sync_file = sync_file,
		.sync_files = sync_files,
		.io = file_io,
		.sendfile = file_sendfile,
		.copy_range = file_copy_range,
		.splice = file_splice,
		.mapped = map_made,
		.mapping_over = map_over,
		.unmapping = map_leaving,
		.moving = map_move,
		.moved = map_moved,
		.advising = map_advise,
		.punch_shadow = guard_punch_shadow,
		.shifting = guard_shifting,
		.kept_locks = &kept_locks,
		.locked = kept_locks_locked,
		.mapped_locked = kept_locks_mapped,
		.closing_locked = kept_locks_closing,
		.unmapped_locked = kept_locks_unmapped,
		.moved_locked = kept_locks_moved,
	};

	if (version != DAXMR_ENGINE_VERSION)
		return NULL;
	pinned_has_hooks();
	return &engine;
}
