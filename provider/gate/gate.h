/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stops, drains and resumes the QPs that can use a region, so that its MR can
 * be replaced under a program that does not notice: its posts take longer, all
 * else is as ever.
 *
 *     attach ... close, drain, (sever), ... the MR goes and comes ..., open
 *
 * Who can use a region: the QPs of its PD; of a parent domain on it too, which
 * has the PD's handle. QPs are known from ibv_modify_qp() (none sends before
 * it), however they were made. Work that was posted before attaching cannot
 * name a region that is registered after: attach first.
 *
 * Nothing is patched in a context before gate_attach(). After it ops.post_send
 * is ours, and wr_start, wr_complete and wr_abort of each ibv_qp_ex. With the
 * gates open a post costs at most 12 instructions more (tests/bench/gate_post).
 * ops.bind_mw, ops.dealloc_mw and wr_bind_mw are ours as well: the program's
 * own windows (gate_window.h). Receives are never gated. ibv_poll_cq() is not
 * touched before the first drain of a context, after it ops.poll_cq stays ours.
 * Extended CQs that QPs send to are read through ours from attaching on
 * (gate_cq_ex.h).
 *
 * What is known and not there yet:
 *  - Raw packet and other QPs that are not RC, UC, UD or XRC cannot be drained:
 *    they count as left, as does a UD QP whose port has no address. So do QPs
 *    driven past post_send, and those that send to a CQ that the program reads
 *    itself (gate_direct.h). Objects made by DevX are not known at all. Those
 *    got at by efadv_query_qp_wqs(), efadv_query_cq(), bnxt_re_dv_init_obj()
 *    are taken for any others.
 *  - An XRC QP to receive has nothing to drain, one by ibv_open_qp() neither.
 *    It is in no PD that is known, and goes wherever all QPs are severed.
 *  - QPs of another context on the same PD (imported, here or in another
 *    process) are not held up: their work on a region that goes fails, nothing
 *    else. Nor are their lkeys translated. A region of an imported PD is not
 *    pinned at all (gate_pd.h).
 *  - What a driver's own builders of a batch (mlx5dv_wr_memcpy()) write between
 *    wr_start and wr_complete the gate holds up, but it goes with the lkeys
 * that the program gave.
 *  - An extended CQ that tells more than ibv_poll_cq() (time stamps, say)
 * cannot be reaped: its QPs count as left. So do those of one that may have
 * been in use before it was patched, and that nobody has polled since.
 *
 * Threads: all functions here may be called from any thread; the program's
 * threads meet them in its own calls. Not from a signal handler.
 * What waits, and what becomes of QPs, is counted by device (stats.h); nothing
 * of that is on the way of a post that meets an open gate. Fork: a child has
 * its gates open and no attached contexts' state beside the patched tables,
 * which go on working. Cancellation: no function here is a cancellation point,
 * waiting at a closed gate included.
 */
#ifndef DAXMR_GATE_H
#define DAXMR_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

/* The calls that the gate needs beside what contexts carry themselves. */
struct gate_verbs {
	int (*query_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask,
			struct ibv_qp_init_attr *init_attr);
	int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
	int (*query_srq)(struct ibv_srq *srq, struct ibv_srq_attr *attr);
	int (*resize_cq)(struct ibv_cq *cq, int cqe);
	int (*dereg_mr)(struct ibv_mr *mr);
	/* NULL: a library before rdma-core 28; nothing can be drained */
	struct ibv_mr *(*reg_mr_iova2)(struct ibv_pd *pd, void *addr,
				       size_t length, uint64_t iova,
				       unsigned int access);
	/* NULL: a library without ibv_qp_ex, rdma-core before 24 */
	struct ibv_qp_ex *(*qp_to_qp_ex)(struct ibv_qp *qp);
	/* One of them NULL: UD QPs cannot be drained. port is filled whole. */
	int (*query_port)(struct ibv_context *context, uint8_t number,
			  struct ibv_port_attr *port);
	int (*query_gid)(struct ibv_context *context, uint8_t port, int index,
			 union ibv_gid *gid);
	struct ibv_ah *(*create_ah)(struct ibv_pd *pd,
				    struct ibv_ah_attr *attr);
	int (*destroy_ah)(struct ibv_ah *ah);
};

/*
 * From now on the context's posts can be stopped. Counted: as many
 * gate_detach() undo it, and closing the context does. verbs has to stay.
 * 0; -ENOMEM; -ENOSYS: no membarrier(2) with private expedited commands
 * (Linux 4.14); -ENOSPC: contexts of more than GATE_SLOTS different providers;
 * -EOPNOTSUPP: the context has no post_send to patch.
 */
#define GATE_SLOTS 8
int gate_attach(struct ibv_context *context, const struct gate_verbs *verbs);
void gate_detach(struct ibv_context *context);

/* A gate that is closed. */
struct gate;

/*
 * Closes the gate of the PD, in a context that is attached. Posts that begin
 * now wait until gate_open(); a thread waits in the kernel, and if it ends, it
 * leaves nothing behind. A post from within another (a signal handler's, or one
 * between wr_start and wr_complete of an ibv_qp_ex) is let through, since the
 * outer one is waited for; one from within a poll (a signal handler's) while
 * gate_drain() waits for the poll, if a marker on its QP comes behind it.
 * Several gates may be closed at once, of one PD too.
 *
 * 0: nobody is inside a post of these QPs. -ETIMEDOUT: the gate is closed and
 * *ret is set all the same, but somebody is still inside at deadline_ns
 * (CLOCK_MONOTONIC). Else nothing is closed: -ENOMEM, -EINVAL (not attached).
 */
