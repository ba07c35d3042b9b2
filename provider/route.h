/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which way a registration goes, and why.
 *
 * route_choose() is a pure function: memory, device, access flags, the kernel's
 * behaviour and the user's wish go in, a strategy with its reasons comes out.
 * Nothing is asked, tried or remembered here. Two things cost time to find out
 * and are asked for only when they decide: it answers "needs" and is called
 * again with them filled in.
 *
 *                         memory     device                   strategy
 *   fs-dax shared/private            ODP, trusted          -> odp
 *   page-cache file the kernel       ODP, trusted          -> odp
 *     refused to pin (EFAULT)
 *   a file nobody could look at      ODP, trusted          -> odp
 *     and the kernel refused to pin (EOPNOTSUPP)
 *   any of these                     otherwise             -> staged
 *   a range that is staged already   any                   -> staged
 *   a shared mapping of a file, and  any                   -> pinned
 *     the wish for it
 *   anything else                    any                   -> passthrough
 *
 * Staging a private mapping is to put a private copy in its place. What has to
 * be staged and cannot be is refused: mappings that nobody could look at, a
 * promise that the memory is persistent (IBV_ACCESS_FLUSH_PERSISTENT). With the
 * wish for odp nothing is staged.
 */
#ifndef DAXMR_ROUTE_H
#define DAXMR_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "caps.h"
#include "memory.h"

enum strategy {
	STRATEGY_AUTO, /* a wish only */
	STRATEGY_PASSTHROUGH,
	STRATEGY_ODP,
	STRATEGY_STAGED,
	STRATEGY_PINNED,
	STRATEGY_REFUSED, /* an outcome only */
	STRATEGIES
};

/* What becomes of a pinned region's peers when somebody wants its file. */
enum keys {
	KEYS_CHANGE, /* a region that comes back has another rkey */
	KEYS_WINDOW  /* the same: that of a memory window */
};

enum on_recall {
	ON_RECALL_YIELD, /* as little as can be */
	ON_RECALL_SEVER, /* they are cut off */
	ON_RECALL_ASK	 /* what the program does with them: it is asked
			    (daxmr.h) */
};

const char *strategy_name(enum strategy strategy);

enum route_trust {
	ROUTE_TRUST_UNKNOWN, /* not asked yet */
	ROUTE_TRUST_YES,
	ROUTE_TRUST_UNPROVEN, /* no verdict, and no driver known to be sound */
	ROUTE_TRUST_NO,	      /* seen to put bytes in the wrong place */
};

/* Not asked yet; 0: the kernel registered it; else the errno it refused with.
 */
#define ROUTE_KERNEL_NOT_ASKED (-1)

/* A promise that only persistent memory keeps (rdma-core 45's name). */
#define ROUTE_ACCESS_FLUSH_PERSISTENT (1U << 9)

struct route_question {
	const struct memory *memory;
	const char *device;	     /* its name, for sentences */
	const struct odp_caps *caps; /* NULL: not asked yet */
	enum route_trust trust;
	const char *trust_seen; /* what the trust test saw, for sentences */
	bool trust_moved_iova;	/* for an MR whose iova is not its address */
	unsigned int access;	/* the program's own flags */
	bool moved_iova;	/* the iova is not the address */
	int kernel;		/* its answer to the plain registration */
	enum strategy wish;
	bool is_asked; /* by the program itself, for this region alone */
};

enum route_needs {
	ROUTE_NEEDS_NOTHING,
	ROUTE_NEEDS_CAPS,
	ROUTE_NEEDS_TRUST,
};

struct route {
	enum route_needs needs; /* else the strategy is not decided yet */
	enum strategy strategy;
	int error;	      /* REFUSED: the errno for the caller, positive */
	unsigned int refusal; /* REFUSED: enum refusal */
	bool ask_kernel; /* REFUSED: if the kernel refuses too, take its errno
			  */
	char why[960];	 /* one sentence: the reasons, and what to do */
};

void route_choose(const struct route_question *question, struct route *ret);

#endif
