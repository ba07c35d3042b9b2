/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A shadow takes the place of a file's mappings, and the file takes it back,
 * while the program's threads load and store all over the range. No store is
 * lost, in or out.
 *
 * In:  the shadow is mapped elsewhere, trapped (trap.h), and moved over each of
 *      the program's mappings. From the first move on whoever touches the range
 *      there waits; when all are moved nobody can change the file's bytes any
 *      more. Then the shadow is filled, piece by piece, those first that
 *      somebody waits for, and each let go as it is ready.
 *
 *        file  ----------+---------.
 *                        |  wait    \ filled
 *        shadow          +-----------`------------------->
 *
 *      What another mapping of the file stores between the first move and its
 *      own is in the file before the filling begins. A direct or asynchronous
 *      read that is in flight writes to the file's page later: whoever owns the
 *      shadow compares once more afterwards.
 *
 * Out: all mappings of the shadow are trapped and their entries dropped;
 *      whoever owns the shadow flushes it; the file is mapped back; the waiting
 *      go on.
 *
 * What takes a mapping's place has all that the mapping had (twin.h), and both
 * the shadow's and the file's are made before anything is changed.
 *
 * A move of a trapped range has to be told (mremap() waits until we have read
 * it), so another thread of the process does that: who asked for the swap, with
 * its signals blocked (a handler that touched the range would wait for itself).
 * In a program with one thread nobody is there to be held up, and where the
 * file can only be read nobody stores: no trap is needed, and none is asked
 * for. Whoever reads sees the same bytes before the move and after it.
 */
#ifndef DAXMR_LEASE_SWAP_H
#define DAXMR_LEASE_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extent_page.h"
#include "trap.h"
#include "twin.h"

/* One mapping of the program, as far as it lies in the extent. */
struct swap_view {
	struct mapping_state state; /* offset: in the file; flags: the file's */
	struct twin shadow;	    /* these are swap.c's */
	struct twin file;
	void *pages; /* the file's pages as the program had them; NULL */
};

struct swap_ops {
	/* Has another thread call swap_move(); does not wait. */
	void (*move)(void *arg, struct swap_view *view);
	/* -EINPROGRESS, or what it said. */
	int (*moved)(void *arg);
	/*
	 * Before the file is mapped back: whoever carries the shadow to the
	 * file must do so no more, or it would carry old bytes over new ones.
	 * -errno with a sentence: it may do so still, and the shadow stays; not
	 * where the file has to be mapped back.
	 */
	int (*let_go)(void *arg);
	/*
	 * When all views are the file's again: what shows the shadow still, as
	 * it was moved, cut or protected meanwhile; for heap_put(). (NULL:
	 * nothing)
	 */
	int (*find_rest)(void *arg, struct swap_view **ret,
			 unsigned int *ret_count);
	void *arg;
};

struct swap {
	const struct swap_ops *ops;
	int file_fd;
	int shadow_fd; /* a memfd of the extent's length */
	/* All of it, seen by nobody but its owner. NULL: nowhere. */
	uint8_t *shadow_bytes;
	struct extent *extent;
	struct swap_view *views;
	unsigned int count;
	/* What the views show: shadow_fd, or the same for reading only. */
	int view_fd;
	/*
	 * Nobody stores there meanwhile, so nobody has to be held up: the
	 * program has one thread, and that waits for us; or the file is mapped
	 * for reading.
	 */
	bool is_still;
	bool is_alone;	/* it is one thread: nobody maps anything either */
	enum uffd uffd; /* where it is not still */
};

/*
 * Has the other thread move what is trapped over the view, and hears that it
 * was. 0: it is there. -errno: it is not; -EAGAIN the view is not what it was.
 */
int swap_move_told(const struct swap_ops *ops, struct trap *trap,
		   struct swap_view *view);

/* What the other thread does: mremap(). 0, -errno. */
int swap_move(struct swap_view *view);

/*
 * 0: every view shows the shadow, which has the file's bytes; the extent's
 * blocks are filled, with digests. Or -errno with a sentence, every view shows
 * the file, and what was stored is in it: those of trap_open(),
 * twin_check() and swap_sleepers_check(), -EAGAIN (mappings have changed
 * meanwhile, look again), -EBUSY (another userfaultfd has the range), -ENOMEM
 * (also vm.max_map_count), -EIO (the file cannot be read).
 */
int swap_in(const struct swap *swap);

/*
 * flush() has all that is in the shadow written to the file, while nobody can
 * store there. 0: every view shows the file. Or -errno, flush()'s or with a
 * sentence: every view shows the shadow as before. -ESTALE: but for those that
 * the program has changed meanwhile; look again.
 */
int swap_out(const struct swap *swap, int (*flush)(void *arg), void *arg);

#endif
