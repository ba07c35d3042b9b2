/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fake device behind a verbs table: one port, and QPs that really move bytes
 * when a request is posted, in packets of 256 bytes. It can be broken in all
 * the ways that the trust test has to find.
 *
 * There is one, `fake`; fake_reset() makes it whole again. What a test sees of
 * it afterwards: how many objects are still there, and what was called.
 */
#ifndef DAXMR_TESTS_ODP_FAKE_VERBS_H
#define DAXMR_TESTS_ODP_FAKE_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include "verbs_table.h"

/* What goes wrong with on-demand memory; the completions say success. */
enum fake_fault {
	FAKE_RIGHT,
	/* each piece of a packet at offset 0 of its page: rxe, to the letter */
	FAKE_PAGE_START,
	FAKE_DROPS_SECOND_PACKET,
	FAKE_READ_WRONG,	 /* RDMA reads only */
	FAKE_ATOMIC_WRONG,	 /* adds one too many */
	FAKE_COMPARE_WRONG,	 /* swaps without comparing */
	FAKE_UD_WRONG,		 /* UD only */
	FAKE_SRQ_WRONG,		 /* receives from an SRQ only */
	FAKE_SOURCE_WRONG,	 /* only where it is the local source */
	FAKE_SINK_WRONG,	 /* only where it is written to */
	FAKE_READONLY_WRONG,	 /* only MRs without local write */
	FAKE_UNPREFETCHED_WRONG, /* only until prefetched */
	FAKE_PREFETCHED_WRONG,	 /* only from then on */
	FAKE_REMAPPED_WRONG,	 /* from the first advice on, heeded or not */
	FAKE_STALE_PAGE,	 /* goes on using pages that were replaced */
	FAKE_STALE_ZERO,     /* reads what it first found: not a later store */
	FAKE_EXTRA_BYTE,     /* writes one byte more than it should */
	FAKE_LAST_BYTE_LOST, /* of each page */
	FAKE_LATER_SGES_WRONG, /* scatters and gathers only by the first */
	FAKE_IMM_WRONG,	       /* writes with an immediate only */
	FAKE_BOTH_ODP_WRONG,   /* only between two on-demand memories */
	FAKE_IOVA_AS_ADDRESS,  /* MRs whose iova isn't their address */
	FAKE_PLAIN_WRONG,      /* plain memory */
	/* Completions that don't say success, or none. */
	FAKE_ERRORS,
	FAKE_READ_ERRORS,
	FAKE_READ_ERRORS_UD_WRONG,
	FAKE_SILENT,
	FAKE_SHORT_LENGTH, /* says that fewer bytes were received */
};

struct fake_device {
	struct ibv_device device;

	/* What it is. */
	enum fake_fault fault;
	struct ibv_device_attr_ex attr;
	int query_error; /* of query_device_ex */
	struct ibv_port_attr port;
	union ibv_gid gid[4];
	int working_gid; /* by which packets arrive; -1: all */
	int advise_error;
	int advise_errors; /* how often; -1: always */

	/* Call number fail_at, from 1, of any verb fails; 0: none. */
	int fail_at;
	const char *failed; /* the verb that did */

	/* What it has seen. */
	int calls;
	int opened;	    /* how often */
	int live;	    /* objects that are there, of all kinds */
	size_t plain_bytes; /* registered, not on-demand; and the most at once
			     */
	size_t plain_bytes_most;
	int qps; /* that are there; and the most at once */
	int qps_most;
	int used_gid;
	unsigned int access; /* of the last registration */
	uint64_t iova;
	struct ibv_sge advised[8];
	enum ibv_advise_mr_advice advice;
	uint32_t advise_flags;
	int advises;
};

extern struct fake_device fake;
extern const struct verbs_table fake_verbs;

/* A device like soft-RoCE with its ODP mended. */
void fake_reset(void);

/* Between the halves of the fake: objects, and what moves. */

#define FAKE_QUEUE 64
#define FAKE_MTU   256
#define FAKE_GRH   40

struct fake_mr {
	struct ibv_mr mr;
	uint8_t *base;
	uint64_t iova;
	size_t length;
	unsigned int access;
	bool advised;
	bool prefetched;
	/* for FAKE_STALE_*: a pipe for each page, with the page in it */
	int (*held)[2];
	size_t pages;
};

struct fake_recv {
	uint64_t wr_id;
	struct ibv_sge sge[4];
	int sges;
};

struct fake_recvs {
	struct fake_recv recv[FAKE_QUEUE];
	unsigned int head;
	unsigned int tail;
};

struct fake_cq {
	struct ibv_cq cq;
	struct ibv_wc wc[4 * FAKE_QUEUE];
	unsigned int head;
	unsigned int tail;
};

struct fake_srq {
	struct ibv_srq srq;
	struct fake_recvs recvs;
};

struct fake_qp {
	struct ibv_qp qp;
	struct fake_cq *cq;
	struct fake_srq *srq;
	struct fake_recvs recvs;
	enum ibv_qp_state state;
	uint32_t peer;
	int gid_index;
	unsigned int max_sge;
};

struct fake_mr *fake_find_mr(uint32_t key);
struct fake_qp *fake_find_qp(uint32_t number);
int fake_move(struct fake_qp *qp, const struct ibv_send_wr *wr);
void fake_forget_pages(struct fake_mr *mr);

#endif
