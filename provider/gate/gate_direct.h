/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct verbs: a program that got at a QP's or CQ's rings (mlx5dv_init_obj()
 * and the like) posts and reads there by itself, and no gate holds it up. What
 * its driver's library knows of the ring is what it did there itself, nothing
 * of what the program does, and the other way.
 *
 * So nothing of ours goes into such a ring, and nothing is taken out: no marker
 * is posted to the QP, no completion reaped from the CQ. A drain leaves the QP,
 * and any that sends to such a CQ (GATE_LEFT_DIRECT), to be severed. Posts that
 * it still does meanwhile meet an MR that is gone, as those of its peers do.
 *
 * The races: a marker posted or a completion reaped between the program's
 * question for the rings and its first use of them. Both sides look under one
 * lock, so one of them comes first: asked first, no marker follows; a marker
 * first, the question is refused. A program that asks for a QP before that is
 * in RTS (since it was made or reset), as all do that mean to use the answer,
 * is never refused. A CQ is marked for its life, by the first drain of any QP
 * that sends to it: who asks before is never refused, else it takes another CQ.
 */
#ifndef DAXMR_GATE_DIRECT_H
#define DAXMR_GATE_DIRECT_H

#include <infiniband/verbs.h>

/*
 * Before the program gets at the rings of qp, of cq, or of both (NULL: not of
 * that one); undone if it does not get there. Also for a QP that nobody has
 * modified yet, and in a context that is not attached. For the life of the
 * object: a reset does not take back what the program knows.
 *
 * 0. Else nothing is noted, and it must not get there: -EBUSY: something of
 * ours went through the ring (of a QP: since it was last reset; of a CQ: ever);
 * -ENOMEM.
 */
int gate_direct_begin(struct ibv_qp *qp, struct ibv_cq *cq);
void gate_direct_undo(struct ibv_qp *qp, struct ibv_cq *cq);

#endif
