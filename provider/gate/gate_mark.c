/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "gate_mark.h"
#include "quiet.h"
#include "stats.h"

__thread struct gate_mark gate_mark
	__attribute__((tls_model("initial-exec"))) = {.attention = 1,
						      .poll_attention = 1};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct gate_mark *marks;
static bool is_any_closed;
/* Threads inside a post whose mark cannot be listed any more. */
static unsigned int unlisted_inside;
static unsigned int unlisted_polling;
static bool is_any_busy;
static uint32_t poll_round;
/* Changes when a gate opens: what waiters sleep on. */
static _Atomic uint32_t opened;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int init_error;

void gate_lock(struct gate_locked *ret)
{
	quiet_lock(&lock, &ret->signals);
}

void gate_unlock(const struct gate_locked *locked)
{
	quiet_unlock(&lock, &locked->signals);
}

/*
 * The thread ends: its mark's memory goes. What it still posts, in destructors
 * that come after this one, goes the slow way.
 */
static void thread_ends(void *arg)
{
	struct gate_mark *mark = arg, **at;
	struct gate_locked locked;

	gate_lock(&locked);
	for (at = &marks; *at; at = &(*at)->next)
		if (*at == mark) {
			*at = mark->next;
			break;
		}
	mark->is_linked = false;
	mark->is_dead = true;
	mark->attention = 1;
	mark->poll_attention = 1;
	mark->polling = 0;
	/* cancelled, or ended between wr_start and wr_complete */
	mark->inside = 0;
	gate_unlock(&locked);
}

/* Of the thread that forks. */
static sigset_t signals_before_fork;

static void before_fork(void)
{
	quiet_lock_over_fork(&lock, &signals_before_fork);
}

static void after_fork(void)
{
	quiet_unlock_after_fork(&lock, &signals_before_fork);
}

/* The other threads are gone, and nobody would open what was closed. */
static void in_child(void)
{
	marks = NULL;
	unlisted_inside = 0;
	gate_mark.is_linked = false;
	gate_mark.attention = 1;
	gate_mark.poll_attention = 1;
	unlisted_polling = 0;
	gate_forget_closed_locked();
	is_any_closed = false;
	after_fork();
}

