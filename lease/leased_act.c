/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the state table does to a leased file in the keeper: leased.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "haste.h"
#include "leased_parts.h"
#include "setlease.h"

#define SEC 1000000000LL
#define MS  1000000LL
/* Of CPU, before a write-back makes a pause: a few pieces. */
#define SPENT (1 * MS)
/*
 * A lease that nobody broke a moment ago is not taken away yet: the kernel
 * gives whoever breaks it later at least a second (fs/locks.c, Linux 6.1 and
 * 7.3: lease-break-time in whole seconds, 0 is for ever). Half of it.
 */
#define QUIET_NS (500 * MS)
/* So long a break is waited for by others as they are. */
#define HURRY_NS (1 * MS)

void leased_send_report(struct leased *leased)
{
	if (leased->has_report)
		outbox_report(&leased->shared->outbox, &leased->slot,
			      &leased->report);
	leased->has_report = false;
}

static int64_t act_now(void *arg)
{
	(void)arg;
	return clock_now_ns();
}

int leased_take(struct leased *leased)
{
	int64_t at_ns = clock_now_ns();
	int r = setlease_take(leased->fd, leased->type, LEASED_SIGNAL);

	if (r)
		return r;
	leased->quiet_ns = at_ns;
	leased_arm(leased);
	return 0;
}

static int act_take(void *arg)
{
	return leased_take(arg);
}

/*
 * What was seen to be ours a moment ago needs no second look: the kernel takes
 * nothing away so soon.
 */
static int act_unlock(void *arg)
{
	struct leased *leased = arg;
	int dropped, r = 0;

	/* Of a pass that was not ended. */
	extents_touch(&leased->extents, leased->fd);
	/* Who has gone by now is no news of those who come. */
	watches_read(&leased->shared->watches, leased_watch_told);
	leased->is_writing_through = false;
	leased->is_lent_to_readers = setlease_get(leased->fd) == F_RDLCK;
	if (leased->type == F_WRLCK && leased->is_lent_to_readers &&
	    clock_now_ns() - leased->looked_ns >= MS &&
	    setlease_look(leased->fd, leased->type, &leased->shared->info) < 0)
		r = -EAGAIN;
	dropped = setlease_drop(leased->fd);
	/* Whoever has it now may write; only his leaving is news. */
	leased_disarm(leased);
	/* Of a file that is free nobody hears any more. */
	leased_tell_news(leased);
	return dropped ? dropped : r;
}

/*
 * Three quarters of the time that the kernel gives: what isn't done by then is
 * given up while the lease is still known to be ours. 0 stands for ever in the
 * kernel, and an opener must not wait that long for us.
 */
int64_t leased_break_time_ns(const struct leased_shared *shared)
{
	char text[16] = "";
	long seconds;

	if (shared->break_time < 0 ||
	    pread(shared->break_time, text, sizeof(text) - 1, 0) <= 0)
		return 45 * SEC / 4 * 3;
	seconds = strtol(text, NULL, 10);
	return (seconds > 0 && seconds < 45 ? seconds : 45) * SEC / 4 * 3;
}

/* As setlease_look(), and spares the part of it that reads a text. */
static int look(struct leased *leased)
{
	int64_t at_ns = clock_now_ns();

	if (setlease_get(leased->fd) == leased->type) {
		leased->quiet_ns = at_ns;
		return 0;
	}
	/* However long that took. */
	if (leased->recall.state == RECALL_BREAKING &&
	    clock_now_ns() - leased->quiet_ns < QUIET_NS)
		return 1;
	return setlease_look(leased->fd, leased->type, &leased->shared->info);
}

int leased_check(struct leased *leased)
{
	int r = look(leased);

	/* What the kernel may have left would keep writers waiting. */
	if (r < 0) {
		setlease_drop(leased->fd);
		extents_touch(&leased->extents, leased->fd);
	}
	if (r >= 0)
		leased->looked_ns = clock_now_ns();
	if (r > 0 && leased->recall.state != RECALL_BREAKING)
		leased->recall.policy.break_ns =
			leased_break_time_ns(leased->shared);
	return r;
}

static int act_check(void *arg)
{
	return leased_check(arg);
}

/* Where the flush wrote by pwrite() its own news is taken off the queue. */
static int act_flush(void *arg)
{
	struct leased *leased = arg;
	int r = extents_flush(&leased->extents);

	leased->has_written_back = leased->recall.is_writing_back;
	if (r <= 0) {
		extents_touch(&leased->extents, leased->fd);
		watches_read(&leased->shared->watches, leased_watch_told);
		leased->has_met_others |= leased->extents.has_met_others;
	}
	return r;
}

void leased_pay(struct leased *leased, int64_t spent_ns)
{
	struct leased_shared *shared = leased->shared;
	int64_t cpu = leased->flush_cpu;

	spent_ns += shared->write_back_spent_ns;
	shared->write_back_spent_ns = spent_ns;
	if (spent_ns < SPENT)
		return;
	shared->write_back_spent_ns = 0;
	shared->write_back_ns = clock_now_ns() + spent_ns * (100 - cpu) / cpu;
}

void leased_hurry(struct leased *leased)
{
	struct leased_shared *shared = leased->shared;
	const struct recall *recall = &leased->recall;

	if (recall->state != RECALL_BREAKING ||
	    recall->break_deadline_ns == RECALL_NEVER) {
		if (shared->hurried != leased)
			return;
		shared->hurried = NULL;
		haste_end();
	} else if (!shared->hurried &&
		   clock_now_ns() - recall->since_ns[RECALL_BREAKING] >=
			   HURRY_NS) {
		shared->hurried = leased;
		haste_begin();
	}
}

