/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate against a device that is not there: who gets in, and when. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "gate_fake.h"
#include "unit.h"

#define THREADS 3
#define ROUNDS	500
/* A program reads its tables plainly: ThreadSanitizer wants more. */
#ifdef __SANITIZE_THREAD__
#define SEES_TABLES_CHANGE true
#else
#define SEES_TABLES_CHANGE false
#endif
#define LONG_NS (60 * 1000000000LL)

static struct fake_cq cq;
static struct fake_qp qps[THREADS];
static _Atomic bool is_over;

static int64_t later(void)
{
	return clock_now_ns() + LONG_NS;
}

static int set_up(void **state)
{
	(void)state;
	fake_init();
	fake_cq_init(&cq, FAKE_DEPTH);
	for (int i = 0; i < THREADS; i++)
		fake_qp_init(&qps[i], &fake_pds[0], &cq, IBV_QPT_RC);
	is_over = false;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gate_context_closing(&fake_context.context);
	return 0;
}

static void attach(void)
{
	assert_int_equal(gate_attach(&fake_context.context, &fake_verbs), 0);
}

/* Posts one and does it, for ever: alternately by itself and as a batch. */
static void *post_on(void *arg)
{
	struct fake_qp *qp = arg;
	struct ibv_qp_ex *ex = &qp->ex;
	unsigned long n = 0;

	while (!is_over) {
		if (n % 2) {
			ibv_wr_start(ex);
			ibv_wr_rdma_write(ex, 0, 0);
			ibv_wr_complete(ex);
		} else if (fake_post(qp, n, 0)) {
			return (void *)"a post failed";
		}
		n++;
		if (fake_run(qp, 1) != 1)
			return (void *)"a post was lost";
	}
	return n == qp->posted ? NULL : (void *)"other than posted";
}

static void start(pthread_t threads[THREADS])
{
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, post_on, &qps[i]), 0);
}

static unsigned long posted_to(struct fake_qp *qp)
{
	unsigned long posted;

	pthread_mutex_lock(&qp->lock);
	posted = qp->posted;
	pthread_mutex_unlock(&qp->lock);
	return posted;
}

static unsigned long posted(void)
{
	unsigned long sum = 0;

	for (int i = 0; i < THREADS; i++)
		sum += posted_to(&qps[i]);
	return sum;
}

static void finish(pthread_t threads[THREADS])
{
	void *failed[THREADS];

	is_over = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], &failed[i]);
	for (int i = 0; i < THREADS; i++) {
		if (failed[i])
			fail_msg("%s", (char *)failed[i]);
		assert_int_equal(qps[i].posted_late, 0);
	}
}

static void posted_more_than(unsigned long before)
{
	while (posted() <= before)
		sched_yield();
}

/* What was begun before the tables were patched is over. */
static void all_posted_twice(void)
{
	for (int i = 0; i < THREADS; i++) {
		unsigned long before = posted_to(&qps[i]);

		while (posted_to(&qps[i]) < before + 3)
			sched_yield();
	}
}

static void closed__nothing_is_posted_and_nothing_lost(void **state)
{
	pthread_t threads[THREADS];
	struct gate *gate;

	(void)state;
	if (SEES_TABLES_CHANGE)
		attach();
	start(threads);
	posted_more_than(0);
	if (!SEES_TABLES_CHANGE)
		attach();
	all_posted_twice();
	for (int i = 0; i < ROUNDS; i++) {
		unsigned long before;

		assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
		fake_closed = true;
		before = posted();
		if (i % 100 == 0)
			usleep(200); /* so that posting would be seen */
		assert_int_equal(posted(), before);
		fake_closed = false;
		gate_open(gate);
		if (i % 100 == 0)
			posted_more_than(before);
	}
	finish(threads);
}

static void closed__other_pd_goes_on(void **state)
{
	struct fake_qp other;
	struct gate *gate;

	(void)state;
	attach();
	fake_qp_init(&other, &fake_pds[1], &cq, IBV_QPT_RC);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	assert_int_equal(fake_post(&other, 1, 0), 0);
	assert_int_equal(other.posted, 1);
	gate_open(gate);
}

static void *post_once(void *arg)
{
	return fake_post(arg, 1, 0) ? arg : NULL;
}

static void closed_twice__opens_with_the_last(void **state)
{
	struct gate *first, *second;
	pthread_t thread;
	void *failed;

	(void)state;
	attach();
	assert_int_equal(gate_close(&fake_pds[0], later(), &first), 0);
	assert_int_equal(gate_close(&fake_pds[0], later(), &second), 0);
	fake_closed = true;
	assert_int_equal(pthread_create(&thread, NULL, post_once, &qps[0]), 0);
	gate_open(first);
	usleep(1000);
	fake_closed = false;
	gate_open(second);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(qps[0].posted_late, 0);
	assert_int_equal(qps[0].posted, 1);
}

