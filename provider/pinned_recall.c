/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of pinned regions when others want the file: all of them that
 * have to go together go in steps. Who wants the file waits for the last of
 * these, so nothing is written to the log before.
 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "pinned_parts.h"
#include "probe.h"
#include "reason.h"
#include "stats.h"

#define RETRY_NS   100000000LL
#define LEFT_NAMED 16
#define CUT_OFF_NS 100000000LL

/* What one recall has come to, for the log. */
struct course {
	unsigned int severed;
	bool is_stuck; /* a post did not end */
	int close_error;
	int dereg_error;
	unsigned int keys_lost;
	char why_lost[REASON_MAX]; /* the last of them */
	struct pinned_lost lost;
	size_t left; /* QPs that were not drained; so many are named: */
	struct {
		uint32_t qp_num;
		enum gate_left why;
	} named[LEFT_NAMED];
	int64_t begun_ns;
	int64_t drained_ns;
	const struct pinned *first; /* of those that go */
};

static void note_left(void *arg, uint32_t qp_num, enum gate_left why)
{
	struct course *course = arg;

	if (course->left < LEFT_NAMED) {
		course->named[course->left].qp_num = qp_num;
		course->named[course->left].why = why;
	}
	course->left++;
}

/*
 * As long as is left to those that wait at this gate, but for the
 * deregistration and the way to others. What is late already has no say.
 */
static int64_t drain_until(const struct pinned *first,
			   const struct pinned_gate *gate)
{
	int64_t now_ns = clock_now_ns(), deadline_ns = INT64_MAX;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	for (; first; first = first->also)
		if (first->gate == gate && first->deadline_ns > now_ns &&
		    first->deadline_ns < deadline_ns)
			deadline_ns = first->deadline_ns;
	pinned_lock_give(&locked);
	if (deadline_ns == INT64_MAX)
		return now_ns;
	return now_ns + (deadline_ns - now_ns) * 3 / 4;
}

static void sever(struct pinned_gate *gate, struct course *course, bool all)
{
	course->severed += pinned_gate_sever(gate, all);
}

/* What others' files need at once does not wait for this one's work. */
static void meanwhile(void *arg)
{
	const struct course *course = arg;

	pinned_do_urgent(course->first);
}

static void drain(struct pinned_gate *gate, int64_t until_ns,
		  struct course *course)
{
	int left = 0;

	if (gate->is_entered) {
		course->is_stuck = true;
		sever(gate, course, true);
	} else {
		left = gate_drain(gate->gate, until_ns, note_left, meanwhile,
				  course);
	}
	if (left)
		sever(gate, course, left < 0);
	/* not before: who comes meanwhile needs the same gate quiet */
	gate->is_quiet = true;
}

/* Nothing is waited for. */
static void cut_off(struct pinned_gate *gate, struct course *course)
{
	if (gate->is_cut)
		return;
	gate->is_cut = gate->is_quiet = true;
	sever(gate, course, true);
}

/* The first of those in the group that has its gate. */
static bool is_first_at_gate(const struct pinned *first,
			     const struct pinned *pinned)
{
	while (first->gate != pinned->gate)
		first = first->also;
	return first == pinned;
}

static bool has_to_drain(const struct pinned *first,
			 const struct pinned *pinned)
{
	return pinned->gate && !pinned->gate->is_quiet &&
	       is_first_at_gate(first, pinned);
}

/* One after another: the first must not use up the time of the rest. */
static void drain_all(struct pinned *first, struct course *course)
{
	struct pinned *pinned;
	int64_t now_ns, until_ns;
	int left = 0;

	for (pinned = first; pinned; pinned = pinned->also)
		left += has_to_drain(first, pinned);
	for (pinned = first; pinned; pinned = pinned->also) {
		if (!has_to_drain(first, pinned))
			continue;
		now_ns = clock_now_ns();
		until_ns = drain_until(first, pinned->gate);
		drain(pinned->gate,
		      now_ns + (until_ns - now_ns) / (left > 1 ? left : 1),
		      course);
		left--;
	}
}

/*
 * So long posts may take to end. What is cut off then fails in any case, and is
 * in the way of others.
 */
static int64_t close_until(const struct pinned *pinned)
{
	int64_t most_ns = pinned->quiesce_ns / 4;

	if (pinned->is_cut_off && most_ns > CUT_OFF_NS)
		most_ns = CUT_OFF_NS;
	return clock_now_ns() + most_ns;
}

