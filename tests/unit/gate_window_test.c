/* SPDX-License-Identifier: BSD-2-Clause */
/* The program's own windows on a region whose MR goes and comes. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "gate/gate_window.h"
#include "gate_fake.h"
#include "unit.h"

#define LONG_NS (60 * 1000000000LL)
#define ADDR	0x1000
#define LENGTH	0x800

static struct fake_cq cq;
static struct fake_qp qp, binder_qps[2];
static struct ibv_context *context;
static struct ibv_pd *pd;
static struct ibv_mw *mw;
/* What the program has of the region, what is behind it, and any other MR. */
static struct ibv_mr seen, *actual, *other;
static atomic_bool is_over, is_done;

static struct ibv_mr *make_mr(void)
{
	return fake_verbs.reg_mr_iova2(pd, NULL, 4096, ADDR, 0);
}

static int set_up(void **state)
{
	(void)state;
	fake_init();
	context = &fake_context.context;
	pd = &fake_pds[0];
	fake_cq_init(&cq, FAKE_DEPTH);
	fake_qp_init(&qp, pd, &cq, IBV_QPT_RC);
	for (int i = 0; i < 2; i++)
		fake_qp_init(&binder_qps[i], pd, &cq, IBV_QPT_RC);
	assert_int_equal(gate_attach(context, &fake_verbs), 0);
	actual = make_mr();
	other = make_mr();
	seen = *actual;
	assert_int_equal(gate_mr_promise(context, &seen, actual, true), 0);
	mw = ibv_alloc_mw(pd, IBV_MW_TYPE_1);
	assert_non_null(mw);
	is_over = is_done = false;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gate_mr_forget(context, &seen);
	if (mw)
		assert_int_equal(ibv_dealloc_mw(mw), 0);
	assert_int_equal(fake_verbs.dereg_mr(actual), 0);
	assert_int_equal(fake_verbs.dereg_mr(other), 0);
	assert_int_equal(fake_windows, 0);
	gate_context_closing(context);
	return 0;
}

static int bind_by(struct fake_qp *by, struct ibv_mw *which, struct ibv_mr *mr,
		   uint64_t length)
{
	struct ibv_mw_bind bind = {
		.bind_info = {mr, ADDR, length, IBV_ACCESS_REMOTE_WRITE}};
	int r = ibv_bind_mw(fake_ibv(by), which, &bind);

	assert_ptr_equal(bind.bind_info.mr, mr); /* the program's own */
	return r;
}

static int bind_mw(struct ibv_mr *mr, uint64_t length)
{
	int r = bind_by(&qp, mw, mr, length);

	fake_run(&qp, FAKE_DEPTH);
	return r;
}

static unsigned int count(enum gate_window_state state)
{
	struct gate_window *at = NULL;
	unsigned int n = 0;

	while ((at = gate_window_next(&seen, state, at)))
		n++;
	return n;
}

static void check(unsigned int on, unsigned int off, unsigned int past)
{
	assert_int_equal(count(GATE_WINDOW_ON), on);
	assert_int_equal(count(GATE_WINDOW_OFF), off);
	assert_int_equal(count(GATE_WINDOW_PAST), past);
}

static void bind__goes_with_the_mr_behind_it(void **state)
{
	struct gate_window *window;

	(void)state;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	assert_ptr_equal(fake_is_on(mw), actual);
	window = gate_window_next(&seen, GATE_WINDOW_ON, NULL);
	assert_non_null(window);
	assert_ptr_equal(window->mw, mw);
	assert_int_equal(window->type, IBV_MW_TYPE_1);
	assert_int_equal(window->addr, ADDR);
	assert_int_equal(window->length, LENGTH);
	assert_int_equal(window->access, IBV_ACCESS_REMOTE_WRITE);
	gate_window_unuse(window);
	check(1, 0, 0);
	assert_int_equal(bind_mw(&seen, LENGTH / 2), 0);
	check(1, 0, 0);
	/* whether it succeeds is not known */
	assert_int_equal(bind_mw(other, LENGTH), 0);
	assert_ptr_equal(fake_is_on(mw), other);
	check(0, 0, 1);
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	check(1, 0, 0);
	assert_int_equal(bind_mw(&seen, 0), 0);
	check(0, 0, 1);
	gate_windows_gone(&seen);
	check(0, 0, 0);
}

static void bind__that_is_refused_changes_nothing(void **state)
{
	(void)state;
	qp.depth = 0;
	assert_int_equal(bind_mw(&seen, LENGTH), ENOMEM);
	check(0, 0, 0);
	qp.depth = FAKE_DEPTH;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	qp.depth = 0;
	assert_int_equal(bind_mw(other, LENGTH), ENOMEM);
	check(1, 0, 0);
}

