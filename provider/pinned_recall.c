/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of pinned regions when others want the file, and after: the
 * thread of pinned.h.
 *
 * It looks at all regions, does for one of them what is due, without the lock,
 * and looks again; if nothing is due it waits for news, or for the next time
 * that something will be.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "log.h"
#include "pinned_parts.h"

#define NEVER	 INT64_MAX
#define MS	 1000000LL
#define STACK	 (256 << 10)
#define RETRY_NS (100 * MS)

pthread_mutex_t pinned_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t pinned_changed = PTHREAD_COND_INITIALIZER;
struct pinned *pinned_all;

static bool is_started; /* under the lock */

static int64_t quiesce_ns(void)
{
	return config_get()->quiesce_ms * MS;
}

void pinned_begin(struct pinned *pinned)
{
	int cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	pthread_mutex_lock(&pinned_lock);
	while (pinned->is_busy)
		pthread_cond_wait(&pinned_changed, &pinned_lock);
	pinned->is_busy = true;
	pthread_mutex_unlock(&pinned_lock);
	pthread_setcancelstate(cancel_state, NULL);
}

void pinned_end(struct pinned *pinned)
{
	pthread_mutex_lock(&pinned_lock);
	pinned->is_busy = false;
	pthread_cond_broadcast(&pinned_changed);
	pthread_mutex_unlock(&pinned_lock);
}

static struct pinned *of(struct lease_listener *listener)
{
	return (struct pinned *)((char *)listener -
				 offsetof(struct pinned, listener));
}

/* The program has opened it: nobody else has to be there. */
static bool can_wait(const struct pinned *pinned,
		     const struct recall_report *report)
{
	return report->cause == RECALL_OWN_OPEN && pinned->file.is_dax;
}

void pinned_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed)
{
	struct pinned *pinned = of(listener);
	int64_t now_ns = clock_now_ns();

	(void)missed;
	/* Changed past us, under a lease that stays. */
	if (report->cause == RECALL_CHANGED)
		return;
	pthread_mutex_lock(&pinned_lock);
	/* Whatever is heard next: its pages may not be the file's any more. */
	if (report->to == RECALL_YIELDED || report->to == RECALL_LOST)
		pinned->must_go = true;
	if (report->to == RECALL_HELD) {
		pinned->is_held = true;
		pinned->is_asked = false;
		pinned->is_tried = false;
	} else if (pinned->is_held) {
		pinned->is_held = false;
		pinned->deadline_ns = now_ns + quiesce_ns();
		pinned->leave_ns =
			can_wait(pinned, report) ? pinned->deadline_ns : now_ns;
		/* What is late is still to be drained. */
		if (can_wait(pinned, report))
			pinned->deadline_ns += quiesce_ns();
	} else if (report->to == RECALL_LOST) {
		pinned->leave_ns = now_ns;
	}
	pthread_cond_broadcast(&pinned_changed);
	pthread_mutex_unlock(&pinned_lock);
}

void pinned_hear_asked(struct lease_listener *listener, int64_t deadline_ns)
{
	struct pinned *pinned = of(listener);

	pthread_mutex_lock(&pinned_lock);
	pinned->is_held = false;
	pinned->is_asked = true;
	pinned->leave_ns = clock_now_ns();
	pinned->deadline_ns = deadline_ns;
	pthread_cond_broadcast(&pinned_changed);
	pthread_mutex_unlock(&pinned_lock);
}

static bool is_of(const struct pinned *pinned, dev_t dev, ino_t ino)
{
	return pinned->file.dev == dev && pinned->file.ino == ino;
}

/* The MR of one of them is still there, or may be. */
static bool are_in_the_way_locked(dev_t dev, ino_t ino)
{
	const struct pinned *pinned = pinned_all;

	while (pinned &&
	       !(is_of(pinned, dev, ino) && (pinned->is_busy || pinned->mr)))
		pinned = pinned->next;
	return pinned;
}

