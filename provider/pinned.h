/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions on a file whose pages the kernel pins, as the program asked: the
 * device works on the file itself, and the MR goes while others have the file.
 *
 *   break heard --> gate closed, QPs drained --> MR gone --> consent
 *                     |  not in time: severed                  |
 *                     v                                        v
 *   gate open <-- MR on what is left of the range <-- others have been through
 *        ^                                                     |
 *        +---------- not back quiesce_ms after the break ------+
 *
 * The gate is that of the region's PD (gate/gate.h). While it is closed posts
 * wait. If the file is not back in time it opens without the MR, and comes to
 * be closed once more for a moment when the file is back; until then work that
 * names the region fails as after ibv_dereg_mr() (rxe: local QP operation
 * error), and what goes beyond the end of a file that was cut off fails as
 * beyond the end of any MR (local protection error).
 *
 * The program has a struct ibv_mr of ours, whose lkey stays: posts of it go
 * with the real MR's. The rkey changes with each recall; mr->rkey is always the
 * one that holds, and 0 while there is no MR: the old one may come to be
 * another MR's. So what peers do by themselves meanwhile, or with the old key,
 * fails, and so do receives that were posted into the region.
 *
 * With keys=window the rkey stays too, as it is a window's (window_key.h), and
 * mr->rkey is never 0: no other MR gets it. The window is on nothing while
 * there is no MR, so what peers do by themselves meanwhile fails as well.
 *
 * Windows that the program has bound to the region are never in the way: of
 * type 1 they go and come with the MR, others are severed (pinned_window.c).
 *
 * The lease is watched by the engine's thread, which has other descriptors than
 * the program; verbs need the program's. So threads of ours in the program's
 * table do all the work: made with the first region, all signals blocked. One
 * for what others wait for, one for what comes back (pinned_thread.c).
 *
 * An open by the program itself hands the file back as well, without asking. A
 * DAX file's MR stays for quiesce_ms then: a truncate by others waits so long
 * at most. One on the page cache goes at once, as its pages could be orphaned.
 *
 * A forked child can deregister what its parent registered, and nothing else
 * happens there.
 */
#ifndef DAXMR_PINNED_H
#define DAXMR_PINNED_H

#include "region.h"

struct pinned;

/*
 * A program that is asked (ON_RECALL_ASK) does all that by itself, hooks or
 * not. There is no gate and no QP is known: it is told, stops its work on the
 * region and says so, or is not waited for any longer: the MR goes, and the
 * work with it. Both keys change with each recall, and are 0 meanwhile.
 */

/* There are hooks, which see the QPs and the work that is posted (hooks.def).
 */
void pinned_has_hooks(void);

/*
 * Registers the range, all of it shared mappings of one file. 0; or -errno with
 * a sentence (reason.h), those of lease_acquire() and gate_attach() and the
 * kernel's for the registration, and nothing has changed. ret_mr is the
 * program's.
 */
int pinned_register(const struct region_call *call, struct pinned **ret,
		    struct ibv_mr **ret_mr);

/*
 * As ibv_dereg_mr(): 0, or a positive errno and nothing has changed, but that
 * peers reach nothing by a key that was to stay. Waits for a recall that is
 * under way, quiesce_ms at most.
 */
int pinned_deregister(struct pinned *pinned);

/*
 * As ibv_rereg_mr() for a change of the PD, the access flags or both: a new
 * registration under the same struct ibv_mr, with new keys. Else errno is what
 * the device says of either registration, or EBUSY: windows are bound to it.
 */
int pinned_reregister(struct pinned *pinned, int flags, struct ibv_pd *pd,
		      int access);

/*
 * As ibv_rereg_mr() onto what is there, a file's or not (is_file), with
 * the options of this one: the program's struct ibv_mr stays, with keys of its
 * own, and is ret's from then on; this one is gone. Others may have either
 * file; what it moves to is waited for as by pinned_register(). An rkey that
 * stays is still the region's, of the same PD then, if it is to have one.
 *
 * Else -errno with a sentence, and it is as it was: those of pinned_register(),
 * what the device says of a deregistration, or -EBUSY: windows of the program's
 * may be bound to it (which devices tell in their own ways), and -EOPNOTSUPP
 * where somebody listens. -ENOKEY: the device has not bound the window of the
 * key that was to stay, and peers do not reach the region by any.
 */
int pinned_move(struct pinned *pinned, const struct region_call *where,
		bool is_file, struct pinned **ret);

/*
 * For that: memory that is no file's as a region that nobody recalls; keyed: by
 * a window, with keys=window. 0, or -errno with a sentence.
 */
int pinned_carry(const struct region_call *call, bool is_keyed,
		 struct pinned **ret);

/* What is told of a region beside what becomes of its lease (lease_news.h). */
enum pinned_news {
	PINNED_BACK,	/* its MR is there; a new rkey but for keys=window */
	PINNED_SHRUNK,	/* blocks of 4 KiB less than before */
	PINNED_GROWN,	/* more */
	PINNED_SEVERED, /* peers are cut off; error: -errno, or 0. -ETIMEDOUT of
			   a program that is asked: it has not agreed */
};

struct pinned_ear {
	void (*tell)(struct pinned_ear *ear, enum pinned_news news,
		     uint64_t blocks, int error);
	/*
	 * Of ON_RECALL_ASK alone: others want the file, and the MR goes when
	 * the program agrees, or then. By the engine's thread, or by who begins
	 * to listen; with the lock of pinned regions.
	 */
	void (*ask)(struct pinned_ear *ear, int64_t deadline_ns);
};

/*
 * From now on the one who is told, by the threads: he must not wait for
 * anything that waits for the region. NULL: nobody is being told anything when
 * this returns.
 */
void pinned_listen(struct pinned *pinned, struct pinned_ear *ear);

/* Its number in stats.h: what becomes of it, and has so far, is said there. */
void pinned_list(struct pinned *pinned, uint64_t listed);

/* Its rkey stays. */
bool pinned_has_window(const struct pinned *pinned);

/*
 * It, or what it would be with this access, is to have an rkey that stays. By
 * the policy: the window may be lost.
 */
bool pinned_keeps_key(const struct pinned *pinned);
bool pinned_would_keep_key(const struct pinned *pinned, unsigned int access);

/*
 * With this access: binds to one of a program that is asked are not seen, and
 * its MR could not go.
 */
bool pinned_may_be_bound(const struct pinned *pinned, unsigned int access);

/*
 * To what it was asked: nothing of its work names the region any more. Any
 * thread, never waits; nothing where it is too late.
 */
void pinned_agreed(struct pinned *pinned);

/* What keeps others from its file, as long as it is registered. NULL: none. */
struct lease *pinned_lease(const struct pinned *pinned);

/* A region needs it, also where its MR is away just now: EBUSY. */
bool pinned_has_pd(const struct ibv_pd *pd);

/*
 * Before ibv_close_device(): what the program has not deregistered goes. What
 * cannot goes with the device: it is for pinned_context_closed(), after the
 * call, and its file stays ours until then. NULL: none.
 */
struct pinned *pinned_context_closing(const struct ibv_context *context);
void pinned_context_closed(struct pinned *left);

/*
 * Of any MR that has just been made: a region that is registered might have
 * promised its lkey to the program. False at no cost where there is no region.
 */
bool pinned_has_key(const struct ibv_mr *mr);

#endif
