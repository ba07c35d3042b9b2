/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate_states
 *
 * A drain of QPs in all states that a program can bring them to, and of one
 * that it resets or destroys while its work, which is never done, is waited
 * for. The program sees nothing of that: no state changes but that of what
 * could not be drained, and no completion comes that is not due.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ends.h"
#include "gate/gate.h"

#define SIZE	      4096U
#define SECONDS_NS(n) ((n)*1000000000LL)
#define DRAIN_S	      60

/* 69 s, before the device asks the peer again */
#define LONG_TIMEOUT 24

static struct end here, there;
static struct ibv_mr *from_mr, *to_mr;
static char from[SIZE], to[SIZE];

/* As the hooks do. */
static void move(struct end *end, struct ibv_qp_attr *attr, int mask)
{
	gate_qp_modifying(end->qp, attr->qp_state);
	if (ibv_modify_qp(end->qp, attr, mask | IBV_QP_STATE))
		die("QP to state %d: %m", (int)attr->qp_state);
	gate_qp_modified(end->qp, attr->qp_state);
}

static void move_to(struct end *end, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = {.qp_state = state};

	move(end, &attr, 0);
}

static void destroy(struct end *end)
{
	struct gate_qp *record = gate_qp_destroying(end->qp);
	int r = ibv_destroy_qp(end->qp);

	gate_qp_destroyed(record, r);
	if (r)
		die("ibv_destroy_qp: %s", strerror(r));
	end->qp = NULL;
}

/* A pair that is connected, with a CQ of its own. */
static void pair(struct end *a, struct end *b)
{
	*a = here;
	*b = there;
	a->timeout = LONG_TIMEOUT;
	a->cq = ibv_create_cq(a->context, 64, NULL, NULL, 0);
	b->cq = ibv_create_cq(b->context, 64, NULL, NULL, 0);
	if (!a->cq || !b->cq)
		die("ibv_create_cq: %m");
	ends_connect(a, b);
	gate_qp_modified(a->qp, IBV_QPS_RTS);
}

static void unpair(struct end *a, struct end *b)
{
	if (a->qp)
		destroy(a);
	if (ibv_destroy_qp(b->qp) || ibv_destroy_cq(a->cq) ||
	    ibv_destroy_cq(b->cq))
		die("QPs and CQs do not go");
}

static void must_write(struct end *end)
{
	enum ibv_wc_status status =
		end_rdma(end, IBV_WR_RDMA_WRITE, from_mr, from, SIZE,
			 (uintptr_t)to, to_mr->rkey);

	if (status != IBV_WC_SUCCESS)
		die("a write: %s", ibv_wc_status_str(status));
}

static void must_be_empty(const struct end *end)
{
	struct ibv_wc wc;

	if (ibv_poll_cq(end->cq, 1, &wc) != 0)
		die("a completion that is not due: wr_id %#lx, opcode %d, %s",
		    (unsigned long)wc.wr_id, (int)wc.opcode,
		    ibv_wc_status_str(wc.status));
}

/* Once more from the beginning, but not to where it sends. */
static void back_to_rtr(struct end *end)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	int rtr = IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
		  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
		  IBV_QP_MIN_RNR_TIMER;

	if (ibv_query_qp(end->qp, &attr, rtr, &init))
		die("ibv_query_qp failed");
	move_to(end, IBV_QPS_RESET);
	attr.qp_state = IBV_QPS_INIT;
	attr.qp_access_flags = REMOTE_ALL;
	attr.pkey_index = 0;
	attr.port_num = 1;
	move(end, &attr, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
	attr.qp_state = IBV_QPS_RTR;
	move(end, &attr, rtr);
}

static uint32_t left_qp;
static enum gate_left left_why;

static void note(void *arg, uint32_t qp_num, enum gate_left why)
{
	(void)arg;
	left_qp = qp_num;
	left_why = why;
}

static struct gate *close_gate(void)
{
	struct gate *gate;

	if (gate_close(here.pd, clock_now_ns() + SECONDS_NS(20), &gate))
		die("gate_close failed");
	return gate;
}

enum {
	IN_RESET,
	IN_INIT,
	IN_RTR,
	IN_RTS,
	IN_SQD,
	IN_ERR,
	STATES
};

