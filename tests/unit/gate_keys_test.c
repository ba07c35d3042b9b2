/* SPDX-License-Identifier: BSD-2-Clause */
/* lkeys that stay what the program knows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "gate_fake.h"
#include "unit.h"

#define OLD   0x1234
#define NEW   0x5678
#define OTHER 0x9abc

static struct fake_cq cq;
static struct fake_qp qp;
static struct ibv_context *context;

static int set_up(void **state)
{
	(void)state;
	fake_init();
	context = &fake_context.context;
	fake_cq_init(&cq, FAKE_DEPTH);
	fake_qp_init(&qp, &fake_pds[0], &cq, IBV_QPT_RC);
	assert_int_equal(gate_attach(context, &fake_verbs), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gate_context_closing(context);
	return 0;
}

/* The lkey with which the n-th WR arrived. */
static uint32_t arrived(unsigned int n)
{
	return qp.sges[n % FAKE_DEPTH].lkey;
}

static int send_with(uint32_t lkey, unsigned int flags)
{
	struct ibv_sge sge = {.lkey = lkey, .length = 1};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .send_flags = flags},
			   *bad_wr;
	int r = ibv_post_send(fake_ibv(&qp), &wr, &bad_wr);

	assert_int_equal(sge.lkey, lkey); /* the program's own */
	return r;
}

static void change(uint32_t promised, uint32_t actual)
{
	struct gate *gate;

	assert_int_equal(
		gate_close(&fake_pds[0], clock_now_ns() + 60000000000LL, &gate),
		0);
	assert_int_equal(gate_key_promise(context, promised, actual), 0);
	gate_open(gate);
}

static void changed__posts_go_with_the_new_one(void **state)
{
	(void)state;
	change(OLD, OLD);
	assert_int_equal(send_with(OLD, 0), 0);
	change(OLD, NEW);
	assert_int_equal(send_with(OLD, 0), 0);
	assert_int_equal(send_with(OTHER, 0), 0);
	assert_int_equal(send_with(OLD, IBV_SEND_INLINE), 0);
	change(OLD, NEW + 1);
	assert_int_equal(send_with(OLD, 0), 0);
	gate_key_forget(context, OLD);
	assert_int_equal(send_with(OLD, 0), 0);
	assert_int_equal(arrived(0), OLD);
	assert_int_equal(arrived(1), NEW);
	assert_int_equal(arrived(2), OTHER);
	assert_int_equal(arrived(3), OLD);
	assert_int_equal(arrived(4), NEW + 1);
	assert_int_equal(arrived(5), OLD);
}

static void long_chain__translated_up_to_the_one_that_fails(void **state)
{
	struct ibv_send_wr wrs[50], *bad_wr = NULL;
	struct ibv_sge sges[50];

	(void)state;
	change(OLD, NEW);
	for (unsigned int i = 0; i < 50; i++) {
		sges[i] = (struct ibv_sge){.lkey = i % 3 ? OLD : OTHER};
		wrs[i] = (struct ibv_send_wr){
			.wr_id = i,
			.next = i < 49 ? &wrs[i + 1] : NULL,
			.sg_list = &sges[i],
			.num_sge = 1,
		};
	}
	qp.depth = 40;
	assert_int_equal(ibv_post_send(fake_ibv(&qp), wrs, &bad_wr), ENOMEM);
	assert_ptr_equal(bad_wr, &wrs[40]);
	assert_int_equal(qp.tail, 40);
	for (unsigned int i = 0; i < 40; i++) {
		assert_int_equal(qp.queue[i].wr_id, i);
		assert_int_equal(arrived(i), i % 3 ? NEW : OTHER);
	}
}

static void batch__translated(void **state)
{
	const struct ibv_sge sges[2] = {{.lkey = OLD}, {.lkey = OTHER}};
	struct ibv_qp_ex *ex = &qp.ex;

	(void)state;
	change(OLD, NEW);
	ibv_wr_start(ex);
	ibv_wr_set_sge(ex, OLD, 0, 1);
	assert_int_equal(fake_batch_lkeys[0], NEW);
	ibv_wr_set_sge_list(ex, 2, sges);
	assert_int_equal(fake_batch_lkeys[0], NEW);
	assert_int_equal(fake_batch_lkeys[1], OTHER);
	ibv_wr_complete(ex);
}

