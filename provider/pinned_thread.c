/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The threads of pinned.h: they hear what happens to the files, and do what is
 * due for their regions.
 *
 * There are two. Others wait for what the first does: MRs go, posts are let
 * through. While it waits for work that is under way it does, in between, what
 * others have less time for, in the same way: all of that has an earlier
 * deadline than what it interrupts, or needs none, so that one's holds too. The
 * second registers again, severs what cannot be, and tells peers that were cut
 * off: a device may take seconds for that, and no other file's recall waits for
 * it.
 *
 * Each looks at all regions, does what is due and has come first in its list of
 * steps, without the lock, and looks again; if nothing is due it waits for
 * news, or for the next time that something will be.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "clock.h"
#include "gate/gate_cm.h"
#include "log.h"
#include "own_thread.h"
#include "pinned_parts.h"
#include "quiet.h"

#define NEVER INT64_MAX
#define MS    1000000LL
#define STACK (256 << 10)

/* Each takes less than 3 KiB of that. */
#define INTERRUPTED_MAX 16

pthread_mutex_t pinned_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t pinned_changed = PTHREAD_COND_INITIALIZER;
struct pinned *pinned_all;

typedef void step_fn(struct pinned *pinned);

static step_fn agree, give_up_waiting;

struct worker {
	const char *name;
	step_fn *steps[5]; /* in this order; NULL: no more */
	/*
	 * What all regions have due of a step is taken together; those that go
	 * only with others that have as much time for it.
	 */
	bool takes_all;
	bool disconnects;
	bool is_started; /* under the lock */
};

static struct worker workers[] = {
	{
		.name = "daxmr-pinned",
		.steps = {agree, pinned_gate_open, give_up_waiting, pinned_go},
		.takes_all = true,
	},
	{
		.name = "daxmr-back",
		.steps = {pinned_sever_stuck, pinned_come_back},
		.disconnects = true,
	},
};
#define WORKERS (sizeof(workers) / sizeof(*workers))

static bool has_to_disconnect; /* under the lock */

/* How many pinned_go() of the first thread wait now, each for the next. */
static unsigned int interrupted;

/* Of the thread that forks. */
static sigset_t signals_before_fork;

static void before_fork(void)
{
	quiet_lock_over_fork(&pinned_lock, &signals_before_fork);
}

static void after_fork(void)
{
	quiet_unlock_after_fork(&pinned_lock, &signals_before_fork);
}

/* No thread, no lease, no gate that is closed: all regions are its parent's. */
static void in_child(void)
{
	pthread_mutex_init(&pinned_lock, NULL);
	pthread_cond_init(&pinned_changed, NULL);
	has_to_disconnect = false;
	interrupted = 0;
	for (size_t i = 0; i < WORKERS; i++)
		workers[i].is_started = false;
	for (struct pinned *at = pinned_all; at; at = at->next) {
		at->is_busy = false;
		at->gate = NULL;
	}
	pinned_forget_all();
	pinned_gate_forget_all();
	pinned_own_forget_all();
	quiet_end(&signals_before_fork);
}

static void follow_forks(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

void pinned_lock_take(struct pinned_locked *ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	still_begin(&ret->still);
	pthread_once(&once, follow_forks);
	pthread_mutex_lock(&pinned_lock);
}

void pinned_lock_give(const struct pinned_locked *locked)
{
	pthread_mutex_unlock(&pinned_lock);
	still_end(&locked->still);
}

int pinned_wait_locked(int64_t until_ns)
{
	return quiet_wait(&pinned_changed, &pinned_lock, until_ns);
}

void pinned_begin(struct pinned *pinned)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	while (pinned->is_busy)
		pinned_wait_locked(NEVER);
	pinned->is_busy = true;
	pinned_lock_give(&locked);
}

void pinned_begin_both(struct pinned *pinned, struct pinned *other)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	while (pinned->is_busy || other->is_busy)
		pinned_wait_locked(NEVER);
	pinned->is_busy = other->is_busy = true;
	pinned_lock_give(&locked);
}

void pinned_end(struct pinned *pinned)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	pinned->is_busy = false;
	pthread_cond_broadcast(&pinned_changed);
	pinned_lock_give(&locked);
}

static struct pinned *of(struct lease_listener *listener)
{
	return (struct pinned *)((char *)listener -
				 offsetof(struct pinned, listener));
}

/* What came of earlier tries to come back is over. */
static void is_away_locked(struct pinned *pinned)
{
	pinned->is_held = false;
	pinned->is_stuck = false;
	pinned->retry_ns = pinned->pause_ns = 0;
	pinned->has_agreed = false;
}

