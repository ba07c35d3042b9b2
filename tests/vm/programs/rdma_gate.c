/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_gate ROUNDS [batches|extended]
 *
 * One thread writes to a peer as fast as it can, from a region whose MR another
 * replaces ROUNDS times behind its back: gate closed, QP drained, deregistered,
 * registered again with another lkey, gate opened. Each completion has to be a
 * success and the one that is due, and every byte has to arrive. The CQ has
 * room for exactly what is outstanding. batches: by ibv_wr_start(); extended:
 * completions are read by ibv_start_poll(), and it posts between these.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "ends.h"
#include "gate/gate.h"

#define DEPTH	      32
#define SIZE	      8192
#define SLOTS	      512 /* of SIZE bytes, in both regions */
#define SECONDS_NS(n) ((n)*1000000000LL)

static struct end a, b;
static bool has_batches;
static struct ibv_cq_ex *extended;
static _Atomic bool is_over;
static char *from, *to;
static uint32_t known_lkey;
static struct ibv_mr *target;
static _Atomic unsigned long written;

static char *memory(void)
{
	void *at = mmap(NULL, SIZE * SLOTS, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return at;
}

static int post(unsigned long n)
{
	const uint64_t at = n % SLOTS * SIZE;
	struct ibv_sge sge = {(uintptr_t)from + at, SIZE, known_lkey};
	struct ibv_send_wr wr = {.wr_id = n,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED},
			   *bad_wr;
	struct ibv_qp_ex *ex = ibv_qp_to_qp_ex(a.qp);

	wr.wr.rdma.remote_addr = (uintptr_t)to + at;
	wr.wr.rdma.rkey = target->rkey;
	if (!has_batches)
		return ibv_post_send(a.qp, &wr, &bad_wr);
	ibv_wr_start(ex);
	ex->wr_id = n;
	ex->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_rdma_write(ex, target->rkey, wr.wr.rdma.remote_addr);
	ibv_wr_set_sge(ex, known_lkey, sge.addr, SIZE);
	return ibv_wr_complete(ex);
}

static unsigned long posted, completed;

static void post_one(void)
{
	int r;

	if (is_over || posted - completed >= DEPTH)
		return;
	/* what it writes is known by what was written before */
	fill_pattern(from + posted % SLOTS * SIZE, SIZE, posted, 1);
	r = post(posted);
	if (r && r != ENOMEM)
		die("post %lu: %s", posted, strerror(r));
	posted += !r;
}

static void see(enum ibv_wc_status status, uint64_t wr_id,
		enum ibv_wc_opcode opcode)
{
	if (status || wr_id != completed || opcode != IBV_WC_RDMA_WRITE)
		die("completion %lu: %s, wr_id %lu, opcode %d", completed,
		    ibv_wc_status_str(status), wr_id, (int)opcode);
	completed++;
}

/* How many were seen; -1: an error. */
static int poll_some(void)
{
	struct ibv_wc wc[4];
	int n = ibv_poll_cq(a.cq, 4, wc);

	for (int i = 0; i < n; i++)
		see(wc[i].status, wc[i].wr_id, wc[i].opcode);
	return n;
}

static int poll_extended(void)
{
	struct ibv_poll_cq_attr attr = {0};
	int n = 0, r = ibv_start_poll(extended, &attr);

	if (r)
		return r == ENOENT ? 0 : -1;
	do {
		uint64_t wr_id = extended->wr_id;
		enum ibv_wc_status status = extended->status;

		post_one(); /* may wait at the gate; what is read stays */
		if (extended->wr_id != wr_id || extended->status != status)
			die("what is read has changed meanwhile");
		if (ibv_wc_read_qp_num(extended) != a.qp->qp_num)
			die("a completion of QP %u",
			    ibv_wc_read_qp_num(extended));
		see(status, wr_id, ibv_wc_read_opcode(extended));
		n++;
		r = n < 4 ? ibv_next_poll(extended) : 0;
	} while (n < 4 && !r);
	ibv_end_poll(extended);
	return r && r != ENOENT ? -1 : n;
}

static void *write_on(void *arg)
{
	double deadline = now() + 60;

	(void)arg;
	while (!is_over || completed < posted) {
		int n;

		post_one();
		n = extended ? poll_extended() : poll_some();
		if (n > 0)
			deadline = now() + 60;
		if (n < 0 || now() > deadline)
			die("no completion %lu of %lu", completed, posted);
		written = completed;
	}
	return NULL;
}

static void make_cq(bool is_extended)
{
	struct ibv_cq_init_attr_ex init = {
		.cqe = DEPTH,
		.wc_flags = IBV_WC_EX_WITH_QP_NUM,
	};

	ibv_destroy_cq(a.cq);
	extended = is_extended ? ibv_create_cq_ex(a.context, &init) : NULL;
	a.cq = is_extended ? (struct ibv_cq *)extended
			   : ibv_create_cq(a.context, DEPTH, NULL, NULL, 0);
	if (!a.cq)
		die("ibv_create_cq: %s", strerror(errno));
}

static struct ibv_mr *reg(void)
{
	struct ibv_mr *mr =
		ibv_reg_mr(a.pd, from, SIZE * SLOTS, IBV_ACCESS_LOCAL_WRITE);

	if (!mr)
		die("ibv_reg_mr: %s", strerror(errno));
	return mr;
}

static void say(void *arg, uint32_t qp_num, enum gate_left why)
{
	(void)arg;
	fprintf(stderr, "QP %u: %s\n", qp_num, gate_left_name(why));
}

static int by_size(const void *x, const void *y)
{
	double left = *(const double *)x, right = *(const double *)y;

	return (left > right) - (left < right);
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
	unsigned int rounds = argc > 1 ? (unsigned int)atoi(argv[1]) : 20;
	double *drains = calloc(rounds + 1, sizeof(*drains));
	pthread_t thread;
	struct ibv_mr *mr;
	struct gate *gate;

	has_batches = argc > 2 && !strcmp(argv[2], "batches");
	end_open(&a);
	end_open(&b);
	if (!drains)
		die("no memory");
	make_cq(argc > 2 && !strcmp(argv[2], "extended"));
	a.send_ops = IBV_QP_EX_WITH_RDMA_WRITE;
	a.max_send_wr = DEPTH;
	end_make_qp(&a);
	end_make_qp(&b);
	end_connect(&a, b.qp->qp_num);
	end_connect(&b, a.qp->qp_num);
	gate_qp_modified(a.qp, IBV_QPS_RTS);
	if (gate_attach(a.context, &verbs))
		die("gate_attach failed");
	from = memory();
	to = memory();
	mr = reg();
	known_lkey = mr->lkey;
	target = end_register(&b, to, SIZE * SLOTS, REMOTE_ALL);
	pthread_create(&thread, NULL, write_on, NULL);
	for (unsigned int i = 0; i < rounds; i++) {
		struct ibv_mr *other;
		unsigned long before = written;
		double began;

		while (written < before + 4)
			sched_yield();
		began = now();
		if (gate_close(a.pd, clock_now_ns() + SECONDS_NS(20), &gate))
			die("round %u: gate_close failed", i);
		if (gate_drain(gate, clock_now_ns() + SECONDS_NS(20), say, NULL,
			       NULL))
			die("round %u: not drained", i);
		drains[i] = now() - began;
		gate_key_promise(a.context, known_lkey, 0);
		other = ibv_dereg_mr(mr) ? NULL : reg();
		if (!other)
			die("round %u: ibv_dereg_mr failed", i);
		mr = reg(); /* another key for certain */
		ibv_dereg_mr(other);
		if (gate_key_promise(a.context, known_lkey, mr->lkey))
			die("gate_key_promise failed");
		gate_open(gate);
	}
	is_over = true;
	pthread_join(thread, NULL);
	if (memcmp(from, to, written < SLOTS ? written * SIZE : SLOTS * SIZE))
		die("what was written is not what has arrived");
	qsort(drains, rounds, sizeof(*drains), by_size);
	printf("%lu writes, %u rounds, closed and drained in %.1f ms (median), "
	       "%.1f ms (longest); lkey %#x, last %#x\n",
	       written, rounds, drains[rounds / 2] * 1e3,
	       drains[rounds ? rounds - 1 : 0] * 1e3, known_lkey, mr->lkey);
	return 0;
}
