/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_datagrams ROUNDS
 *
 * One thread sends datagrams as fast as it can, one of eight signaled, from a
 * region whose MR another replaces ROUNDS times behind its back, as rdma_gate
 * does. What was still to be sent then would fail. Each completion has to be a
 * success and the one that is due, and nobody may send to the QP: what it has
 * posted to receive has to stay.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "ends.h"
#include "gate/gate.h"

#define DEPTH	      64
#define EVERY	      8 /* is signaled */
#define SIZE	      1024
#define QKEY	      0x11111111
#define SECONDS_NS(n) ((n)*1000000000LL)

static struct end a;
static struct ibv_ah *ah;
static _Atomic bool is_over;
static char from[SIZE];
static uint32_t known_lkey;
static _Atomic unsigned long completed;

static int query_port(struct ibv_context *context, uint8_t number,
		      struct ibv_port_attr *port)
{
	return ibv_query_port(context, number, port);
}

static void move(enum ibv_qp_state state, int more)
{
	struct ibv_qp_attr attr = {
		.qp_state = state, .port_num = 1, .qkey = QKEY};

	if (ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | more))
		die("QP to %d: %s", (int)state, strerror(errno));
	gate_qp_modified(a.qp, state);
}

static void make_qp(void)
{
	struct ibv_qp_init_attr init = {.qp_type = IBV_QPT_UD,
					.cap = {.max_send_wr = DEPTH,
						.max_recv_wr = 4,
						.max_send_sge = 1,
						.max_recv_sge = 1}};
	struct ibv_ah_attr attr = {.is_global = 1, .port_num = 1};

	ibv_destroy_cq(a.cq);
	a.cq = ibv_create_cq(a.context, DEPTH, NULL, NULL, 0);
	init.send_cq = init.recv_cq = a.cq;
	a.qp = a.cq ? ibv_create_qp(a.pd, &init) : NULL;
	if (!a.qp)
		die("ibv_create_qp: %s", strerror(errno));
	move(IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY);
	move(IBV_QPS_RTR, 0);
	move(IBV_QPS_RTS, IBV_QP_SQ_PSN);
	if (ibv_query_gid(a.context, 1, 0, &attr.grh.dgid))
		die("ibv_query_gid failed");
	ah = ibv_create_ah(a.pd, &attr);
	if (!ah)
		die("ibv_create_ah: %s", strerror(errno));
}

/* To a QP that nobody has. */
static int post(unsigned long n)
{
	struct ibv_sge sge = {(uintptr_t)from, SIZE, known_lkey};
	struct ibv_send_wr wr = {.wr_id = n,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .wr.ud = {ah, 0xabcdef, QKEY}},
			   *bad_wr;

	if (n % EVERY == EVERY - 1)
		wr.send_flags = IBV_SEND_SIGNALED;
	return ibv_post_send(a.qp, &wr, &bad_wr);
}

static void *send_on(void *arg)
{
	unsigned long posted = 0;
	double deadline = now() + 60;
	struct ibv_wc wc[4];
	int r;

	(void)arg;
	while (!is_over || completed + EVERY <= posted) {
		int n;

		if (!is_over && posted - completed < DEPTH) {
			r = post(posted);
			if (r && r != ENOMEM)
				die("post %lu: %s", posted, strerror(r));
			posted += !r;
		}
		n = ibv_poll_cq(a.cq, 4, wc);
		for (int i = 0; i < n; i++) {
			if (wc[i].status || wc[i].opcode != IBV_WC_SEND ||
			    wc[i].wr_id != completed + EVERY - 1)
				die("completion %lu: %s, wr_id %lu, opcode %d",
				    (unsigned long)completed,
				    ibv_wc_status_str(wc[i].status),
				    wc[i].wr_id, wc[i].opcode);
			completed += EVERY;
			deadline = now() + 60;
		}
		if (n < 0 || now() > deadline)
			die("no completion %lu of %lu",
			    (unsigned long)completed, posted);
	}
	return NULL;
}

static struct ibv_mr *reg(void)
{
	struct ibv_mr *mr = ibv_reg_mr(a.pd, from, SIZE, 0);

	if (!mr)
		die("ibv_reg_mr: %s", strerror(errno));
	return mr;
}

static void say(void *arg, uint32_t qp_num, enum gate_left why)
{
	(void)arg;
	fprintf(stderr, "QP %u: %s\n", qp_num, gate_left_name(why));
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
		.query_port = query_port,
		.query_gid = ibv_query_gid,
		.create_ah = ibv_create_ah,
		.destroy_ah = ibv_destroy_ah,
	};
	unsigned int rounds = argc > 1 ? (unsigned int)atoi(argv[1]) : 20;
	static char received[SIZE + 40];
	struct ibv_recv_wr receive = {.wr_id = 1, .num_sge = 1}, *bad_wr;
	double longest = 0;
	struct ibv_sge sge;
	pthread_t thread;
	struct ibv_mr *mr, *for_receive;
	struct gate *gate;

	end_open(&a);
	make_qp();
	if (gate_attach(a.context, &verbs))
		die("gate_attach failed");
	for_receive = end_register(&a, received, sizeof(received),
				   IBV_ACCESS_LOCAL_WRITE);
	sge = (struct ibv_sge){(uintptr_t)received, sizeof(received),
			       for_receive->lkey};
	receive.sg_list = &sge;
	if (ibv_post_recv(a.qp, &receive, &bad_wr))
		die("ibv_post_recv failed");
	mr = reg();
	known_lkey = mr->lkey;
	pthread_create(&thread, NULL, send_on, NULL);
	for (unsigned int i = 0; i < rounds; i++) {
		unsigned long before = completed;
		struct ibv_mr *other;
		double began;

		while (completed < before + EVERY)
			sched_yield();
		began = now();
		if (gate_close(a.pd, clock_now_ns() + SECONDS_NS(20), &gate))
			die("round %u: gate_close failed", i);
		if (gate_drain(gate, clock_now_ns() + SECONDS_NS(20), say, NULL,
			       NULL))
			die("round %u: not drained", i);
		if (now() - began > longest)
			longest = now() - began;
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
	printf("%lu datagrams, %u rounds, closed and drained in %.1f ms at "
	       "most\n",
	       (unsigned long)completed, rounds, longest * 1e3);
	return 0;
}
