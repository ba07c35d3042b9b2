/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pinned regions whose gates, MRs, windows and leases are the test's own: what
 * is due for them, and in which order it is done. Two PDs, half of the regions
 * in each, all of one file that is ours at first.
 */
#ifndef DAXMR_TESTS_PINNED_WORLD_H
#define DAXMR_TESTS_PINNED_WORLD_H

#include <stdatomic.h>

#include "gate/gate_window.h"
#include "pinned_own.h"
#include "pinned_parts.h"

#define REGIONS	 20
#define DEV	 7
#define INO	 11
#define WAIT_SEC 30
#define LENGTH	 4096
#define ADDR	 0x10000

#define QUIESCE_NS 20000000000LL

extern struct ibv_pd pds[2];
extern struct pinned regions[REGIONS];

/* What was done. */
extern atomic_uint closed, drained, opened, severed, gone, back, agreed;
extern atomic_uint disconnected, refused, refused_dereg, logged_late;
extern atomic_uint told[PINNED_SEVERED + 1];
extern atomic_int why_severed;
extern atomic_uint held;  /* who waits for one of those below */
extern atomic_uint turns; /* of a drain that waits */

/* What is to fail: so many QPs cannot be drained; registrations with errno. */
extern atomic_int left, refuse;
extern atomic_bool keep; /* deregistrations fail */

/*
 * Registrations, closings and the first drain of the first PD's gate, the end
 * of connections: they wait until it is off. A drain does what is urgent
 * meanwhile.
 */
extern atomic_bool hold_making, hold_closing, hold_disconnecting, hold_draining;

/*
 * Windows, one for each region that has any: what they are on. Those that take
 * no bind, and of these the ones that are on nothing.
 */
extern struct ibv_mw windows[REGIONS];
extern struct ibv_mr *_Atomic on[REGIONS];
extern atomic_bool refuse_bind, refuse_clear, refuse_end;
extern atomic_uint bound, cleared, ended, refused_bind;
extern unsigned int bound_remote; /* what peers may, of the last bind */
extern unsigned int refuse_binds; /* so many, the next ones */
extern bool may_rebind;		  /* from one MR to another */

/*
 * Windows of the program's, one on each of the first regions, so many, as the
 * device has it: what one was replaced by is on nothing.
 */
#define OWNERS 3
extern struct ibv_mw own_mws[OWNERS];
extern struct gate_window own_windows[OWNERS];
extern size_t owners;
extern bool refuses_binds;
extern bool unbinds_late; /* it is done, and nobody was told */
extern _Atomic uint64_t own_bounds[OWNERS]; /* bytes; 0: it is on nothing */
extern atomic_uint replaced, binds;

/* cmocka's set-up and teardown. */
int world_begin(void **state);
int world_end(void **state);

void wait_for(const atomic_uint *count, unsigned int least);
/* Nobody is at work on any of them any more. */
void wait_for_all(void);

/* As the engine's thread does, one after another. */
void ask_all(void);
/* Every other region, from there on, with so much time, and so much left. */
void ask_every_other(size_t first, int64_t quiesce_ns);
void ask_locked(size_t first, size_t end, int64_t quiesce_ns, int64_t left_ns);
void hear_all(enum recall_state to, enum recall_cause cause);

#endif