static void open_batch__is_waited_for(void **state)
{
	struct ibv_qp_ex *ex = &qps[0].ex;
	pthread_t thread;
	struct gate *gate = NULL;
	void *failed;

	(void)state;
	attach();
	ibv_wr_start(ex);
	ibv_wr_rdma_write(ex, 0, 0);
	/* within it: a post to another QP */
	assert_int_equal(fake_post(&qps[1], 1, 0), 0);
	assert_int_equal(ibv_wr_complete(ex), 0);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	assert_int_equal(pthread_create(&thread, NULL, post_once, &qps[0]), 0);
	gate_open(gate);
	pthread_join(thread, &failed);
	assert_null(failed);
}

static void *hold_batch(void *arg)
{
	ibv_wr_start(&qps[0].ex);
	__atomic_store_n((int *)arg, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n((int *)arg, __ATOMIC_SEQ_CST) != 2)
		sched_yield();
	ibv_wr_abort(&qps[0].ex);
	return NULL;
}

static void held_batch__close_says_it_is_late(void **state)
{
	struct gate *gate = NULL;
	pthread_t thread;
	int step = 0;

	(void)state;
	attach();
	pthread_create(&thread, NULL, hold_batch, &step);
	while (__atomic_load_n(&step, __ATOMIC_SEQ_CST) != 1)
		sched_yield();
	assert_int_equal(gate_close(&fake_pds[0], clock_now_ns(), &gate),
			 -ETIMEDOUT);
	assert_non_null(gate);
	gate_open(gate);
	__atomic_store_n(&step, 2, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	gate_open(gate);
}

static void *end_within_batch(void *arg)
{
	ibv_wr_start(arg);
	ibv_wr_abort(arg);
	ibv_wr_start(arg);
	pthread_mutex_unlock(&qps[0].lock); /* the device's, not the gate's */
	pthread_exit(NULL);
}

static void thread_that_ends_inside__leaves_nothing(void **state)
{
	struct gate *gate = NULL;
	pthread_t thread;

	(void)state;
	attach();
	pthread_create(&thread, NULL, end_within_batch, &qps[0].ex);
	pthread_join(thread, NULL);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	gate_open(gate);
}

static pthread_key_t post_at_end;

static void *ends_posting(void *arg)
{
	fake_post(arg, 1, 0);
	pthread_setspecific(post_at_end, arg);
	return NULL;
}

static void post_again(void *arg)
{
	fake_post(arg, 2, 0);
	ibv_wr_start(&((struct fake_qp *)arg)->ex);
	ibv_wr_complete(&((struct fake_qp *)arg)->ex);
	if (((struct fake_qp *)arg)->posted < 4)
		pthread_setspecific(post_at_end, arg);
}

static void thread_that_posts_while_it_ends__is_counted(void **state)
{
	struct gate *gate = NULL;
	pthread_t thread;

	(void)state;
	attach();
	pthread_create(&thread, NULL, ends_posting, &qps[0]);
	pthread_join(thread, NULL);
	assert_int_equal(qps[0].posted, 4);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	gate_open(gate);
}

static void thread_that_is_cancelled_at_the_gate__posts_first(void **state)
{
	struct gate *gate = NULL;
	pthread_t thread;

	(void)state;
	attach();
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	pthread_create(&thread, NULL, post_once, &qps[0]);
	pthread_cancel(thread);
	gate_open(gate);
	pthread_join(thread, NULL);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	gate_open(gate);
}

static bool is_watching_forks;
static atomic_uint handled;
static unsigned int handled_before_fork;

/* Registered before the gate's own, so run after it. */
static void raise_before_fork(void)
{
	if (!is_watching_forks)
		return;
	raise(SIGUSR1);
	handled_before_fork = atomic_load(&handled);
}

static void count_signal(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

/* Its handler may post, which takes the lock that a fork holds. */
static void signal__is_handled_when_a_fork_is_over(void **state)
{
	const struct sigaction action = {.sa_handler = count_signal};
	struct sigaction before;
	sigset_t mask;
	int status;
	pid_t pid;

	(void)state;
	attach();
	handled = 0;
	is_watching_forks = true;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	pid = fork();
	if (pid == 0) {
		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		_exit(sigismember(&mask, SIGUSR1));
	}
	is_watching_forks = false;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(handled_before_fork, 0);
	assert_int_equal(handled, 1);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void child__has_its_gates_open(void **state)
{
	struct fake_qp quiet; /* no thread has its lock */
	pthread_t threads[THREADS];
	struct gate *gate = NULL;
	int status;
	pid_t pid;

	(void)state;
	attach();
	fake_qp_init(&quiet, &fake_pds[0], &cq, IBV_QPT_RC);
	start(threads);
	posted_more_than(0);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		if (fake_post(&quiet, 1, 0) ||
		    gate_close(&fake_pds[0], later(), &gate))
			_exit(1);
		gate_open(gate);
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	gate_open(gate);
	finish(threads);
}

static struct fake_qp *handlers_qp;

static void handler(int signal)
{
	(void)signal;
	fake_post(handlers_qp, 3, 0);
}

/* In a post, at the gate, behind it. */
static void handler_that_posts__deadlocks_nobody(void **state)
{
	struct sigaction action = {.sa_handler = handler}, old;
	struct gate *gate = NULL;
	pthread_t threads[THREADS];
	struct fake_qp other;

	(void)state;
	attach();
	fake_qp_init(&other, &fake_pds[1], &cq, IBV_QPT_RC);
	handlers_qp = &other;
	other.has_batches = false;
	sigaction(SIGUSR1, &action, &old);
	start(threads);
	posted_more_than(0);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
		fake_closed = true;
		pthread_kill(threads[0], SIGUSR1);
		fake_closed = false;
		gate_open(gate);
		pthread_kill(threads[0], SIGUSR1);
		posted_more_than(posted());
		fake_run(&other, FAKE_DEPTH);
	}
	finish(threads);
	sigaction(SIGUSR1, &old, NULL);
}

static void detached__tables_are_the_devices_own(void **state)
{
	const struct ibv_context_ops before = fake_context.context.ops;
	void *start = qps[0].ex.wr_start;
	struct gate *gate;

	(void)state;
	attach();
	attach();
	assert_ptr_not_equal(fake_context.context.ops.post_send,
			     before.post_send);
	assert_ptr_not_equal(qps[0].ex.wr_start, start);
	gate_detach(&fake_context.context);
	assert_ptr_not_equal(fake_context.context.ops.post_send,
			     before.post_send);
	gate_detach(&fake_context.context);
	assert_memory_equal(&fake_context.context.ops, &before, sizeof(before));
	assert_ptr_equal(qps[0].ex.wr_start, start);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), -EINVAL);
	attach();
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	gate_open(gate);
}

