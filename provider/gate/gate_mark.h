/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which threads are inside a post, and how they are kept out.
 *
 * Each thread has a mark in its thread-local storage. A post sets inside, then
 * looks at attention; who closes a gate sets attention in all marks, makes
 * every running thread execute a barrier (membarrier(2)), then waits for inside
 * to be 0. One of the two sees the other, and the post pays for no barrier.
 *
 * A mark that is not in the list yet, or not any more, has attention set: its
 * thread takes the slow way, which knows.
 */
#ifndef DAXMR_GATE_MARK_H
#define DAXMR_GATE_MARK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <infiniband/verbs.h>

/* inside: posts never nest in it, batches (wr_start to wr_complete) do. */
#define GATE_POST  1u
#define GATE_BATCH 2u

struct gate_mark {
	_Atomic uint32_t inside;
	_Atomic uint32_t attention;
	_Atomic uint32_t
		poll_round; /* of the last patched poll, gate_grace.h */
	bool is_linked;
	bool is_dead; /* the thread is ending: not linked again */
	pid_t tid;
	struct gate_mark *next;
};

/* initial-exec: found without a call */
extern __thread struct gate_mark gate_mark
	__attribute__((tls_model("initial-exec")));

/*
 * The one lock of gate/: marks, gates, contexts, records of QPs and CQs. Taken
 * with signals blocked, since a handler may post. Held across fork. Never held
 * in a call into a device.
 */
struct gate_locked {
	sigset_t signals;
};
void gate_lock(struct gate_locked *ret);
void gate_unlock(const struct gate_locked *locked);

/* Waits until qp's gates are open, then adds unit to inside. Keeps errno. */
void gate_mark_enter(struct ibv_qp *qp, uint32_t unit);
void gate_mark_leave(uint32_t unit);

/* Puts this thread's mark into the list, if it may be. With the lock. */
void gate_mark_link_locked(void);

/* All marks learn whether any gate is closed; waiters look again. */
void gate_mark_set_attention_locked(bool is_any_closed);

/* Once per process: 0, -ENOSYS, -ENOMEM. */
int gate_mark_init(void);

/* After attention was set. 0, -ETIMEDOUT. */
int gate_mark_wait_outside(int64_t deadline_ns);

/* Which poll round the thread tid was seen in last; 0: none. */
uint32_t gate_mark_poll_round_locked(pid_t tid);

/* Answered by gate.c. With the lock. */
bool gate_is_closed_locked(const struct ibv_qp *qp);
/* In a child after fork: forget all closed gates. */
void gate_forget_closed_locked(void);

#endif
