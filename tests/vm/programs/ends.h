/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two connected ends on one RDMA device, for the rig's test programs: each with
 * a context, PD and CQ of its own, as if they were two processes on two hosts.
 *
 * These are test programs: what fails ends them, with a sentence on stderr.
 */
#ifndef DAXMR_TESTS_ENDS_H
#define DAXMR_TESTS_ENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#define REMOTE_ALL                                                             \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |                    \
	 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)

struct end {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp; /* RC, in RTS after ends_connect() */
	/* Of QPs that are made from now on; 0 or NULL: what others have. */
	struct ibv_srq *srq;
	uint64_t send_ops; /* of an ibv_qp_ex */
	uint32_t max_send_wr;
	uint32_t max_inline_data;
	uint8_t min_rnr_timer;
	uint8_t rnr_retry;
	uint8_t timeout; /* 4.096 us * 2^timeout, eight times */
};

void die(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

void end_open(struct end *end); /* the first device */
void end_close(struct end *end);

/* Makes a new pair of QPs; old ones are destroyed. */
void ends_connect(struct end *a, struct end *b);
/* The same, where the other end is another process's. */
void end_make_qp(struct end *end);
void end_connect(struct end *end, uint32_t qp_number);

struct ibv_mr *end_register(struct end *end, void *addr, size_t length,
			    int access);

/* One operation of `end`, waited for; returns the status of its completion. */
enum ibv_wc_status end_rdma(struct end *end, enum ibv_wr_opcode opcode,
			    struct ibv_mr *local, void *at, uint32_t length,
			    uint64_t remote, uint32_t rkey);
enum ibv_wc_status end_atomic(struct end *end, enum ibv_wr_opcode opcode,
			      struct ibv_mr *local, uint64_t *result,
			      uint64_t remote, uint32_t rkey, uint64_t compare,
			      uint64_t swap_or_add);
void end_post_recv(struct end *end, struct ibv_mr *mr, void *at,
		   uint32_t length);
/* Waits for the next completion, at most seconds; dies where none comes. */
enum ibv_wc_status end_wait(struct end *end, unsigned int seconds);
enum ibv_qp_state end_state(struct end *end);

/* Seconds on CLOCK_MONOTONIC. */
double now(void);

/* Bytes that tell where they belong and in which round they were written. */
void fill_pattern(void *to, size_t length, uint64_t offset, uint32_t round);

/* A shared mapping of the whole file, made with this size where it is none. */
void *map_file(const char *path, size_t size);

#endif