/* All gates are closed before one is waited for. */
static void quiesce(struct pinned *first, struct course *course)
{
	struct pinned *pinned;
	int r;

	for (pinned = first; pinned; pinned = pinned->also) {
		if (pinned_is_programs(pinned))
			continue;
		r = pinned_gate_close(pinned, close_until(pinned));
		if (r)
			course->close_error = r;
		if (pinned->gate)
			pinned->gate->is_cut = false;
	}
	for (pinned = first; pinned; pinned = pinned->also)
		if (pinned->gate && pinned->is_cut_off)
			cut_off(pinned->gate, course);
	drain_all(first, course);
}

/* Peers reach nothing; who was told a key that has gone is cut off. */
static void let_go_of_key(struct pinned *pinned, struct course *course)
{
	pinned->key_error = pinned_key_unbind(pinned, pinned->mr);
	if (!pinned->key_error)
		return;
	if (!pinned->key.mw) {
		course->keys_lost++;
		strcpy(course->why_lost, reason_text());
	}
	if (pinned->gate)
		sever(pinned->gate, course, true);
}

bool pinned_others_have_it(const struct pinned *pinned)
{
	struct pinned_locked locked;
	bool they_do;

	pinned_lock_take(&locked);
	they_do = pinned->must_go;
	pinned_lock_give(&locked);
	return they_do;
}

/*
 * The MR has not gone. Unless others have the file its keys hold on: who waits
 * for it may give up, and nobody would come by later.
 */
static void keep_keys(struct pinned *pinned, struct course *course)
{
	pinned_promise(pinned, pinned->mr);
	if (!pinned->key.mw)
		pinned_show(pinned);
	if (pinned->key_error || pinned_others_have_it(pinned))
		return;
	pinned->key_error =
		pinned_key_bind(pinned, pinned->mr, pinned->registered);
	if (pinned->key_error && pinned->gate)
		sever(pinned->gate, course, true);
}

/* The file system waits until this has succeeded. */
static int deregister(struct pinned *pinned, struct course *course)
{
	unsigned int lost = course->lost.count;
	int r;

	/* No other MR is to have the key that the program goes on to use. */
	if (pinned_promise(pinned, NULL) && pinned->gate)
		sever(pinned->gate, course, true);
	let_go_of_key(pinned, course);
	r = pinned_dereg_mr(pinned, &course->lost);
	if (r && pinned->gate) {
		sever(pinned->gate, course, true);
		r = pinned_dereg_mr(pinned, &course->lost);
	}
	pinned->lost = course->lost.count - lost;
	if (r) {
		keep_keys(pinned, course);
		return r;
	}
	pinned->mr = NULL;
	pinned_show(pinned);
	return 0;
}

static void try_again(struct pinned *pinned)
{
	struct pinned_locked locked;
	bool is_late;

	pinned_lock_take(&locked);
	pinned->leave_ns = clock_now_ns() + RETRY_NS;
	is_late = pinned->leave_ns >= pinned->deadline_ns;
	pinned_lock_give(&locked);
	/* The program may be what it waits for. */
	if (is_late)
		pinned_gate_open(pinned);
}

static void tell_lost(const char *name, const struct pinned_lost *lost)
{
	if (lost->are_silent)
		log_try_write(LOG_WARN,
			      "%s: the device has not bound a window of the "
			      "program's to nothing",
			      name);
	for (unsigned int i = 0; i < lost->count && i < PINNED_LOST_NAMED; i++)
		log_try_write(
			LOG_WARN,
			"%s: the program's window with rkey %#x is severed: it "
			"is bound to nothing, its rkey is %#x now",
			name, lost->named[i].before, lost->named[i].after);
	if (lost->count > PINNED_LOST_NAMED)
		log_try_write(LOG_WARN, "%s: so are %u other windows", name,
			      lost->count - PINNED_LOST_NAMED);
}

