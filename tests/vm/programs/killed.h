/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that is to be killed, and its peer, two processes: what they tell
 * each other and rdma_killed, in memory that all three have.
 */
#ifndef DAXMR_TESTS_KILLED_H
#define DAXMR_TESTS_KILLED_H

#include <sys/types.h>

#include "counters.h"

enum phase {
	STARTING,
	REGISTERING,
	RUNNING,
	DEREGISTERING,
	DEREGISTERED,
	PHASES
};

struct killed {
	struct counters counters;
	atomic_int phase;    /* of the victim */
	atomic_int has_part; /* registered before: there are lease and keeper */
	atomic_int must_deregister;
	atomic_int must_fork;
	atomic_int must_exit; /* with the MR, its thread still storing */
	atomic_int child; /* of the victim: has the device open, and lives on */
	atomic_int stop;  /* the peer */
	_Atomic uint32_t
		victim_qp; /* its number, once it can be connected to */
	_Atomic uint32_t peer_qp;
	_Atomic uint32_t rkey;
	_Atomic uint64_t address;
	atomic_int register_us; /* how long it took */
	atomic_int deregister_us;
};

/* Children of the caller; both end with it. */
pid_t victim_start(struct killed *killed, const char *path);
pid_t peer_start(struct killed *killed);

/* The keeper: nobody else's runs here. 0: there is none. */
pid_t find_keeper(void);

#endif