/* What is left is for the deregistration, and the way to others. */
static int64_t programs_share(int64_t ns)
{
	return ns / 4 * 3;
}

static bool have_it(enum recall_state state)
{
	return state == RECALL_YIELDED || state == RECALL_LOST;
}

/* When its MR goes, of which others have been heard. */
static int64_t leave_at_locked(const struct pinned *pinned,
			       enum recall_state to, int64_t now_ns)
{
	if (pinned->may_wait)
		return pinned->deadline_ns;
	/* The program is asked next. */
	if (pinned_is_programs(pinned) && !pinned->is_own && !have_it(to))
		return now_ns + programs_share(pinned->quiesce_ns);
	return now_ns;
}

void pinned_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed)
{
	struct pinned *pinned = of(listener);
	int64_t now_ns = clock_now_ns();
	struct pinned_locked locked;

	(void)missed;
	/* Changed past us, under a lease that stays. */
	if (report->cause == RECALL_CHANGED)
		return;
	pinned_lock_take(&locked);
	/* Whatever is heard next: its pages may not be the file's any more. */
	if (have_it(report->to)) {
		if (!pinned->late_ns && !pinned->may_wait)
			pinned->late_ns = now_ns;
		pinned->must_go = true;
	}
	if (report->to == RECALL_HELD) {
		pinned->is_held = true;
		pinned->is_asked = false;
		pinned->is_tried = false;
	} else if (pinned->is_held) {
		is_away_locked(pinned);
		/* Nobody else has to be there then. */
		pinned->is_own = report->cause == RECALL_OWN_OPEN;
		pinned->may_wait = pinned->is_own && pinned->file.is_dax;
		pinned->deadline_ns = now_ns + pinned->quiesce_ns;
		pinned->leave_ns = leave_at_locked(pinned, report->to, now_ns);
		/* What is late is still to be drained. */
		if (pinned->may_wait)
			pinned->deadline_ns += pinned->quiesce_ns;
	} else if (report->to == RECALL_LOST ||
		   (have_it(report->to) && !pinned->may_wait)) {
		pinned->leave_ns = now_ns;
	}
	pthread_cond_broadcast(&pinned_changed);
	pinned_lock_give(&locked);
}

void pinned_ask_locked(const struct pinned *pinned)
{
	if (pinned_is_programs(pinned) && pinned->is_asked && pinned->ear)
		pinned->ear->ask(pinned->ear, pinned->leave_ns);
}

void pinned_agreed(struct pinned *pinned)
{
	int64_t now_ns = clock_now_ns();
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	if (pinned->is_asked && !pinned->has_agreed) {
		pinned->has_agreed = true;
		pinned->leave_ns = now_ns;
		pthread_cond_broadcast(&pinned_changed);
	}
	pinned_lock_give(&locked);
}

void pinned_hear_asked(struct lease_listener *listener, int64_t deadline_ns)
{
	struct pinned *pinned = of(listener);
	int64_t now_ns = clock_now_ns();
	struct pinned_locked locked;

	/* Another of the file's may be asked for longer. */
	if (deadline_ns > now_ns + pinned->quiesce_ns)
		deadline_ns = now_ns + pinned->quiesce_ns;
	pinned_lock_take(&locked);
	is_away_locked(pinned);
	pinned->is_asked = true;
	pinned->is_own = pinned->may_wait = false;
	pinned->leave_ns = now_ns;
	if (pinned_is_programs(pinned))
		pinned->leave_ns += programs_share(deadline_ns - now_ns);
	pinned->deadline_ns = deadline_ns;
	pinned_ask_locked(pinned);
	pthread_cond_broadcast(&pinned_changed);
	pinned_lock_give(&locked);
}

static void give_up_waiting(struct pinned *pinned)
{
	pinned_tell_severed(pinned); /* the gate knows, and goes */
	pinned_gate_open(pinned);
	log_try_write(
		LOG_WARN,
		"%s: it is still away after %u ms: what the program posts "
		"goes on without it, and fails where it names it",
		pinned->file.name, (unsigned int)(pinned->quiesce_ns / MS));
}

/* It had gone before somebody asked. */
static void agree(struct pinned *pinned)
{
	lease_news_consent(&pinned->listener);
}

static step_fn *if_due(step_fn *step, int64_t at_ns, int64_t now_ns,
		       int64_t *next_ns)
{
	if (at_ns <= now_ns)
		return step;
	if (at_ns < *next_ns)
		*next_ns = at_ns;
	return NULL;
}