static void severed__all_of_the_pd_and_nobody_else(void **state)
{
	struct fake_qp other;
	struct gate *gate;

	(void)state;
	attach();
	fake_qp_init(&other, &fake_pds[1], &cq, IBV_QPT_RC);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[2])), 0);
	gate_qp_destroyed(gate_qp_destroying(fake_ibv(&qps[1])), EBUSY);
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	assert_int_equal(gate_sever(gate, true), 2);
	assert_int_equal(gate_sever(gate, true), 0);
	gate_open(gate);
	assert_int_equal(fake_ibv(&qps[0])->state, IBV_QPS_ERR);
	assert_int_equal(fake_ibv(&qps[1])->state, IBV_QPS_ERR);
	assert_int_equal(fake_ibv(&qps[2])->state, IBV_QPS_RTS);
	assert_int_equal(fake_ibv(&other)->state, IBV_QPS_RTS);
}

/* Two threads at it would take each other's QPs again and again. */
static void severed__for_a_later_gate_is_for_all_before_it(void **state)
{
	struct gate *gate, *later_gate;

	(void)state;
	attach();
	assert_int_equal(gate_close(&fake_pds[0], later(), &gate), 0);
	assert_int_equal(gate_close(&fake_pds[0], later(), &later_gate), 0);
	assert_int_equal(gate_sever(later_gate, true), 3);
	assert_int_equal(gate_sever(gate, true), 0);
	/* what is connected anew is not severed yet */
	gate_qp_modified(fake_ibv(&qps[0]), IBV_QPS_RESET);
	assert_int_equal(gate_sever(gate, true), 1);
	assert_int_equal(gate_sever(later_gate, true), 1);
	assert_int_equal(gate_sever(gate, true), 0);
	gate_open(gate);
	gate_open(later_gate);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(closed__nothing_is_posted_and_nothing_lost),
		TEST(closed__other_pd_goes_on),
		TEST(closed_twice__opens_with_the_last),
		TEST(open_batch__is_waited_for),
		TEST(held_batch__close_says_it_is_late),
		TEST(thread_that_ends_inside__leaves_nothing),
		TEST(thread_that_posts_while_it_ends__is_counted),
		TEST(thread_that_is_cancelled_at_the_gate__posts_first),
		TEST(child__has_its_gates_open),
		TEST(signal__is_handled_when_a_fork_is_over),
		TEST(handler_that_posts__deadlocks_nobody),
		TEST(detached__tables_are_the_devices_own),
		TEST(severed__all_of_the_pd_and_nobody_else),
		TEST(severed__for_a_later_gate_is_for_all_before_it),
	};

	pthread_atfork(raise_before_fork, NULL, NULL);
	pthread_key_create(&post_at_end, post_again);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
