/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CQs that the program reads by ibv_start_poll(): from the attaching of their
 * context on it gets each completion as a copy that ibv_poll_cq() has made.
 *
 * A provider holds its CQ's lock from ibv_start_poll() to ibv_end_poll(), and
 * the program posts in between: it would wait at a closed gate with the lock,
 * and the drain for the lock. With a copy the provider's is free; what has been
 * reaped comes first, and markers are taken out, as for any poll (gate_cq.h).
 *
 * Not those that tell more than ibv_poll_cq() does (time stamps, VLANs, flow
 * tags, tag matching; all of provider efa, whose own readers look behind the
 * CQ): they stay the provider's and cannot be drained.
 *
 * A poll may be open that was begun with the provider's function. It goes on
 * with these; and as long as one may be, nobody but the program's own threads
 * waits for the CQ. None is there any more when one has polled through ours
 * after it was patched: that waited for the provider's lock, or there is one
 * thread only. None ever was where the CQ was patched before a QP of its could
 * receive or send: what polled until then has found nothing. What QPs that are
 * gone have done is not known: after the first such, a CQ counts as in use. (A
 * thread that has read the provider's pointer before the patch and has not yet
 * called it when that is decided is not seen. It would be in a call since then,
 * for as long as it takes to connect, or another to poll.)
 *
 * A poll belongs to no thread: what begins here may end in another, as tasks
 * go. It is ours from a start of ours that found something to its end.
 *
 * Lock order: the poll, which the program holds from start to end, as the
 * provider's; then as in gate_cq.h.
 */
#ifndef DAXMR_GATE_CQ_EX_H
#define DAXMR_GATE_CQ_EX_H

#include "gate_cq.h"

/*
 * Notes what the CQ is, and patches it if it is an extended one that can be.
 * Takes the loader's lock, whose holder may wait at a closed gate: not to be
 * called with a lock of ours, nor by who opens the gate.
 */
void gate_cq_ex_patch(struct ibv_cq *cq);

/* GATE_DRAINED: it can be reaped. */
enum gate_left gate_cq_ex_left(const struct gate_cq *record);

/* Whether nobody can be in a poll of the provider's. */
bool gate_cq_ex_is_sure_locked(const struct gate_cq *record);

/* Of a record that goes. */
void gate_cq_ex_free(struct gate_cq_ex *ex);

#endif