static void receives__translated(void **state)
{
	struct ibv_sge sges[2] = {{.lkey = OLD}, {.lkey = OTHER}};
	struct ibv_recv_wr second = {.sg_list = &sges[1], .num_sge = 1},
			   wr = {.sg_list = &sges[0],
				 .num_sge = 1,
				 .next = &second},
			   *bad_wr;
	struct ibv_srq srq = {.context = context};

	(void)state;
	fake_received = 0;
	change(OLD, NEW);
	assert_int_equal(ibv_post_recv(fake_ibv(&qp), &wr, &bad_wr), 0);
	assert_int_equal(ibv_post_srq_recv(&srq, &wr, &bad_wr), 0);
	assert_int_equal(fake_received, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(fake_receive_lkeys[i], i % 2 ? OTHER : NEW);
	gate_key_forget(context, OLD);
	assert_int_equal(ibv_post_recv(fake_ibv(&qp), &wr, &bad_wr), 0);
	assert_int_equal(fake_receive_lkeys[4], OLD);
}

static void promised_key__is_taken_while_it_is_another(void **state)
{
	(void)state;
	assert_false(gate_key_is_taken(context, OLD));
	change(OLD, OLD);
	assert_false(gate_key_is_taken(context, OLD));
	change(OLD, 0);
	assert_true(gate_key_is_taken(context, OLD));
	change(OLD, NEW);
	assert_true(gate_key_is_taken(context, OLD));
	assert_false(gate_key_is_taken(context, NEW));
	gate_key_forget(context, OLD);
	assert_false(gate_key_is_taken(context, OLD));
	/* keys of one chain; the entry that was forgotten is used again */
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(gate_key_promise(context, i, i + 1), 0);
	for (uint32_t i = 0; i < 3000; i += 2)
		gate_key_forget(context, i);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(gate_key_is_taken(context, i), i % 2);
}

static void detached__no_promises(void **state)
{
	const struct ibv_context_ops *ops = &context->ops;
	void *receive = (void *)ops->post_recv;

	(void)state;
	change(OLD, NEW);
	assert_ptr_not_equal(ops->post_recv, receive);
	gate_detach(context);
	assert_ptr_equal(ops->post_recv, receive);
	assert_int_equal(gate_key_promise(context, OLD, NEW), -EINVAL);
	assert_int_equal(gate_attach(context, &fake_verbs), 0);
	assert_int_equal(send_with(OLD, 0), 0);
	assert_int_equal(arrived(0), OLD);
}

static int post_plainly(struct ibv_qp *ibqp, struct ibv_send_wr *wr,
			struct ibv_send_wr **bad_wr)
{
	return ibv_post_send(ibqp, wr, bad_wr);
}

/* The gate stays closed: who waited there would wait for ever. */
static void past_a_closed_gate__as_it_is(void **state)
{
	struct ibv_sge sge = {.lkey = OLD, .length = 1};
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad_wr;
	struct gate *gate;

	(void)state;
	change(OLD, NEW);
	assert_int_equal(
		gate_close(&fake_pds[0], clock_now_ns() + 1000000000LL, &gate),
		0);
	alarm(60);
	assert_int_equal(
		gate_post_past(post_plainly, fake_ibv(&qp), &wr, &bad_wr), 0);
	alarm(0);
	gate_open(gate);
	assert_int_equal(qp.posted, 1);
	assert_int_equal(arrived(0), OLD);
	gate_detach(context);
	assert_int_equal(
		gate_post_past(post_plainly, fake_ibv(&qp), &wr, &bad_wr), 0);
	assert_int_equal(qp.posted, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(changed__posts_go_with_the_new_one),
		TEST(long_chain__translated_up_to_the_one_that_fails),
		TEST(batch__translated),
		TEST(receives__translated),
		TEST(promised_key__is_taken_while_it_is_another),
		TEST(detached__no_promises),
		TEST(past_a_closed_gate__as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
