/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory windows for the fake device (odp_fake_verbs.h): one window, bound by
 * work requests to an MR, whose bounds alone are looked at, as rxe does.
 */
#ifndef DAXMR_TESTS_WINDOW_FAKE_H
#define DAXMR_TESTS_WINDOW_FAKE_H

#include "odp_fake_verbs.h"

#define WINDOW_KEY 0x4711

enum window_fault {
	WINDOW_RIGHT,
	WINDOW_NONE,	   /* it has no windows */
	WINDOW_NO_MORE,	   /* none is to be had */
	WINDOW_STICKS,	   /* the first bind stays, whatever is said */
	WINDOW_UNBOUNDED,  /* reaches on behind its MR */
	WINDOW_BY_ADDRESS, /* what lies there, whatever its MR is on */
	WINDOW_ALWAYS_SET, /* a bind to nothing is none */
	WINDOW_NEW_KEY,	   /* each bind changes the key */
	WINDOW_NO_ATOMICS,
	WINDOW_REFUSES,	     /* the bind ends with an error */
	WINDOW_REFUSES_MORE, /* but for one to nothing */
	WINDOW_FULL,	     /* the bind is not taken */
	WINDOW_KEEPS_MR,     /* an MR that was bound once does not go */
	WINDOW_HOLDS_ON,   /* its last MR does not go while it is on nothing */
	WINDOW_SHIFTED,	   /* goes to another place of the MR */
	WINDOW_NEVER_GOES, /* refuses, and does not go */
	WINDOW_SILENT,	   /* the bind has no end */
	WINDOW_LATE	   /* it ends while the first look is told: none yet */
};

#define WINDOW_LATE_NS 200000000LL

struct window_fake {
	_Atomic enum window_fault fault;
	struct verbs_table table;
	struct ibv_mw mw;
	int kept; /* MRs whose deregistration has failed as fake.fail_at said */
	_Atomic int bindings;
	_Atomic int asked;     /* to bind */
	void (*on_bind)(void); /* or NULL */
	bool is_unseen;	       /* the bind, of WINDOW_LATE */
	_Atomic int dealloced;
	_Atomic size_t length; /* that it is bound to; 0: to nothing */
	struct fake_mr *_Atomic bound;
	struct fake_mr *first;
	struct fake_mr *last; /* that a bind has named */
};

extern struct window_fake window_fake;

/* After fake_reset(). */
void window_fake_reset(void);

#endif