static void init(void)
{
	int r = pthread_key_create(&key, thread_ends);

	if (!r)
		r = pthread_atfork(before_fork, after_fork, in_child);
	if (!r && syscall(SYS_membarrier,
			  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		r = ENOSYS;
	init_error = r == EAGAIN ? -ENOMEM : -r;
}

int gate_mark_init(void)
{
	pthread_once(&once, init);
	return init_error;
}

void gate_mark_link_locked(void)
{
	struct gate_mark *mark = &gate_mark;

	if (mark->is_linked || mark->is_dead)
		return;
	if (pthread_setspecific(key, mark)) {
		mark->is_dead = true; /* its end would not be heard of */
		return;
	}
	mark->is_linked = true;
	mark->tid = (pid_t)syscall(SYS_gettid);
	mark->next = marks;
	marks = mark;
	mark->attention = is_any_closed;
	mark->poll_attention = is_any_busy;
}

void gate_mark_set_attention_locked(bool closed)
{
	struct gate_mark *mark;

	is_any_closed = closed;
	for (mark = marks; mark; mark = mark->next)
		mark->attention = closed;
	opened++;
	syscall(SYS_futex, &opened, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL,
		0);
}

static int64_t begin_waiting(const char *device)
{
	stats_device_count(device, STATS_WAITS, 1);
	return clock_now_ns();
}

void gate_mark_enter(struct ibv_qp *qp, uint32_t unit)
{
	const char *device = qp->context->device->name;
	int saved_errno = errno, cancel_state;
	int64_t since_ns = 0;
	struct gate_mark *mark = &gate_mark;
	struct gate_locked locked;
	uint32_t seen;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	gate_lock(&locked);
	gate_mark_link_locked();
	while (gate_is_closed_locked(qp)) {
		seen = opened;
		gate_unlock(&locked);
		if (!since_ns)
			since_ns = begin_waiting(device);
		syscall(SYS_futex, &opened, FUTEX_WAIT_PRIVATE, seen, NULL,
			NULL, 0);
		gate_lock(&locked);
	}
	mark->inside += unit;
	if (!mark->is_linked)
		unlisted_inside++;
	gate_unlock(&locked);
	if (since_ns)
		stats_device_count(device, STATS_WAITED_NS,
				   (uint64_t)(clock_now_ns() - since_ns));
	pthread_setcancelstate(cancel_state, NULL);
	errno = saved_errno;
}

void gate_mark_pass(void)
{
	struct gate_locked locked;

	if (!gate_mark.is_dead) {
		gate_mark.inside += GATE_POST;
		return;
	}
	gate_lock(&locked);
	gate_mark.inside += GATE_POST;
	unlisted_inside++;
	gate_unlock(&locked);
}

void gate_mark_leave(uint32_t unit)
{
	struct gate_locked locked;

	if (!gate_mark.is_dead) {
		gate_mark.inside -= unit;
		return;
	}
	gate_lock(&locked);
	if (gate_mark.inside >= unit)
		gate_mark.inside -= unit;
	if (unlisted_inside)
		unlisted_inside--;
	gate_unlock(&locked);
}

void gate_mark_set_poll_attention_locked(bool busy)
{
	struct gate_mark *mark;

	is_any_busy = busy;
	for (mark = marks; mark; mark = mark->next)
		mark->poll_attention = busy;
}

void gate_mark_poll_enter_locked(void)
{
	gate_mark.polling = 1;
	if (!gate_mark.is_linked)
		unlisted_polling++;
}

void gate_mark_poll_leave(void)
{
	struct gate_locked locked;

	gate_mark.polling = 0;
	if (!gate_mark.is_dead)
		return;
	gate_lock(&locked);
	if (unlisted_polling)
		unlisted_polling--;
	gate_unlock(&locked);
}

static bool is_anybody_inside(void)
{
	const struct gate_mark *mark;
	struct gate_locked locked;
	bool found;

	gate_lock(&locked);
	found = unlisted_inside;
	for (mark = marks; mark && !found; mark = mark->next)
		found = mark != &gate_mark && mark->inside;
	gate_unlock(&locked);
	return found;
}

bool gate_mark_is_anybody_polling_locked(void)
{
	const struct gate_mark *mark = marks;

	while (mark && !mark->polling)
		mark = mark->next;
	return mark || unlisted_polling;
}

static bool is_anybody_polling(void)
{
	struct gate_locked locked;
	bool found;

	gate_lock(&locked);
	found = gate_mark_is_anybody_polling_locked();
	gate_unlock(&locked);
	return found;
}

int gate_wait(bool (*is_it_so)(void), int64_t deadline_ns)
{
	struct timespec pause = {0, 5000};

	while (is_it_so()) {
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		if (pause.tv_nsec < 1000000)
			pause.tv_nsec *= 2;
	}
	return 0;
}

static void barrier_everywhere(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

int gate_mark_wait_outside(int64_t deadline_ns)
{
	barrier_everywhere();
	return gate_wait(is_anybody_inside, deadline_ns);
}

int gate_mark_wait_not_polling(int64_t deadline_ns)
{
	barrier_everywhere();
	return gate_wait(is_anybody_polling, deadline_ns);
}

uint32_t gate_mark_next_poll_round(void)
{
	struct gate_locked locked;
	uint32_t round;

	gate_lock(&locked);
	round = ++poll_round;
	gate_unlock(&locked);
	barrier_everywhere();
	return round;
}

void gate_mark_polled_locked(void)
{
	gate_mark.poll_round = poll_round;
}

bool gate_mark_has_polled(pid_t tid, uint32_t round)
{
	const struct gate_mark *mark;
	struct gate_locked locked;
	bool has_polled;

	gate_lock(&locked);
	for (mark = marks; mark && mark->tid != tid; mark = mark->next)
		;
	has_polled = mark && mark->poll_round >= round;
	gate_unlock(&locked);
	return has_polled;
}