static void bind__finds_the_mr_that_is_there_now(void **state)
{
	struct ibv_mr *before = actual;

	(void)state;
	assert_int_equal(gate_mr_promise(context, &seen, NULL, true), 0);
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	assert_ptr_equal(fake_is_on(mw), &seen); /* nobody's key */
	actual = make_mr();
	assert_int_equal(gate_mr_promise(context, &seen, actual, true), 0);
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	assert_ptr_equal(fake_is_on(mw), actual);
	assert_int_equal(fake_verbs.dereg_mr(before), 0);
}

/* Among others, some of which fail. */
static void work_requests__binds_are_found_in_a_chain(void **state)
{
	struct ibv_mw *mws[3];
	struct ibv_send_wr wrs[40], *bad_wr = NULL;

	(void)state;
	memset(wrs, 0, sizeof(wrs));
	for (int i = 0; i < 3; i++)
		mws[i] = ibv_alloc_mw(pd, IBV_MW_TYPE_2);
	for (int i = 0; i < 40; i++) {
		wrs[i].opcode = IBV_WR_RDMA_WRITE;
		wrs[i].next = i < 39 ? &wrs[i + 1] : NULL;
	}
	for (int i = 0; i < 3; i++) { /* 5, 21, 37 */
		wrs[5 + 16 * i].opcode = IBV_WR_BIND_MW;
		wrs[5 + 16 * i].bind_mw.mw = mws[i];
		wrs[5 + 16 * i].bind_mw.bind_info = (struct ibv_mw_bind_info){
			i == 1 ? other : &seen, ADDR, LENGTH, 0};
	}
	qp.depth = 37;
	assert_int_equal(ibv_post_send(fake_ibv(&qp), wrs, &bad_wr), ENOMEM);
	assert_ptr_equal(bad_wr, &wrs[37]);
	assert_ptr_equal(wrs[5].bind_mw.bind_info.mr, &seen);
	assert_ptr_equal(fake_is_on(mws[0]), actual);
	assert_ptr_equal(fake_is_on(mws[1]), other);
	assert_null(fake_is_on(mws[2]));
	check(1, 0, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ibv_dealloc_mw(mws[i]), 0);
	check(0, 0, 0);
}

static void batch__binds_are_seen(void **state)
{
	const struct ibv_mw_bind_info info = {&seen, ADDR, LENGTH, 0};
	struct ibv_qp_ex *ex = &qp.ex;

	(void)state;
	ibv_wr_start(ex);
	ibv_wr_bind_mw(ex, mw, mw->rkey, &info);
	assert_int_equal(ibv_wr_complete(ex), 0);
	assert_ptr_equal(fake_is_on(mw), actual);
	check(1, 0, 0);
}

/* Posts cost what they did: by the function that stands in the table. */
static void no_windows__posts_are_not_looked_at(void **state)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_BIND_MW,
				 .bind_mw = {mw, 7, {&seen, ADDR, LENGTH, 0}}},
			   *bad_wr;

	(void)state;
	assert_int_equal(gate_mr_promise(context, &seen, actual, true), 0);
	gate_mr_forget(context, &seen);
	assert_int_equal(gate_mr_promise(context, &seen, actual, false), 0);
	assert_int_equal(ibv_post_send(fake_ibv(&qp), &wr, &bad_wr), 0);
	assert_ptr_equal(fake_is_on(mw), &seen);
	check(0, 0, 0);
}

static void other_keys__are_no_end_to_looking(void **state)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_BIND_MW,
				 .bind_mw = {mw, 7, {&seen, ADDR, LENGTH, 0}}},
			   *bad_wr;

	(void)state;
	assert_int_equal(gate_key_promise(context, 5, 6), 0);
	gate_key_forget(context, 5);
	assert_int_equal(ibv_post_send(fake_ibv(&qp), &wr, &bad_wr), 0);
	assert_ptr_equal(fake_is_on(mw), actual);
}

static int post_elsewhere(struct ibv_qp *to, struct ibv_send_wr *wr,
			  struct ibv_send_wr **bad_wr)
{
	(void)to;
	*bad_wr = wr;
	return EINVAL;
}