static int64_t act_pace(void *arg)
{
	struct leased *leased = arg;

	return leased->shared->write_back_ns;
}

static void act_restart_flush(void *arg)
{
	struct leased *leased = arg;

	leased->pass_ticket = leased->flush_ticket;
	extents_restart_flush(&leased->extents);
}

static int act_merge(void *arg)
{
	struct leased *leased = arg;
	int r = extents_merge(&leased->extents, leased->fd,
			      leased->type == F_WRLCK &&
				      leased->recall.state != RECALL_BREAKING);

	if (r || !leased_passes_again(leased))
		return r;
	extents_restart_merge(&leased->extents);
	return 1;
}

static void act_restart_merge(void *arg)
{
	struct leased *leased = arg;

	leased->has_news = leased->has_met_others = false;
	leased->settle_ns = 0;
	extents_restart_merge(&leased->extents);
}

/* Of a program that lives its releasing is the proof. */
static int act_seal(void *arg)
{
	struct leased *leased = arg;

	return leased->is_orphan ? extents_seal(&leased->extents) : 0;
}

/* What a shadow has got since the last flush is not known. */
static bool act_has_unwritten(void *arg)
{
	struct leased *leased = arg;

	return extents_have_shadow(&leased->extents);
}

static void act_ask_consent(void *arg, int64_t deadline_ns)
{
	struct leased *leased = arg;
	struct keeper_message message = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_ASK,
		.id = leased->id,
		.deadline_ns = deadline_ns,
	};

	leased_send_report(leased);
	/* A program that reads late hears of it late, and that it is over; it
	 * is not waited for longer. */
	outbox_report(&leased->shared->outbox, &leased->slot, &message);
}

static void add_beyond(struct leased *leased, struct keeper_message *message,
		       enum recall_cause cause)
{
	struct extents *extents = &leased->extents;
	uint64_t *blocks = cause == RECALL_SHRUNK    ? &extents->cut_off
			   : cause == RECALL_GROWN   ? &extents->held
			   : cause == RECALL_DROPPED ? &extents->dropped
						     : NULL;

	if (!blocks)
		return;
	message->report.beyond = (uint32_t)*blocks;
	*blocks = 0;
}

static void add_merged(struct leased *leased, struct keeper_message *message)
{
	message->report.theirs = (uint32_t)leased->extents.theirs;
	message->report.conflicts = (uint32_t)leased->extents.conflicts;
	leased->extents.theirs = leased->extents.conflicts = 0;
}

static void act_tell(void *arg, const struct recall_report *report)
{
	struct leased *leased = arg;
	struct board_slot *slot = &leased->shared->board[leased->id];
	struct keeper_message message = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_REPORT,
		.id = leased->id,
		.error = report->error,
		.report =
			{
				.at_ns = report->at_ns,
				.spent_ns = report->spent_ns,
				.from = report->from,
				.to = report->to,
				.cause = report->cause,
			},
	};

	atomic_store(&slot->since_ns, leased->recall.since_ns[report->to]);
	atomic_store(&slot->must_merge, leased->recall.must_merge);
	/* Who sees the state has it counted. */
	message.report.generation = atomic_fetch_add(&slot->generation, 1) + 1;
	atomic_store(&slot->state, report->to);
	if (report->from == RECALL_BREAKING && report->to != RECALL_BREAKING)
		leased->own_error = report->error;
	add_beyond(leased, &message, report->cause);
	if (report->cause == RECALL_WRITTEN || report->cause == RECALL_FLUSHED)
		message.ticket = leased->pass_ticket;
	if (report->cause == RECALL_MERGED || report->cause == RECALL_RELEASED)
		add_merged(leased, &message);
	if (report->cause == RECALL_MERGED)
		leased_rest(leased, report->at_ns, report->spent_ns);
	/* Sent when the step is done: the program must not run before who waits
	 * for the file. */
	leased_send_report(leased);
	leased->report = message;
	leased->has_report = true;
}

#define ALWAYS                                                                 \
	.now = act_now, .take = act_take, .unlock = act_unlock,                \
	.check = act_check, .ask_consent = act_ask_consent, .tell = act_tell
#define WITH_RANGES .merge = act_merge, .restart_merge = act_restart_merge
#define WITH_SHADOWS                                                           \
	.flush = act_flush, .restart_flush = act_restart_flush,                \
	.persist = leased_act_persist,                                         \
	.restart_persist = leased_act_restart_persist,                         \
	.write_through = leased_act_write_through, .pace = act_pace,           \
	.seal = act_seal, .has_unwritten = act_has_unwritten

/* Where there is nothing to write nobody waits for a look before it. Of a file
 * that is read the shadows only follow what others do to it. */
void leased_choose_actions(struct leased *leased)
{
	static const struct recall_actions lease_only = {ALWAYS};
	static const struct recall_actions ranges = {ALWAYS, WITH_RANGES};
	static const struct recall_actions shadows = {ALWAYS, WITH_RANGES,
						      WITH_SHADOWS};
	bool is_written = leased->type == F_WRLCK;

	leased->recall.actions =
		!leased->extents.first ? &lease_only
		: is_written && extents_have_shadow(&leased->extents) ? &shadows
								      : &ranges;
}