int gate_close(struct ibv_pd *pd, int64_t deadline_ns, struct gate **ret);

/* Why a QP could not be drained. */
enum gate_left {
	GATE_DRAINED,
	GATE_LEFT_LATE,	  /* its work was not done at the deadline */
	GATE_LEFT_KIND,	  /* no marker for QPs of this type or device */
	GATE_LEFT_STATE,  /* SQD, or state not to be had */
	GATE_LEFT_CQ,	  /* no room for the marker's completion in its CQ */
	GATE_LEFT_POLL,	  /* a thread may be inside an unpatched poll_cq */
	GATE_LEFT_POST,	  /* the device refused the marker */
	GATE_LEFT_DIRECT, /* the program works its rings itself */
	GATE_LEFTS
};
const char *gate_left_name(enum gate_left left);

/*
 * Waits until all that was posted on the gate's QPs is done: everything that
 * they do to local memory by themselves, and to remote memory as far as an
 * acknowledgement says. What peers do by themselves (one-sided operations,
 * sends into posted receives) is not waited for: deregistering ends it.
 *
 * A signaled marker is posted behind all else: on RC, UC and XRC the bind of a
 * window of ours to nothing, which does not leave the device; on UD an empty
 * datagram to the QP itself that is dropped there (gate_datagram.h), also where
 * a switch is asked to bring it. The program never sees its completion. All
 * others that had to be reaped for it reach the program through its own
 * ibv_poll_cq(), before newer ones of their CQ and in their order; completion
 * channels fire as ever. A CQ that could be too small for the marker is made
 * larger (ibv_resize_cq()); one that an XRC QP sends to always, as an XRC SRQ
 * may complete there that nobody knows of.
 *
 * QPs that never were in RTS, or are in ERR or SQE, have nothing to drain; nor
 * has one that the program destroys or resets meanwhile: what was reaped of it
 * is dropped, as a reset does.
 *
 * The number of QPs that are left undrained, for gate_sever(); each once to
 * each(), if not NULL, with qp_num and why. -ENOMEM: nothing was done.
 *
 * meanwhile(), if not NULL, is called again and again while the work is waited
 * for, with no lock held. It may do what takes time, drain another gate or the
 * same one and sever what that leaves: the deadline stays.
 */
int gate_drain(struct gate *gate, int64_t deadline_ns,
	       void (*each)(void *arg, uint32_t qp_num, enum gate_left why),
	       void (*meanwhile)(void *arg), void *arg);

/*
 * Ends what drain has left, or all QPs of the gate: they go to ERR. Their work
 * is flushed; their peers learn it at their next request, or from
 * gate_disconnect() (gate_cm.h), which is to be called later. The number of
 * those that went.
 */
int gate_sever(struct gate *gate, bool all);

/* Lets the waiting posts go, in no particular order. gate is gone. */
void gate_open(struct gate *gate);

/*
 * lkeys that stay what the program knows. promised is the lkey that it got
 * first; from now on its posts of promised (sends, not inline data; receives,
 * shared ones too) in the context go with actual. To be called again for each
 * re-registration, with the gate of the region's PD closed for sends; receives
 * see one or the other. actual 0: none for now, from before the MR goes until
 * there is another. 0; -ENOMEM; -EINVAL (not attached).
 */
int gate_key_promise(struct ibv_context *context, uint32_t promised,
		     uint32_t actual);

/* After the program's own deregistration. */
void gate_key_forget(struct ibv_context *context, uint32_t promised);

/*
 * A post on a QP of daxmr's own that is in a PD of the program's: no gate holds
 * it up, and its lkeys are the device's. While a gate is closed MRs go and
 * come, and windows are bound to them. `plain` posts in a context that is not
 * attached, ibv_post_send().
 */
int gate_post_past(int (*plain)(struct ibv_qp *qp, struct ibv_send_wr *wr,
				struct ibv_send_wr **bad_wr),
		   struct ibv_qp *qp, struct ibv_send_wr *wr,
		   struct ibv_send_wr **bad_wr);

/*
 * Whether lkey is promised in the context but belongs to another MR by now. A
 * new registration that gets such an lkey must not be handed out: keep it
 * until another is made, then give it back.
 */
bool gate_key_is_taken(struct ibv_context *context, uint32_t lkey);

/*
 * What the hooks report. A QP before ibv_modify_qp() (modifying: where it is to
 * go) and after it succeeded (modified: where it went); IBV_QPS_UNKNOWN if its
 * state is not changed. Destroying: before the real call;
 * destroyed: after it, with what the former returned (NULL: nothing known) and
 * the real call's result, so that a QP that could not be destroyed goes on. No
 * lock is held between the two; a call of ours that uses the QP in this moment
 * is waited for.
 */
struct gate_qp;
void gate_qp_modifying(struct ibv_qp *qp, enum ibv_qp_state state);
void gate_qp_modified(struct ibv_qp *qp, enum ibv_qp_state state);
struct gate_qp *gate_qp_destroying(struct ibv_qp *qp);
void gate_qp_destroyed(struct gate_qp *record, int result);
struct gate_cq;
struct gate_cq *gate_cq_destroying(struct ibv_cq *cq);
void gate_cq_destroyed(struct gate_cq *record, int result);
void gate_context_closing(struct ibv_context *context);

#endif