void pinned_own_begin(dev_t dev, ino_t ino)
{
	struct timespec until;
	struct pinned *pinned;
	int r = 0, cancel_state;
	int64_t now_ns;

	if (!pinned_are_there())
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	pthread_mutex_lock(&pinned_lock);
	now_ns = clock_now_ns();
	for (pinned = pinned_all; pinned; pinned = pinned->next) {
		if (!is_of(pinned, dev, ino))
			continue;
		pinned->own++;
		pinned->leave_ns = now_ns;
		pinned->deadline_ns = now_ns + quiesce_ns();
	}
	pthread_cond_broadcast(&pinned_changed);
	now_ns += quiesce_ns();
	until = (struct timespec){now_ns / 1000000000, now_ns % 1000000000};
	while (!r && are_in_the_way_locked(dev, ino))
		r = pthread_cond_clockwait(&pinned_changed, &pinned_lock,
					   CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&pinned_lock);
	pthread_setcancelstate(cancel_state, NULL);
}

void pinned_own_end(dev_t dev, ino_t ino)
{
	struct pinned *pinned;

	if (!pinned_are_there())
		return;
	pthread_mutex_lock(&pinned_lock);
	for (pinned = pinned_all; pinned; pinned = pinned->next) {
		if (!is_of(pinned, dev, ino) || !pinned->own)
			continue;
		pinned->own--;
		pinned->is_tried = false;
	}
	pthread_cond_broadcast(&pinned_changed);
	pthread_mutex_unlock(&pinned_lock);
}

/* What one recall has come to, for the log. */
struct course {
	unsigned int left; /* QPs that were not drained */
	unsigned int severed;
	int64_t drain_ns;
	int64_t dereg_ns;
};

static void log_left(void *arg, uint32_t qp_num, enum gate_left why)
{
	const struct pinned *pinned = arg;

	log_write(LOG_WARN, "%s: QP %u is severed, it could not be drained: %s",
		  pinned->file.name, qp_num, gate_left_name(why));
}

/* As long as is left for the rest, the deregistration and the way to others. */
static int64_t drain_until(const struct pinned *pinned)
{
	int64_t now_ns = clock_now_ns(), deadline_ns;

	pthread_mutex_lock(&pinned_lock);
	deadline_ns = pinned->deadline_ns;
	pthread_mutex_unlock(&pinned_lock);
	return now_ns + (deadline_ns - now_ns) * 3 / 4;
}

static void quiesce(struct pinned *pinned, struct course *course)
{
	int64_t until_ns = drain_until(pinned);
	int r = gate_close(pinned->pd, until_ns, &pinned->gate);
	int left;

	if (r && r != -ETIMEDOUT) {
		pinned->gate = NULL;
		log_write(LOG_ERROR, "%s: the work on it cannot be held up: %s",
			  pinned->file.name, strerrordesc_np(-r));
		return;
	}
	if (r) {
		log_write(LOG_WARN,
			  "%s: a post of the program does not end, its QPs "
			  "are severed",
			  pinned->file.name);
		course->severed += gate_sever(pinned->gate, true);
		return;
	}
	left = gate_drain(pinned->gate, until_ns, log_left, pinned);
	if (left)
		course->severed += gate_sever(pinned->gate, left < 0);
}

/* The file system waits until this has succeeded. */
static int deregister(struct pinned *pinned, struct course *course)
{
	uint32_t lkey = pinned->seen.mr.lkey;
	int r;

	/* No other MR is to have the key that the program goes on to use. */
	if (gate_key_promise(pinned->context, lkey, 0) && pinned->gate)
		course->severed += gate_sever(pinned->gate, true);
	r = pinned->real->dereg_mr(pinned->mr);
	if (r && pinned->gate) {
		course->severed += gate_sever(pinned->gate, true);
		r = pinned->real->dereg_mr(pinned->mr);
	}
	if (r) {
		gate_key_promise(pinned->context, lkey, pinned->mr->lkey);
		log_write(LOG_ERROR,
			  "%s: others wait for it, and its MR cannot be "
			  "deregistered: %s; it is tried again",
			  pinned->file.name, strerrordesc_np(r));
		return r;
	}
	pinned->mr = NULL;
	return 0;
}

