/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine thread's side of own.h. */
#ifndef DAXMR_LEASE_OWN_DESK_H
#define DAXMR_LEASE_OWN_DESK_H

#include "own.h"
#include "own_gate.h"
#include "shadows.h"

struct lease;
struct lease_table;

struct own_desk {
	pid_t pid; /* a forked child is another */
	pid_t tid; /* the engine's thread, which never asks itself */
	_Atomic(struct own *) asked; /* last first */
	struct own *ending;	     /* until nobody is inside their gates */
	struct own_set set;
	struct shadows shadows;
	struct own_gate_desk gates; /* of files with shadows */
	int64_t look_ns; /* when locks are looked at again, or RECALL_NEVER */
};

/* By the engine's thread. */
void own_desk_init(struct own_desk *desk);

/* Not a forked child, nor the thread itself. Any thread. */
bool own_desk_serves(const struct own_desk *desk);

/* What was asked meanwhile. */
void own_desk_serve(struct lease_table *table);

/* poll(2)'s timeout until own_desk_serve() has something to do by itself. */
int own_desk_timeout_ms(const struct own_desk *desk);

/* A lease comes, and goes: who waits for its keeper waits no longer. */
void own_desk_add(struct lease_table *table, struct lease *lease);
void own_desk_remove(struct lease_table *table, struct lease *lease);

/* Its caller, which may be gone with its stack the next moment, goes on. */
void own_desk_finish(struct own *own);

/* Is the program at a change of the file's size or blocks just now? */
bool own_desk_is_changing(const struct lease *lease);

/* KEEPER_OWN_READY. */
void own_desk_ready(struct lease *lease, uint32_t ticket);

/* Another keeper has the lease: it hears of all that is announced. */
void own_desk_again(struct lease_table *table, struct lease *lease);

/* There is no keeper to be had: nobody waits for one. */
void own_desk_give_up(struct lease *lease);

/*
 * own_locks.c: drops flock and OFD locks of the leased description if the
 * program has neither a descriptor nor a mapping of it any more, nor has any
 * other process. False: it has a mapping, or another process the file, of whose
 * end nobody tells: it is to be looked for again. (A descriptor is closed by a
 * call that tells.)
 */
bool own_locks_drop(struct lease_table *table, const struct lease *lease);

#endif