/* Nor does one of another provider, whose posts these are not. */
static void other_provider__its_keys_keep_nobody_looking(void **state)
{
	struct ibv_context elsewhere = {
		.device = context->device,
		.ops = {.post_send = post_elsewhere,
			.post_recv = context->ops.post_recv,
			.post_srq_recv = context->ops.post_srq_recv},
	};
	struct ibv_mr theirs = {.context = &elsewhere};
	struct ibv_send_wr wr = {.opcode = IBV_WR_BIND_MW,
				 .bind_mw = {mw, 7, {&seen, ADDR, LENGTH, 0}}},
			   *bad_wr;

	(void)state;
	assert_int_equal(gate_attach(&elsewhere, &fake_verbs), 0);
	assert_int_equal(gate_key_promise(&elsewhere, 5, 6), 0);
	assert_int_equal(gate_mr_promise(&elsewhere, &theirs, &theirs, true),
			 0);
	gate_mr_forget(context, &seen);
	assert_int_equal(gate_mr_promise(context, &seen, actual, false), 0);
	assert_int_equal(ibv_post_send(fake_ibv(&qp), &wr, &bad_wr), 0);
	assert_ptr_equal(fake_is_on(mw), &seen);
	gate_context_closing(&elsewhere);
}

static void detached__the_provider_has_its_functions_back(void **state)
{
	struct ibv_context_ops before = context->ops, after;

	(void)state;
	gate_detach(context);
	after = context->ops;
	assert_ptr_not_equal(before.bind_mw, after.bind_mw);
	assert_ptr_not_equal(before.dealloc_mw, after.dealloc_mw);
	assert_int_equal(gate_attach(context, &fake_verbs), 0);
	assert_ptr_equal(before.bind_mw, context->ops.bind_mw);
	assert_ptr_equal(before.dealloc_mw, context->ops.dealloc_mw);
}

static void replaced__the_program_goes_on_with_it(void **state)
{
	uint32_t rkey = 0, before;

	(void)state;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	before = mw->rkey;
	assert_int_equal(fake_verbs.dereg_mr(actual), EINVAL);
	struct gate_window *window =
		gate_window_next(&seen, GATE_WINDOW_ON, NULL);
	assert_int_equal(gate_window_replace(window, &rkey), 0);
	gate_window_unuse(window);
	assert_null(fake_is_on(mw));
	assert_int_not_equal(rkey, before);
	assert_int_equal(mw->rkey, rkey);
	check(0, 0, 0);
	assert_int_equal(fake_verbs.dereg_mr(actual), 0);
	actual = make_mr();
	assert_int_equal(gate_mr_promise(context, &seen, actual, true), 0);
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	assert_ptr_equal(fake_is_on(mw), actual);
	check(1, 0, 0);
}

static void replaced__not_where_the_device_keeps_it(void **state)
{
	struct gate_window *window;
	uint32_t rkey = 0, before;
	struct ibv_mw *kept;

	(void)state;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	before = mw->rkey;
	window = gate_window_next(&seen, GATE_WINDOW_ON, NULL);
	fake_keeps_windows = true;
	assert_int_equal(gate_window_replace(window, &rkey), -EBUSY);
	kept = fake_kept_window;
	gate_window_unuse(window);
	assert_int_equal(mw->rkey, before);
	assert_ptr_equal(fake_is_on(mw), actual);
	check(1, 0, 0);
	/* nor for the program */
	assert_int_equal(ibv_dealloc_mw(mw), EBUSY);
	check(1, 0, 0);
	fake_keeps_windows = false;
	/* the one that could not be given back */
	assert_int_equal(ibv_dealloc_mw(kept), 0);
}

static void off__ends_by_the_programs_next_bind(void **state)
{
	struct gate_window *window;

	(void)state;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	window = gate_window_next(&seen, GATE_WINDOW_ON, NULL);
	gate_window_set(window, GATE_WINDOW_OFF);
	gate_window_unuse(window);
	gate_windows_gone(&seen);
	check(0, 1, 0);
	assert_int_equal(bind_mw(other, LENGTH), 0);
	check(0, 0, 0);
}

static void wait_a_moment(void)
{
	const struct timespec pause = {0, 30000000};

	nanosleep(&pause, NULL);
}

static void *bind_once(void *arg)
{
	assert_int_equal(bind_by(arg, mw, &seen, LENGTH), 0);
	atomic_store(&is_done, true);
	return NULL;
}

static void *free_it(void *arg)
{
	assert_int_equal(ibv_dealloc_mw(arg), 0);
	atomic_store(&is_done, true);
	return NULL;
}

static void closed__binds_wait(void **state)
{
	struct gate *gate;
	pthread_t thread;

	(void)state;
	assert_int_equal(gate_close(pd, clock_now_ns() + LONG_NS, &gate), 0);
	assert_int_equal(pthread_create(&thread, NULL, bind_once, &qp), 0);
	wait_a_moment();
	assert_false(is_done);
	assert_null(fake_is_on(mw));
	gate_open(gate);
	pthread_join(thread, NULL);
	assert_ptr_equal(fake_is_on(mw), actual);
}