static void reopen(struct pinned *pinned)
{
	if (pinned->gate)
		gate_open(pinned->gate);
	pinned->gate = NULL;
}

static void go(struct pinned *pinned)
{
	int64_t begun_ns = clock_now_ns(), drained_ns, gone_ns;
	struct course course = {0};
	bool is_late;

	if (!pinned->gate)
		quiesce(pinned, &course);
	drained_ns = clock_now_ns();
	if (deregister(pinned, &course)) {
		pthread_mutex_lock(&pinned_lock);
		pinned->leave_ns = clock_now_ns() + RETRY_NS;
		is_late = pinned->leave_ns >= pinned->deadline_ns;
		pthread_mutex_unlock(&pinned_lock);
		/* The program may be what it waits for. */
		if (is_late)
			reopen(pinned);
		return;
	}
	gone_ns = clock_now_ns();
	lease_news_consent(&pinned->listener);
	log_write(course.severed ? LOG_WARN : LOG_INFO,
		  "%s: others want it: drained in %lld us, deregistered in "
		  "%lld us, %u QPs severed",
		  pinned->file.name, (long long)(drained_ns - begun_ns) / 1000,
		  (long long)(gone_ns - drained_ns) / 1000, course.severed);
}

/* Pages of the range that are in the file: from its beginning on. */
static size_t surviving(const struct pinned *pinned)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)pinned->addr & ~(page - 1);
	uintptr_t end = (uintptr_t)pinned->addr + pinned->length;
	size_t low = 0, high = (end - first + page - 1) / page, middle;

	/* low pages are there; it is to be found whether more are. */
	while (low < high) {
		middle = low + (high - low + 1) / 2;
		if (syscall(SYS_madvise, first + (middle - 1) * page, page,
			    MADV_POPULATE_READ) == 0)
			low = middle;
		else
			high = middle - 1;
	}
	if (first + low * page <= (uintptr_t)pinned->addr)
		return 0;
	return first + low * page >= end
		       ? pinned->length
		       : first + low * page - (uintptr_t)pinned->addr;
}

/* Posts by the old key are to go with the new one, or wait until they can. */
static int show_new_key(struct pinned *pinned, struct ibv_mr *mr)
{
	int r = 0;

	if (!pinned->gate)
		r = gate_close(pinned->pd, clock_now_ns() + quiesce_ns(),
			       &pinned->gate);
	if (r && r != -ETIMEDOUT)
		return r;
	r = gate_key_promise(pinned->context, pinned->seen.mr.lkey, mr->lkey);
	if (r)
		return r;
	pinned->mr = mr;
	pinned_show(pinned);
	return 0;
}

static void come_back(struct pinned *pinned)
{
	int64_t begun_ns = clock_now_ns();
	size_t length = pinned_still_there(pinned), in_file;
	struct ibv_mr *mr = NULL;
	int r = 0;

	in_file = length ? surviving(pinned) : 0;
	if (length > in_file)
		length = in_file;
	if (length) {
		mr = pinned_make_mr(pinned, length);
		/* What it is on is what was looked at? */
		if (!mr)
			r = errno ? -errno : -EIO;
		else if (pinned_still_there(pinned) < length)
			r = -EAGAIN;
		else
			r = show_new_key(pinned, mr);
		if (r && mr)
			pinned->real->dereg_mr(mr);
	}
	reopen(pinned);
	if (r) {
		log_write(LOG_ERROR,
			  "%s: it is back, and its %zu bytes cannot be "
			  "registered again: %s",
			  pinned->file.name, length, strerrordesc_np(-r));
		return;
	}
	pinned->registered = length;
	log_write(length < pinned->length ? LOG_WARN : LOG_INFO,
		  "%s: it is back: %zu of %zu bytes registered again in %lld "
		  "us, rkey %#x",
		  pinned->file.name, length, pinned->length,
		  (long long)(clock_now_ns() - begun_ns) / 1000,
		  pinned->seen.mr.rkey);
}

