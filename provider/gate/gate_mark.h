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

/* What inside counts: posts, and batches (wr_start to wr_complete). */
#define GATE_POST  1u
#define GATE_BATCH 0x10000u

struct gate_mark {
	_Atomic uint32_t inside;
	_Atomic uint32_t attention;
	/* The same for polls, which are only looked after while one drains. */
	_Atomic uint32_t polling;
	_Atomic uint32_t poll_attention;
	uint32_t poll_round; /* in which it was last seen to poll */
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

/*
 * Before a post of ours, to be left as GATE_POST: no gate holds it up. What
 * stood in the table when we attached may be another interposer's, and behind
 * it a function of ours, from an earlier time, that would wait.
 */
void gate_mark_pass(void);

/* Puts this thread's mark into the list, if it may be. With the lock. */
void gate_mark_link_locked(void);

/* All marks learn whether any gate is closed; waiters look again. */
void gate_mark_set_attention_locked(bool is_any_closed);
void gate_mark_set_poll_attention_locked(bool is_any_busy);

/* Once per process: 0, -ENOSYS, -ENOMEM. */
int gate_mark_init(void);

/* Sleeps in growing steps until it is not so any more. 0, -ETIMEDOUT. */
int gate_wait(bool (*is_it_so)(void), int64_t deadline_ns);

/* After attention was set. 0, -ETIMEDOUT. */
int gate_mark_wait_outside(int64_t deadline_ns);
int gate_mark_wait_not_polling(int64_t deadline_ns);
bool gate_mark_is_anybody_polling_locked(void);

/* A poll that looked at its attention, of a CQ that nobody drains. */
void gate_mark_poll_enter_locked(void);
void gate_mark_poll_leave(void);

/* Has the thread polled through our function since the round was begun? */
uint32_t gate_mark_next_poll_round(void);
bool gate_mark_has_polled(pid_t tid, uint32_t round);
void gate_mark_polled_locked(void);

/*
 * Answered by gate.c, for a post of this thread. With the lock. One from within
 * a poll passes where a drain waits for the poll, and with it for the post.
 */
bool gate_is_closed_locked(const struct ibv_qp *qp);
/* Whether polls have to ask: gate.c */
void gate_update_poll_attention(void);
/* In a child after fork: forget all closed gates, and what is severed. */
void gate_forget_closed_locked(void);

#endif
