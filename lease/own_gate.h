/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of the two holds the bytes of a file, its shadow or itself, does not
 * change while a call of the program's is at them.
 *
 *   caller (any thread)           engine thread
 *   own_gate_enter --.
 *     walks the      | busy       own_gate_close: no new ones come in, and
 *     extents, reads |              those that are in come out
 *     and writes     |            extents come and go, shadow and file change
 *   own_gate_leave --'              places
 *                                 own_gate_open
 *
 * There is one gate for each file that has shadows. The extents of a file are
 * changed only while its gate is closed.
 *
 * It is held in the same way while shadows follow the file's end, which a write
 * that makes it longer moves after it has stored (own_change.h).
 *
 * Who is inside may sleep in a page fault of a buffer of its own, but for none
 * that waits for this gate: nothing is trapped (trap.h) before the gate is
 * closed and all are out. It may also ask the engine, which serves own.h while
 * it waits. Still the engine does not wait for ever: a buffer may lie on a file
 * system that is frozen.
 *
 * Two locks. A file's `order` is held by who is inside and moves a position or
 * the end of the file, across the transfer; the desk's `lock`, taken after it,
 * protects the gates and is held across nothing that waits. Both with all
 * signals blocked, so that no handler finds them taken by its own thread.
 * Neither is taken in a forked child.
 */
#ifndef DAXMR_LEASE_OWN_GATE_H
#define DAXMR_LEASE_OWN_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct lease;
struct lease_engine;
struct lease_table;

#define OWN_GATE_HEADS 64

struct own_gate {
	struct own_gate *next; /* of its head */
	struct lease *lease;   /* its extents can be walked inside */
	unsigned int busy;     /* callers inside */
	bool is_there;	       /* among the desk's */
	bool is_closed;
	bool is_held;
	pthread_mutex_t order;
};

struct own_gate_desk {
	pthread_mutex_t lock;
	pthread_cond_t opened;
	struct own_gate *heads[OWN_GATE_HEADS];
};

/*
 * By any thread with all signals blocked. Waits while the gate is closed; not
 * with may_wait false: -EAGAIN. -ENOENT: the file has no shadows any more.
 */
int own_gate_enter(struct lease_engine *engine, dev_t dev, ino_t ino,
		   bool may_wait, struct own_gate **ret);
void own_gate_leave(struct lease_engine *engine, struct own_gate *gate);

/* By the engine's thread. */
void own_gate_init(struct own_gate_desk *desk);
/* With the file's first shadow, closed; with its last. */
void own_gate_add(struct lease_table *table, struct lease *lease);
void own_gate_remove(struct lease_table *table, struct lease *lease);

/*
 * 0, or -ETIMEDOUT with a sentence, and it is open: a call has been inside for
 * 10 s. Nothing where the file has no shadow yet.
 */
int own_gate_close(struct lease_table *table, struct lease *lease);
void own_gate_open(struct lease_table *table, struct lease *lease);

/*
 * The same without waiting, whether it is closed or not: no new ones come in
 * from now on. False: some are in still; the engine is woken when the last of
 * them comes out.
 */
bool own_gate_hold(struct lease_table *table, struct lease *lease);
void own_gate_let_go(struct lease_table *table, struct lease *lease);

#endif
