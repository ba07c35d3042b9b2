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
 * tags, tag matching): they stay the provider's and cannot be drained.
 *
 * A thread may be inside a poll that it began with the provider's function.
 * It goes on with these; and as long as it may be, nobody but the program's own
 * threads waits for the CQ. None is there any more when one has polled through
 * ours after it was patched: that waited for the provider's lock, or there is
 * one thread only. None ever was where the CQ was patched before a QP of its
 * could receive or send: what polled until then has found nothing. (But one
 * that has been inside one call of ibv_start_poll() since, for as long as it
 * took to connect.)
 *
 * Lock order: the poll, which the program's thread holds from start to end, as
 * the provider's; then as in gate_cq.h.
 */
#ifndef DAXMR_GATE_CQ_EX_H
#define DAXMR_GATE_CQ_EX_H

#include "gate_cq.h"

/*
 * Patches the CQ, if it is an extended one that can be. is_fresh: no QP that
 * completes there has been able to receive or send so far. Takes the loader's
 * lock: not to be called with one of ours.
 */
void gate_cq_ex_patch(struct ibv_cq *cq, bool is_fresh);

/* GATE_DRAINED: it can be reaped. Takes the loader's lock. */
enum gate_left gate_cq_ex_left(struct gate_cq *record);

/* Whether nobody is in a poll of the provider's, or it is no extended one. */
bool gate_cq_ex_is_sure(const struct gate_cq *record);

/* Of a record that goes. */
void gate_cq_ex_free(struct gate_cq_ex *ex);

#endif
