/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program itself does with a file that it has leased, announced to the
 * keeper before and after, so that nobody waits for his own lease and no
 * change of the program's own is taken for somebody else's.
 *
 *   hook (any thread)        engine thread            keeper
 *   own_begin  -- queue -->  OWN_BEGIN     ------->   hands back (OPEN), or
 *   (waits)                                           knows of it (CHANGE)
 *              <-- futex --                <-------   OWN_READY
 *   the call
 *   own_end    -- queue -->  OWN_END       ------->   takes it again
 *
 * Callers need no lock: a struct own is on their stack, pushed on a list that
 * the engine takes as a whole, and they sleep on a futex of their own. The
 * engine keeps those that are announced with the lease: a keeper that dies
 * takes none along, the next one hears of each again.
 *
 * Between begin and end all signals are blocked in the calling thread: a
 * handler that leaves by siglongjmp() would leave the announcement standing,
 * and one that opens the same file would wait for what it interrupted. A
 * thread that is cancelled has to call own_end() from a cleanup handler; begin
 * and end themselves are no cancellation points. errno is kept.
 *
 * Nothing here may be called while the engine is stopped.
 */
#ifndef DAXMR_LEASE_OWN_H
#define DAXMR_LEASE_OWN_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper_proto.h"
#include "lease.h"
#include "own_set.h"

enum own_request {
	OWN_BEGIN,
	OWN_END,
	OWN_TRUNCATE,
	OWN_PUNCH,
	OWN_CLOSED
};

/* What the call has done to the file, which its shadows have to follow. */
enum own_effect {
	OWN_NOTHING,
	OWN_RESIZED, /* perhaps */
	OWN_CUT,     /* for certain, to own->offset; others may have it then */
	OWN_ZEROED   /* own->offset, own->length */
};

/* On its caller's stack. */
struct own {
	struct lease_engine *engine;
	enum keeper_own kind;
	bool is_forked;	  /* in a child: nothing is done */
	sigset_t signals; /* blocked before */
	dev_t dev;
	ino_t ino;
	enum own_effect effect; /* said before own_end() */
	uint64_t offset;
	uint64_t length;

	/* Between caller and engine, in turn; is_done gives it back. */
	_Atomic uint32_t is_done;
	struct own *queued; /* before this one */
	enum own_request request;
	uintptr_t addr; /* OWN_PUNCH */
	int fd;		/* OWN_TRUNCATE, OWN_PUNCH: for who does it */
	int result;
	bool is_announced; /* it is to be ended */

	/* The engine's, while it is announced. */
	struct own *next;    /* of the same lease */
	struct lease *lease; /* NULL: it was released meanwhile */
	uint32_t ticket;     /* of the keeper that runs now; 0: answered */
	bool is_heard;	     /* its caller has been told */
	uint64_t copied;     /* own_change_copied() then */
	int64_t until_ns;    /* OWN_END: transfers are waited for */
};

/* How many files this process has leased, for who asks before all else. */
extern _Atomic unsigned int own_files;

/* May say yes where it is no, never for long. Any thread, signal handlers. */
bool own_is_leased(struct lease_engine *engine, dev_t dev, ino_t ino);

/*
 * The program is about to do this to the file, or to what a shadow of it shows
 * (dev and ino are the memfd's then). Waits for the keeper, which
 * flushes before an open, at most as long as for any opener. Where there is
 * nothing to announce, no lease any more, or in a forked child, it comes back
 * at once. own_end() is due in any case.
 */
void own_begin(struct lease_engine *engine, dev_t dev, ino_t ino,
	       enum keeper_own kind, struct own *own);
void own_end(struct own *own);

/*
 * Between the two, for a CHANGE: ftruncate() on the leased description. 0 or
 * -errno: -EOPNOTSUPP there is none, or none to write to.
 */
int own_truncate(struct own *own, int64_t length);

/*
 * The same: a hole in the file for [addr, addr + length), whole pages of a
 * mapping that shows a shadow of it (a memfd, announced as that), from addr on
 * as far as it shows one: *ret_length. 0 or -errno: -ESTALE it shows none (any
 * more), -EOPNOTSUPP as above, or fallocate(2)'s.
 */
int own_punch(struct own *own, void *addr, size_t length, size_t *ret_length);

/*
 * The program has closed a descriptor of the file, which had a flock() or an
 * OFD lock. If it was the description's last, and it is mapped nowhere any
 * more, the kernel would have dropped them, but for our dups: they are dropped.
 */
void own_closed(struct lease_engine *engine, dev_t dev, ino_t ino);

#endif