/* The file is ours. */
static step_fn *due_held_locked(const struct pinned *pinned, int64_t now_ns,
				int64_t *next_ns)
{
	step_fn *step = NULL;

	if (pinned->mr || pinned->is_tried)
		return pinned->gate ? pinned_gate_open : NULL;
	if (pinned->is_stuck)
		step = if_due(pinned_sever_stuck, pinned->deadline_ns, now_ns,
			      next_ns);
	return step ? step
		    : if_due(pinned_come_back, pinned->retry_ns, now_ns,
			     next_ns);
}

/* What is due, or when to look again, if that is sooner. */
static step_fn *due_locked(const struct pinned *pinned, int64_t now_ns,
			   int64_t *next_ns)
{
	bool is_free = pinned->is_held && !pinned_own_is_there_locked(pinned);

	/* It came back while the gate had just been closed: it goes still. */
	if (is_free && !(pinned->mr && pinned->must_go))
		return due_held_locked(pinned, now_ns, next_ns);
	if (pinned->mr)
		return if_due(pinned_go, pinned->leave_ns, now_ns, next_ns);
	if (pinned->is_asked)
		return agree;
	return pinned->gate ? if_due(give_up_waiting, pinned->deadline_ns,
				     now_ns, next_ns)
			    : NULL;
}

/* What is ours again, and goes all the same, has all its time to do so. */
static int64_t deadline_of_locked(const struct pinned *pinned, int64_t now_ns)
{
	if (pinned->is_held && pinned->deadline_ns < now_ns)
		return now_ns + pinned->quiesce_ns;
	return pinned->deadline_ns;
}

/* They may have had it already, and we were stopped all the while. */
static bool is_for_others_locked(const struct pinned *pinned)
{
	return (!pinned->is_held || pinned->must_go) && !pinned->is_own;
}

static bool is_to_be_cut_off_locked(const struct pinned *pinned)
{
	return pinned->on_recall == ON_RECALL_SEVER &&
	       is_for_others_locked(pinned);
}

/*
 * Neither for work nor for a window to be unbound, so it is in nobody's way,
 * whatever time that one has. By who may have it.
 */
static bool waits_for_nothing_locked(const struct pinned *pinned)
{
	return (pinned_is_programs(pinned) ||
		is_to_be_cut_off_locked(pinned)) &&
	       !pinned->key.mw && !pinned->keeps_windows;
}

/* What is heard from now on may make it due again. */
static void take_locked(struct pinned *pinned, step_fn *step, int64_t now_ns)
{
	pinned->is_busy = true;
	if (step == pinned_come_back) {
		pinned->is_tried = true;
		pinned->must_go = false;
		pinned->late_ns = 0;
	} else if (step == pinned_sever_stuck) {
		pinned->is_stuck = false;
	} else if (step == agree) {
		pinned->is_asked = false;
	} else if (step == pinned_go) { /* which agrees when it is through */
		pinned->is_asked = false;
		pinned->is_cut_off = is_to_be_cut_off_locked(pinned);
		pinned->is_forced = pinned_is_programs(pinned) &&
				    is_for_others_locked(pinned) &&
				    !pinned->has_agreed;
		pinned->deadline_ns = deadline_of_locked(pinned, now_ns);
	}
}

static bool is_due_locked(const struct pinned *pinned, step_fn *step,
			  int64_t now_ns, int64_t *next_ns)
{
	return !pinned->is_busy && due_locked(pinned, now_ns, next_ns) == step;
}

/* Whatever is waited for until before_ns does not get any later by it. */
static bool may_go_locked(const struct pinned *pinned, int64_t now_ns,
			  int64_t before_ns)
{
	return deadline_of_locked(pinned, now_ns) < before_ns ||
	       waits_for_nothing_locked(pinned);
}

/*
 * Which one of those that are to go has the least time, of such as have no time
 * until before_ns, or need none. NULL: none. The others come after it and those
 * that have as much: who has little time does not wait for the drain of one
 * that has more.
 */
static const struct pinned *most_urgent_locked(int64_t now_ns,
					       int64_t before_ns)
{
	const struct pinned *urgent = NULL;
	int64_t next_ns = NEVER;

	for (const struct pinned *at = pinned_all; at; at = at->next)
		if (is_due_locked(at, pinned_go, now_ns, &next_ns) &&
		    may_go_locked(at, now_ns, before_ns) &&
		    (!urgent || at->deadline_ns < urgent->deadline_ns))
			urgent = at;
	return urgent;
}

/* Of those that may go together, for as long as urgent may take. */
static bool goes_with_locked(const struct pinned *pinned,
			     const struct pinned *urgent, int64_t now_ns,
			     int64_t before_ns)
{
	return urgent && pinned->quiesce_ns == urgent->quiesce_ns &&
	       may_go_locked(pinned, now_ns, before_ns);
}