static void all_states(void)
{
	static const enum ibv_qp_state before[STATES] = {
		IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPS_RTR,
		IBV_QPS_RTS,   IBV_QPS_SQD,  IBV_QPS_ERR};
	struct end a[STATES], b[STATES];
	struct gate *gate;
	int left;

	for (int i = 0; i < STATES; i++) {
		pair(&a[i], &b[i]);
		must_write(&a[i]);
	}
	move_to(&a[IN_RESET], IBV_QPS_RESET);
	destroy(&a[IN_INIT]); /* another, which was nowhere else */
	end_make_qp(&a[IN_INIT]);
	gate_qp_modified(a[IN_INIT].qp, IBV_QPS_INIT);
	back_to_rtr(&a[IN_RTR]);
	move_to(&a[IN_SQD], IBV_QPS_SQD);
	move_to(&a[IN_ERR], IBV_QPS_ERR);
	gate = close_gate();
	left = gate_drain(gate, clock_now_ns() + SECONDS_NS(DRAIN_S), note,
			  NULL, NULL);
	if (left != 1 || left_qp != a[IN_SQD].qp->qp_num ||
	    left_why != GATE_LEFT_STATE)
		die("%d QPs are left, the last for: %s", left,
		    gate_left_name(left_why));
	if (gate_sever(gate, false) != 1)
		die("another number is severed than is left");
	gate_open(gate);
	for (int i = 0; i < STATES; i++) {
		enum ibv_qp_state state = end_state(&a[i]);

		if (state != (i == IN_SQD ? IBV_QPS_ERR : before[i]))
			die("state %d has become %d", (int)before[i],
			    (int)state);
		must_be_empty(&a[i]);
	}
	must_write(&a[IN_RTS]);
	for (int i = 0; i < STATES; i++)
		unpair(&a[i], &b[i]);
}

static atomic_uint rounds;
static atomic_bool is_back;
static int drain_left;

static void meanwhile(void *arg)
{
	(void)arg;
	rounds++;
}

static void *drain(void *gate)
{
	drain_left = gate_drain(gate, clock_now_ns() + SECONDS_NS(DRAIN_S),
				NULL, meanwhile, NULL);
	is_back = true;
	return NULL;
}

/* Its peer is there no more, which nobody has told. */
static void get_stuck(struct end *a, struct end *b)
{
	struct ibv_sge sge = {(uintptr_t)from, SIZE, from_mr->lkey};
	struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
	struct ibv_send_wr wr = {.wr_id = 11,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr.rdma = {(uintptr_t)to, to_mr->rkey}},
			   *bad_wr;

	if (ibv_modify_qp(b->qp, &reset, IBV_QP_STATE) ||
	    ibv_post_send(a->qp, &wr, &bad_wr))
		die("no write to nobody");
}

static void meanwhile_it_goes(bool is_destroyed)
{
	struct end stuck, nobody, idle, peer;
	struct gate *gate;
	pthread_t thread;
	double start;

	rounds = 0;
	is_back = false;
	pair(&stuck, &nobody);
	pair(&idle, &peer);
	must_write(&stuck);
	get_stuck(&stuck, &nobody);
	gate = close_gate();
	start = now();
	if (pthread_create(&thread, NULL, drain, gate))
		die("no thread");
	while (rounds < 10) {
		if (is_back)
			die("the drain has waited for nothing");
		usleep(1000);
	}
	if (is_destroyed)
		destroy(&stuck);
	else
		move_to(&stuck, IBV_QPS_RESET);
	pthread_join(thread, NULL);
	if (drain_left)
		die("%d QPs are left", drain_left);
	if (now() - start > DRAIN_S / 2.0)
		die("the drain has gone on for %.1f s", now() - start);
	gate_open(gate);
	must_be_empty(&stuck);
	must_write(&idle);
	if (!is_destroyed) {
		unpair(&stuck, &nobody);
		pair(&stuck, &nobody);
		must_write(&stuck);
		must_be_empty(&stuck);
	}
	unpair(&stuck, &nobody);
	unpair(&idle, &peer);
	printf("%s while it was drained: %u rounds, over after %.1f ms\n",
	       is_destroyed ? "destroyed" : "reset", (unsigned int)rounds,
	       (now() - start) * 1e3);
}

int main(void)
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

	end_open(&here);
	end_open(&there);
	from_mr = end_register(&here, from, SIZE, IBV_ACCESS_LOCAL_WRITE);
	to_mr = end_register(&there, to, SIZE, REMOTE_ALL);
	if (gate_attach(here.context, &verbs))
		die("gate_attach failed");
	all_states();
	for (int i = 0; i < 3; i++) {
		meanwhile_it_goes(false);
		meanwhile_it_goes(true);
	}
	puts("all states drained");
	return 0;
}
