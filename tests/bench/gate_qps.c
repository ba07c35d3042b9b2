/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate_qps [COUNT]
 *
 * How long it takes to stop a PD's posts, and to know that all is done that was
 * posted: gate_close(), and that with gate_drain(), on 1, 10, 100 and so on up
 * to COUNT (1,000) RC QPs, each connected to itself; idle, and with a write of
 * 4 KiB each under way. Medians of 11, the clock's. It is told, not judged:
 * each QP has a marker of its own to wait for.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "clock.h"
#include "ends.h"
#include "gate/gate.h"
#include "pairs.h"

#define ROUNDS	   11
#define WRITE	   4096U
#define CQES	   128
#define SECONDS_NS 1000000000LL
#define LIMIT_NS   (120 * SECONDS_NS)

static struct end first, *ends; /* all of one context and PD */
static unsigned int count;
static struct ibv_mr *from, *to;

/* As the hook on ibv_modify_qp() tells of it. */
static void add_qp(void)
{
	struct end *end = &ends[count++];

	*end = first;
	end->cq = ibv_create_cq(end->context, CQES, NULL, NULL, 0);
	if (!end->cq)
		die("ibv_create_cq: %s", strerror(errno));
	end_make_qp(end);
	end_connect(end, end->qp->qp_num);
	gate_qp_modified(end->qp, IBV_QPS_RTS);
}

static void write_on_each(void)
{
	struct ibv_sge sge = {(uintptr_t)from->addr, WRITE, from->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad_wr;

	wr.wr.rdma.remote_addr = (uintptr_t)to->addr;
	wr.wr.rdma.rkey = to->rkey;
	for (unsigned int i = 0; i < count; i++)
		if (ibv_post_send(ends[i].qp, &wr, &bad_wr))
			die("ibv_post_send: %s", strerror(errno));
}

static void say(void *arg, uint32_t qp_num, enum gate_left why)
{
	(void)arg;
	fprintf(stderr, "QP %u: %s\n", qp_num, gate_left_name(why));
}

/* Milliseconds; the gate is open again. */
static void close_once(double *ret_closed, double *ret_drained)
{
	const int64_t deadline = clock_now_ns() + LIMIT_NS;
	double start = pairs_now_ms();
	struct gate *gate;

	if (gate_close(first.pd, deadline, &gate))
		die("gate_close failed");
	*ret_closed = pairs_now_ms() - start;
	if (gate_drain(gate, deadline, say, NULL, NULL))
		die("not drained");
	*ret_drained = pairs_now_ms() - start;
	gate_open(gate);
}

static void tell(const char *series, double *ms)
{
	struct spread us = spread_of(ms, ROUNDS);

	budget_point("scale-qps", series, count, us.median * 1e3, us.min * 1e3,
		     us.max * 1e3);
}

static double measure(void)
{
	double closed[ROUNDS], idle[ROUNDS], busy[ROUNDS], ignored;

	/* Once before it counts: polling is ours from then on. */
	close_once(&ignored, &ignored);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		close_once(&closed[i], &idle[i]);
		write_on_each();
		close_once(&ignored, &busy[i]);
		for (unsigned int n = 0; n < count; n++)
			if (end_wait(&ends[n], 20) != IBV_WC_SUCCESS)
				die("a write has failed");
	}
	tell("closing the gate", closed);
	tell("closing and draining, idle QPs", idle);
	tell("closing and draining, a write on each", busy);
	return spread_of(busy, ROUNDS).median * 1e3;
}

int main(int argc, char **argv)
{
	const struct gate_verbs verbs = {
		.query_qp = ibv_query_qp,
		.modify_qp = ibv_modify_qp,
		.query_srq = ibv_query_srq,
		.resize_cq = ibv_resize_cq,
		.dereg_mr = ibv_dereg_mr,
		.reg_mr_iova2 = ibv_reg_mr_iova2,
		.qp_to_qp_ex = ibv_qp_to_qp_ex,
	};
	unsigned int most = argc > 1 ? (unsigned int)atoi(argv[1]) : 1000;
	double few = 0, many = 0;
	char what[64];
	char *memory;

	end_open(&first);
	memory = calloc(2, WRITE);
	ends = calloc(most, sizeof(*ends));
	if (!memory || !ends)
		die("no memory");
	if (gate_attach(first.context, &verbs))
		die("gate_attach failed");
	from = end_register(&first, memory, WRITE, IBV_ACCESS_LOCAL_WRITE);
	to = end_register(&first, memory + WRITE, WRITE, REMOTE_ALL);
	for (unsigned int step = 1; step <= most; step *= 10) {
		while (count < step)
			add_qp();
		many = measure();
		if (step == 1)
			few = many;
	}
	snprintf(what, sizeof(what), "closing and draining %u QPs", count);
	budget_print_growth(what, many, few, 0);
	return 0;
}