/*
 * The first region that the step is due for is marked, and returned; with it
 * all others that it is due for, where they are taken together. *next_ns: as
 * due_locked() does.
 */
static struct pinned *take_due_locked(const struct worker *worker,
				      step_fn *step, int64_t before_ns,
				      int64_t *next_ns)
{
	struct pinned *pinned, *first = NULL, **last = &first;
	const struct pinned *urgent = NULL;
	int64_t now_ns = clock_now_ns();

	if (step == pinned_go)
		urgent = most_urgent_locked(now_ns, before_ns);
	for (pinned = pinned_all; pinned && (worker->takes_all || !first);
	     pinned = pinned->next) {
		if (!is_due_locked(pinned, step, now_ns, next_ns) ||
		    (step == pinned_go &&
		     !goes_with_locked(pinned, urgent, now_ns, before_ns)))
			continue;
		take_locked(pinned, step, now_ns);
		pinned->also = NULL;
		*last = pinned;
		last = &pinned->also;
	}
	return first;
}

static struct pinned *take_first_due_locked(const struct worker *worker,
					    int64_t before_ns,
					    step_fn **ret_step,
					    int64_t *ret_next_ns)
{
	struct pinned *first = NULL;

	*ret_next_ns = NEVER;
	for (step_fn *const *step = worker->steps; *step && !first; step++) {
		*ret_step = *step;
		first = take_due_locked(worker, *step, before_ns, ret_next_ns);
	}
	return first;
}

static void do_step(step_fn *step, struct pinned *first)
{
	struct pinned *pinned, *also;

	if (step == pinned_go) /* of all of them */
		step(first);
	for (pinned = first; pinned; pinned = also) {
		also = pinned->also;
		if (step != pinned_go)
			step(pinned);
		pinned_end(pinned);
	}
}

/* Of those; what is late already has no say, if it is not all of them. */
static int64_t first_deadline_locked(const struct pinned *waiting,
				     int64_t now_ns)
{
	int64_t first_ns = NEVER;

	for (; waiting; waiting = waiting->also)
		if (waiting->deadline_ns > now_ns &&
		    waiting->deadline_ns < first_ns)
			first_ns = waiting->deadline_ns;
	return first_ns == NEVER ? now_ns : first_ns;
}

void pinned_do_urgent(const struct pinned *waiting)
{
	struct pinned_locked locked;
	struct pinned *first = NULL;
	int64_t before_ns, next_ns;
	step_fn *step;

	if (interrupted == INTERRUPTED_MAX)
		return;
	pinned_lock_take(&locked);
	before_ns = first_deadline_locked(waiting, clock_now_ns());
	first = take_first_due_locked(&workers[0], before_ns, &step, &next_ns);
	pinned_lock_give(&locked);
	if (!first)
		return;
	interrupted++;
	do_step(step, first);
	interrupted--;
}

void pinned_disconnect_soon(void)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	has_to_disconnect = true;
	pthread_cond_broadcast(&pinned_changed);
	pinned_lock_give(&locked);
}

static void disconnect_locked(void)
{
	unsigned int count;

	has_to_disconnect = false;
	pthread_mutex_unlock(&pinned_lock);
	count = gate_disconnect();
	if (count)
		log_try_write(LOG_INFO, "%u connections of librdmacm are ended",
			      count);
	pthread_mutex_lock(&pinned_lock);
}

static void *work(void *arg)
{
	const struct worker *worker = arg;
	struct pinned *pinned;
	int64_t next_ns;
	step_fn *step;

	own_thread_keep_small();
	pthread_setname_np(pthread_self(), worker->name);
	pthread_mutex_lock(&pinned_lock);
	for (;;) {
		if (worker->disconnects && has_to_disconnect)
			disconnect_locked();
		pinned = take_first_due_locked(worker, NEVER, &step, &next_ns);
		if (!pinned) {
			pinned_wait_locked(next_ns);
			continue;
		}
		pthread_mutex_unlock(&pinned_lock);
		do_step(step, pinned);
		pthread_mutex_lock(&pinned_lock);
	}
	return arg;
}

/* None of the program's signals is for them. */
static int start(struct worker *worker)
{
	sigset_t before;
	pthread_t thread;
	int r;

	quiet_begin(&before);
	r = -own_thread_start(&thread, STACK, true, work, worker);
	quiet_end(&before);
	return r;
}

int pinned_start(void)
{
	struct pinned_locked locked;
	int r = 0;

	pinned_lock_take(&locked);
	for (size_t i = 0; i < WORKERS && !r; i++) {
		if (!workers[i].is_started)
			r = start(&workers[i]);
		workers[i].is_started = !r;
	}
	pinned_lock_give(&locked);
	return r;
}