static void tell_troubles(const struct pinned *first,
			  const struct course *course)
{
	const char *name = first->file.name;

	if (course->close_error)
		log_try_write(LOG_ERROR,
			      "%s: the work on it cannot be held up: %s", name,
			      strerrordesc_np(-course->close_error));
	if (course->is_stuck)
		log_try_write(LOG_WARN,
			      "%s: a post of the program does not end, its QPs "
			      "are severed",
			      name);
	for (size_t i = 0; i < course->left && i < LEFT_NAMED; i++)
		log_try_write(
			LOG_WARN,
			"%s: QP %u is severed, it could not be drained: %s",
			name, course->named[i].qp_num,
			gate_left_name(course->named[i].why));
	if (course->left > LEFT_NAMED)
		log_try_write(LOG_WARN, "%s: so are %zu other QPs", name,
			      course->left - LEFT_NAMED);
	if (course->keys_lost)
		log_try_write(LOG_ERROR,
			      "%s: %u rkeys that were to stay are lost: %s; "
			      "all QPs of their PDs are severed, it comes back "
			      "with others",
			      name, course->keys_lost, course->why_lost);
	tell_lost(name, &course->lost);
	if (course->dereg_error)
		log_try_write(LOG_ERROR,
			      "%s: others wait for it, and its MR cannot be "
			      "deregistered: %s, though no window of the "
			      "program's is on it any more that was seen; it "
			      "is tried again",
			      name, strerrordesc_np(course->dereg_error));
}

/* The program was stopped, say: nobody else can deregister. */
static void tell_late(struct pinned *pinned, int64_t gone_ns)
{
	int64_t late_ns;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	late_ns = pinned->late_ns;
	pinned_lock_give(&locked);
	if (late_ns && late_ns < gone_ns)
		log_try_write(
			LOG_ERROR,
			"%s: others have had it for %lld ms while its MR "
			"was still there: on fs-dax a truncate had to wait, "
			"on the page cache what a device wrote may be lost",
			pinned->file.name,
			(long long)(gone_ns - late_ns) / 1000000);
}

static void tell_forced(const struct pinned *pinned)
{
	if (pinned->is_forced)
		log_try_write(LOG_WARN,
			      "%s: the program was asked and has not agreed in "
			      "time: the MR is gone, and the work on it fails",
			      pinned->file.name);
}

/* QPs for whichever region of its PD, and windows for it. */
static void count_severed(struct pinned *pinned)
{
	unsigned int qps = pinned_gate_news(pinned);

	pinned_count(pinned, qps + pinned->lost, 0);
	if (pinned->lost)
		stats_device_count(pinned->context->device->name, STATS_SEVERED,
				   pinned->lost);
	if (pinned->is_cut_off || qps || pinned->lost || pinned->key_error)
		pinned_tell(pinned, PINNED_SEVERED, 0, pinned->key_error);
	pinned->key_error = 0;
}

void pinned_go(struct pinned *first)
{
	struct course course = {.first = first, .begun_ns = clock_now_ns()};
	int64_t before_ns, gone_ns;
	struct pinned *pinned;
	int r;

	quiesce(first, &course);
	course.drained_ns = clock_now_ns();
	for (pinned = first; pinned; pinned = pinned->also)
		PROBE(quiesced, pinned->file.dev, pinned->file.ino,
		      course.drained_ns - course.begun_ns, course.severed);
	for (pinned = first; pinned; pinned = pinned->also)
		pinned_windows_forgive(pinned);
	for (pinned = first; pinned; pinned = pinned->also) {
		r = deregister(pinned, &course);
		if (r)
			course.dereg_error = r;
	}
	before_ns = clock_now_ns();
	for (pinned = first; pinned; pinned = pinned->also) {
		if (pinned->mr)
			continue;
		/* it knows before others have the file */
		if (pinned->is_forced)
			pinned_tell(pinned, PINNED_SEVERED, 0, -ETIMEDOUT);
		lease_news_consent(&pinned->listener);
	}
	gone_ns = clock_now_ns();
	for (pinned = first; pinned; pinned = pinned->also) {
		count_severed(pinned);
		pinned_windows_forgive(pinned); /* for when it comes back */
	}
	/* Who was cut off has nothing to wait for. */
	for (pinned = first; pinned; pinned = pinned->also)
		if (!pinned->mr && pinned->is_cut_off)
			pinned_gate_open(pinned);
	tell_troubles(first, &course);
	for (pinned = first; pinned; pinned = pinned->also) {
		if (pinned->mr) {
			try_again(pinned);
			continue;
		}
		log_try_write(course.severed ? LOG_WARN : LOG_INFO,
			      "%s: others want it: drained in %lld us, "
			      "deregistered in %lld us, %u QPs severed",
			      pinned->file.name,
			      (long long)(course.drained_ns - course.begun_ns) /
				      1000,
			      (long long)(gone_ns - course.drained_ns) / 1000,
			      course.severed);
		tell_late(pinned, before_ns);
		tell_forced(pinned);
	}
}