static void give_up_waiting(struct pinned *pinned)
{
	reopen(pinned);
	log_write(LOG_WARN,
		  "%s: others still have it after %u ms: what the program "
		  "posts goes on without it, and fails where it names it",
		  pinned->file.name, config_get()->quiesce_ms);
}

/* It had gone before somebody asked. */
static void agree(struct pinned *pinned)
{
	lease_news_consent(&pinned->listener);
}

typedef void step_fn(struct pinned *pinned);

/* What is due, or when to look again, if that is sooner. */
static step_fn *due_locked(struct pinned *pinned, int64_t now_ns,
			   int64_t *next_ns)
{
	int64_t at_ns = NEVER;
	step_fn *step = NULL;

	if (pinned->is_held && !pinned->own) {
		if (!pinned->mr && !pinned->is_tried) {
			pinned->is_tried = true;
			pinned->must_go = false;
			return come_back;
		}
		/* It came back while the gate had just been closed. */
		if (!pinned->mr || !pinned->must_go)
			return pinned->gate ? reopen : NULL;
		if (pinned->deadline_ns < now_ns)
			pinned->deadline_ns = now_ns + quiesce_ns();
	}
	if (pinned->mr) {
		at_ns = pinned->leave_ns;
		step = go;
	} else if (pinned->is_asked) {
		pinned->is_asked = false;
		return agree;
	} else if (pinned->gate) {
		at_ns = pinned->deadline_ns;
		step = give_up_waiting;
	}
	if (at_ns <= now_ns)
		return step;
	if (at_ns < *next_ns)
		*next_ns = at_ns;
	return NULL;
}

/* The first region that something is due for is marked, and returned. */
static struct pinned *take_due_locked(step_fn **ret_step, int64_t *ret_next_ns)
{
	int64_t now_ns = clock_now_ns();
	struct pinned *pinned;

	*ret_next_ns = NEVER;
	for (pinned = pinned_all; pinned; pinned = pinned->next) {
		*ret_step = pinned->is_busy
				    ? NULL
				    : due_locked(pinned, now_ns, ret_next_ns);
		if (*ret_step)
			break;
	}
	if (pinned)
		pinned->is_busy = true;
	return pinned;
}

static void wait_locked(int64_t until_ns)
{
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

	if (until_ns == NEVER)
		pthread_cond_wait(&pinned_changed, &pinned_lock);
	else
		pthread_cond_clockwait(&pinned_changed, &pinned_lock,
				       CLOCK_MONOTONIC, &until);
}

static void *watch_over_all(void *arg)
{
	struct pinned *pinned;
	int64_t next_ns;
	step_fn *step;

	pthread_setname_np(pthread_self(), "daxmr-pinned");
	pthread_mutex_lock(&pinned_lock);
	for (;;) {
		pinned = take_due_locked(&step, &next_ns);
		if (!pinned) {
			wait_locked(next_ns);
			continue;
		}
		pthread_mutex_unlock(&pinned_lock);
		step(pinned);
		pinned_end(pinned);
		pthread_mutex_lock(&pinned_lock);
	}
	return arg;
}

static void before_fork(void)
{
	pthread_mutex_lock(&pinned_lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&pinned_lock);
}

/* No thread, no lease, no gate that is closed: all regions are its parent's. */
static void in_child(void)
{
	pthread_mutex_init(&pinned_lock, NULL);
	pthread_cond_init(&pinned_changed, NULL);
	is_started = false;
	for (struct pinned *at = pinned_all; at; at = at->next) {
		at->is_busy = false;
		at->gate = NULL;
	}
	pinned_forget_all();
}

static void follow_forks(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

/* None of the program's signals is for it. */
static int start(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = -pthread_attr_init(&attr);
	if (r)
		return r;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&thread, &attr, watch_over_all, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

int pinned_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int r = 0;

	pthread_once(&once, follow_forks);
	pthread_mutex_lock(&pinned_lock);
	if (!is_started)
		r = start();
	is_started = is_started || !r;
	pthread_mutex_unlock(&pinned_lock);
	return r;
}