static void in_use__the_program_waits_to_free_it(void **state)
{
	struct gate_window *window;
	pthread_t thread;

	(void)state;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	window = gate_window_next(&seen, GATE_WINDOW_ON, NULL);
	assert_int_equal(pthread_create(&thread, NULL, free_it, mw), 0);
	wait_a_moment();
	assert_false(is_done);
	assert_int_equal(fake_windows, 3);
	gate_window_unuse(window);
	pthread_join(thread, NULL);
	assert_int_equal(fake_windows, 2);
	check(0, 0, 0);
	mw = NULL;
}

/* It waits for a moment only, and the machine may be busy. */
static int settle_and_dereg(void)
{
	int r = EINVAL;

	for (int i = 0; r && i < 100; i++) {
		gate_windows_settle(&seen);
		r = fake_verbs.dereg_mr(actual);
	}
	return r;
}

static void freed_now__it_is_waited_for(void **state)
{
	const struct timespec pause = {0, 1000000};
	pthread_t thread;

	(void)state;
	assert_int_equal(bind_mw(&seen, LENGTH), 0);
	fake_holds_windows = true;
	assert_int_equal(pthread_create(&thread, NULL, free_it, mw), 0);
	while (!fake_is_freeing)
		nanosleep(&pause, NULL);
	check(0, 0, 0);
	gate_windows_settle(&seen); /* it comes to an end */
	assert_int_equal(fake_verbs.dereg_mr(actual), EINVAL);
	fake_holds_windows = false;
	assert_int_equal(settle_and_dereg(), 0);
	pthread_join(thread, NULL);
	actual = make_mr();
	mw = NULL;
}

/* Binds there and back, and new windows now and then. */
static void *bind_on(void *arg)
{
	struct fake_qp *by = arg;
	struct ibv_mw *own = ibv_alloc_mw(pd, IBV_MW_TYPE_1);

	for (unsigned int i = 0; !is_over; i++) {
		if (i % 16 == 15) {
			assert_int_equal(ibv_dealloc_mw(own), 0);
			own = ibv_alloc_mw(pd, IBV_MW_TYPE_1);
		}
		assert_int_equal(
			bind_by(by, own, i % 3 ? &seen : other, LENGTH), 0);
		fake_run(by, FAKE_DEPTH);
	}
	assert_int_equal(ibv_dealloc_mw(own), 0);
	return NULL;
}

/* As others want the file: whatever the program does, the MR can go. */
static void recall(void)
{
	struct gate_window *window = NULL;
	struct gate *gate;
	uint32_t rkey;
	int r;

	assert_int_equal(gate_close(pd, clock_now_ns() + LONG_NS, &gate), 0);
	assert_int_equal(gate_mr_promise(context, &seen, NULL, true), 0);
	r = fake_verbs.dereg_mr(actual);
	while (r && (window = gate_window_next(&seen, GATE_WINDOW_ON, window)))
		if (!gate_window_replace(window, &rkey))
			r = fake_verbs.dereg_mr(actual);
	if (window)
		gate_window_unuse(window);
	if (r)
		r = settle_and_dereg();
	assert_int_equal(r, 0);
	gate_windows_gone(&seen);
	actual = make_mr();
	assert_int_equal(gate_mr_promise(context, &seen, actual, true), 0);
	gate_open(gate);
}

static void storm__the_mr_goes_each_time(void **state)
{
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, bind_on,
						&binder_qps[i]),
				 0);
	for (int i = 0; i < 300; i++)
		recall();
	is_over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	recall();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bind__goes_with_the_mr_behind_it),
		TEST(bind__that_is_refused_changes_nothing),
		TEST(bind__finds_the_mr_that_is_there_now),
		TEST(work_requests__binds_are_found_in_a_chain),
		TEST(batch__binds_are_seen),
		TEST(no_windows__posts_are_not_looked_at),
		TEST(other_keys__are_no_end_to_looking),
		TEST(other_provider__its_keys_keep_nobody_looking),
		TEST(detached__the_provider_has_its_functions_back),
		TEST(replaced__the_program_goes_on_with_it),
		TEST(replaced__not_where_the_device_keeps_it),
		TEST(off__ends_by_the_programs_next_bind),
		TEST(closed__binds_wait),
		TEST(in_use__the_program_waits_to_free_it),
		TEST(freed_now__it_is_waited_for),
		TEST(storm__the_mr_goes_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
