/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stand-in for libibverbs.so.1 as of rdma-core 58: its version nodes, the
 * calls that register memory, one device that does not exist. It counts what
 * reaches it and refuses what it is told to refuse, so that the preload can be
 * tested where there is no RDMA and no newer library.
 *
 * Not tested with it: anything about devices or memory. That is the rig's part.
 */
#ifndef DAXMR_TESTS_STANDIN_H
#define DAXMR_TESTS_STANDIN_H

#include <infiniband/verbs.h>

enum standin_call {
	STANDIN_REG_MR,
	STANDIN_REG_MR_IOVA,
	STANDIN_REG_MR_IOVA2,
	STANDIN_REG_MR_EX,
	STANDIN_REREG_MR,
	STANDIN_DEREG_MR,
	STANDIN_REG_MR_1_0,
	STANDIN_CALLS
};

/* What the last registration or change reached the "device" with. */
struct standin_seen {
	unsigned int calls[STANDIN_CALLS];
	void *addr;
	size_t length;
	uint64_t iova;
	unsigned int access;
	int flags;	  /* ibv_rereg_mr */
	void *dropped_at; /* ibv_dereg_mr: where libibverbs takes it to lie */
};

/* Found by name, since they are no verbs: dlsym(RTLD_DEFAULT or a handle). */
struct standin_control {
	struct standin_seen seen;
	int refuse_plain; /* errno for registrations without ON_DEMAND, or 0 */
	int refuse_all;	  /* errno for all, or 0 */
	int refuse_files; /* for those without ON_DEMAND of a file's mapping */
	int refuse_privates; /* for those of a private mapping of a file */
	int refuse_memory;   /* for those of none */
	/* For shared mappings that cannot be written, as Linux before 6.2. */
	int refuse_read_only;
	int refuse_dereg;     /* positive errno, or 0 */
	int refuse_once;      /* that one, and nothing after it */
	void (*before)(void); /* a registration, if not NULL; once */
	void (*after)(void);  /* a deregistration, if not NULL; once */
	uint32_t next_key;    /* of the next registration, or 0 */
	/* The device is being closed, and what it refused to deregister goes.
	 */
	void (*closing)(void);
	int has_odp;
};

struct standin_control *standin_control(void);

/* A context and PD of the device, made once. */
struct ibv_pd *standin_pd(void);

#endif
