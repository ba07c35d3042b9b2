/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A key that stays: the rkey of a memory window of type 1, ours, in a PD of the
 * program's, which is bound to one MR after another, or to none. Peers keep it
 * meanwhile; while it is on nothing their access fails with a remote access
 * error, and nobody else's MR gets the key.
 *
 * The MR behind it gives peers nothing by itself: window_mr_access().
 *
 * It is bound through a QP pair of ours in that PD, which all keys there have
 * in common, one after another. No gate holds that up (gate.h).
 *
 * Locks: to bind is to wait for who binds in the same PD, until one's own time
 * is over, and for the device; for nobody else, and for nothing that waits for
 * a region. So it may be done by who has a region to himself, of this folder's
 * or pinned; with no lock.
 */
#ifndef DAXMR_WINDOW_KEY_H
#define DAXMR_WINDOW_KEY_H

#include <stdbool.h>

#include "region.h"

struct window_pd;

/* All zeroes: there is none. */
struct window_key {
	const struct real_verbs *real;
	struct ibv_pd *pd;
	struct window_pd *binder;
	struct ibv_mw *mw; /* NULL: it had to go, peers reach nothing */
	uint32_t rkey;
	unsigned int remote; /* what peers may do */
};

/* Peers may reach what is registered so; flushes and the like count. */
bool window_key_is_due(unsigned int access);

/* The access flags of its MR, for those that the program has given. */
unsigned int window_mr_access(unsigned int access);

/*
 * Whether a region can have one: 0; or -EOPNOTSUPP with a sentence (reason.h)
 * that begins with the policy which wants it, "on_shrink=error": the device has
 * no windows, or ones that do not what they should (window_test.h), or not for
 * these access flags. May run the test, so it is not to be called with a lock
 * held.
 */
int window_key_check(const struct region_call *call, const char *policy);

/*
 * On nothing yet. 0; or -errno with a sentence: -ENOMEM, those of making a
 * window. In a forked child it can be closed, and no more.
 */
int window_key_open(struct window_key *key, const struct region_call *call,
		    const char *policy);

/*
 * On [addr, addr + length) of an MR from now on, by its iova; length 0: on
 * nothing, and any MR of the PD. 0; or -errno with a sentence, those of
 * window_bind() (window_bind.h), and nobody knows what it is on:
 * window_key_clear(). -ETIMEDOUT: until_ns is over (CLOCK_MONOTONIC).
 */
int window_key_bind(struct window_key *key, struct ibv_mr *mr, uint64_t addr,
		    uint64_t length, int64_t until_ns);

/* The sentence for one that was not taken because a window is too short. */
int window_key_explain(int error, uint64_t length, const struct window_key *key,
		       const char *policy);

/*
 * On nothing; addr is one of the MR, which is any of the PD. If that cannot be
 * bound the window goes, and the key with it: mw is NULL then. 0, or -errno: it
 * may still be on what it was on.
 */
int window_key_clear(struct window_key *key, struct ibv_mr *mr, uint64_t addr,
		     int64_t until_ns);

/* The window goes, before its MR does; all zeroes then. */
void window_key_close(struct window_key *key);

#endif
