/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a leased file in the keeper, and what it is told: leased.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "leased_parts.h"
#include "setlease.h"

#define MS 1000000LL

/* How long who waits for the file waits for a change of the program's own. */
#define CHANGE_NS (1000 * MS)

static void set_due(struct leased *leased, int64_t due_ns)
{
	due_set(&leased->shared->due, &leased->due, due_ns);
}

static void due_now(struct leased *leased)
{
	set_due(leased, clock_now_ns());
}

struct leased *leased_of_due(struct due_entry *entry)
{
	return (void *)((char *)entry - offsetof(struct leased, due));
}

struct leased *leased_of_slot(struct outbox_slot *slot)
{
	return (void *)((char *)slot - offsetof(struct leased, slot));
}

static void answer(struct leased_shared *shared,
		   const struct keeper_message *message)
{
	if (!outbox_answer(&shared->outbox, message))
		shared->is_broken = true;
}

/* The states that a lease of a dead keeper can be in. */
static int adopt(struct leased *leased)
{
	struct board_slot *slot = &leased->shared->board[leased->id];
	enum recall_state state = atomic_load(&slot->state);

	switch (state) {
	case RECALL_HELD:
	case RECALL_BREAKING:
	case RECALL_MERGING:
	case RECALL_YIELDED:
	case RECALL_LOST:
		break;
	default:
		return -ESRCH;
	}
	recall_adopt(&leased->recall, state, atomic_load(&slot->since_ns),
		     atomic_load(&slot->must_merge));
	leased_disarm(leased);
	/*
	 * From now on breaks come to us, by our number of the descriptor. Only
	 * if it is ours and quiet: what was revoked must not be taken as if
	 * nothing had been.
	 */
	if (state != RECALL_YIELDED && state != RECALL_LOST &&
	    !leased_check(leased))
		leased_take(leased);
	return 0;
}

static void choose_policy(struct leased *leased,
			  const struct keeper_message *message)
{
	struct shadow_policy *policy = &leased->extents.policy;

	policy->on_conflict = message->acquire.on_conflict;
	policy->on_shrink = message->acquire.on_shrink;
	leased->flush_cpu = message->acquire.flush_cpu;
	if (!leased->flush_cpu || leased->flush_cpu > 100)
		leased->flush_cpu = FLUSH_CPU;
}

struct leased *leased_new(struct leased_shared *shared,
			  const struct keeper_message *message, int fd)
{
	struct leased *leased = calloc(1, sizeof(*leased));
	struct keeper_message reply = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_ACQUIRED,
		.ticket = message->ticket,
		.id = message->id,
		.error = -ENOMEM,
	};
	struct recall_policy policy = {
		.consent_ns = message->acquire.consent_ns,
		.break_ns = leased_break_time_ns(shared),
		.retry_ns = RECALL_RETRY,
		.pause_min_ns = message->acquire.pause_min_ns,
		.pause_max_ns = message->acquire.pause_max_ns,
		.flush_ns = message->acquire.flush_ms * MS,
	};

	if (leased) {
		leased->shared = shared;
		leased->id = message->id;
		leased->fd = fd;
		leased->type = message->acquire.type;
		choose_policy(leased, message);
		if (message->kind == KEEPER_ADOPT)
			leased->shadows_due = message->acquire.shadows;
		leased->watch.wd = -1;
		leased->due.at_ns = RECALL_NEVER;
		leased_choose_actions(leased);
		recall_init(&leased->recall, leased->recall.actions, leased,
			    &policy);
		reply.error = message->kind == KEEPER_ADOPT
				      ? adopt(leased)
				      : leased_take(leased);
	}
	if (reply.error) {
		answer(shared, &reply);
		if (leased)
			leased_free(leased);
		else
			close(fd);
		return NULL;
	}
	/*
	 * Whoever hears that it is granted finds it on the board, though we
	 * die now; an adopted one stands there already.
	 */
	if (message->kind == KEEPER_ACQUIRE) {
		leased->at[KEEPER_OWN_ALLOCATE] = 1;
		recall_granted(&leased->recall);
	}
	leased_send_report(leased);
	answer(shared, &reply);
	if (message->kind == KEEPER_ADOPT)
		leased_look(leased);
	return leased;
}

void leased_free(struct leased *leased)
{
	extents_remove_all(&leased->extents);
	watch_remove(&leased->shared->watches, &leased->watch);
	set_due(leased, RECALL_NEVER);
	outbox_forget(&leased->shared->outbox, &leased->slot);
	free(leased->waiting);
	close(leased->fd);
	free(leased);
}

/*
 * A signal that comes late finds the file quiet, in somebody else's hands, or
 * retaken since. That it was revoked is found before anything is written.
 */
void leased_break_heard(struct leased *leased)
{
	if (leased->recall.state == RECALL_HELD) {
		int type = setlease_get(leased->fd);

		if (type == leased->type)
			return;
		if (type == F_UNLCK)
			leased->looked_ns = clock_now_ns();
	}
	if (leased->recall.actions->flush || leased->recall.must_merge ||
	    leased->recall.policy.consent_ns)
		leased->recall.policy.break_ns =
			leased_break_time_ns(leased->shared);
	recall_break_heard(&leased->recall);
	due_now(leased);
}

void leased_look(struct leased *leased)
{
	recall_look(&leased->recall);
	due_now(leased);
}

void leased_consent(struct leased *leased, int64_t asked_ns)
{
	if (asked_ns != leased->recall.consent_deadline_ns)
		return;
	recall_consent(&leased->recall);
	due_now(leased);
}

/* An open for reading leaves a read lease alone. */
static bool is_open(const struct leased *leased, enum keeper_own kind)
{
	return kind == KEEPER_OWN_OPEN ||
	       (kind == KEEPER_OWN_OPEN_READ && leased->type == F_WRLCK);
}

static off_t size_of(const struct leased *leased)
{
	struct stat st;

	return fstat(leased->fd, &st) ? -1 : st.st_size;
}

/* A write may make the file longer, of what it has stored in the shadow. */
static void see_size(struct leased *leased)
{
	leased->extents.policy.is_size_busy =
		leased->at[KEEPER_OWN_CHANGE] || leased->at[KEEPER_OWN_WRITE];
}

/* The first of those that are at it. */
static void begin_change(struct leased *leased)
{
	enum recall_state state = leased->recall.state;

	leased->own_size = state == RECALL_HELD || state == RECALL_MERGING
				   ? size_of(leased)
				   : -1;
}

/* What it has cut off itself is gone for good: nobody else can have. */
static void end_change(struct leased *leased)
{
	enum recall_state state = leased->recall.state;
	off_t size = size_of(leased);

	if ((state == RECALL_HELD || state == RECALL_MERGING ||
	     state == RECALL_BREAKING) &&
	    size >= 0 && size < leased->own_size)
		extents_own_size(&leased->extents, (uint64_t)size);
}

/* Without memory for an answer the conversation is at its end. */
static void wait_for_ready(struct leased *leased, enum keeper_own kind,
			   uint32_t ticket)
{
	struct leased_waiting *more = leased->waiting;

	if (leased->waiting_count == leased->waiting_room) {
		leased->waiting_room = 2 * leased->waiting_room + 2;
		more = reallocarray(more, leased->waiting_room, sizeof(*more));
		if (!more) {
			leased->waiting_room = leased->waiting_count;
			leased->shared->is_broken = true;
			return;
		}
		leased->waiting = more;
	}
	more[leased->waiting_count++] = (struct leased_waiting){kind, ticket};
}

void leased_own_begin(struct leased *leased, enum keeper_own kind,
		      uint32_t ticket)
{
	if (kind == KEEPER_OWN_CHANGE && !leased->change_ns)
		leased->change_ns = clock_now_ns();
	wait_for_ready(leased, kind, ticket);
	if (!leased->at[kind]++ && kind == KEEPER_OWN_CHANGE)
		begin_change(leased);
	see_size(leased);
	if (is_open(leased, kind)) {
		leased->own_error = 0;
		recall_own_begin(&leased->recall);
	}
	due_now(leased);
}

void leased_own_end(struct leased *leased, enum keeper_own kind)
{
	if (!leased->at[kind])
		return;
	if (!--leased->at[kind] && kind == KEEPER_OWN_CHANGE)
		end_change(leased);
	see_size(leased);
	if (is_open(leased, kind))
		recall_own_end(&leased->recall);
	else if (kind == KEEPER_OWN_CHANGE)
		recall_settle(&leased->recall);
	else if (kind == KEEPER_OWN_ALLOCATE)
		leased_has_allocated(leased);
	if (kind == KEEPER_OWN_CHANGE)
		extents_look_again(&leased->extents);
	due_now(leased);
}

/* In the order in which they were announced; an open once it isn't ours. */
static void send_ready(struct leased *leased)
{
	enum recall_state state = leased->recall.state;
	bool is_ours = state == RECALL_HELD || state == RECALL_MERGING ||
		       state == RECALL_BREAKING;
	unsigned int count = leased->waiting_count;

	leased->waiting_count = 0;
	for (unsigned int i = 0; i < count; i++) {
		struct leased_waiting one = leased->waiting[i];
		struct keeper_message message = {
			.version = KEEPER_VERSION,
			.kind = KEEPER_OWN_READY,
			.ticket = one.ticket,
			.id = leased->id,
			.own = one.kind,
		};

		if (is_open(leased, one.kind)) {
			message.error = leased->own_error;
			if (is_ours) {
				leased->waiting[leased->waiting_count++] = one;
				continue;
			}
		}
		answer(leased->shared, &message);
	}
}

void leased_attach(struct leased *leased, const struct keeper_message *message,
		   const int *fds)
{
	const struct extent_place page = {fds[1], message->extent.page_at};
	struct keeper_message reply = *message;
	bool has_shadow = page.at;

	reply.kind = KEEPER_ATTACHED;
	/* None is left for what was sent along. */
	if (has_shadow && (fds[0] < 0 || fds[1] < 0))
		reply.error = -EMFILE;
	else
		reply.error = extents_add(&leased->extents, message->extent.id,
					  message->extent.offset,
					  message->extent.length, leased->fd,
					  fds[0], &page);
	leased_choose_actions(leased);
	answer(leased->shared, &reply);
	leased->shadows_due -= has_shadow && leased->shadows_due;
	recall_settle_more(&leased->recall);
	due_now(leased);
}

int leased_detach(struct leased *leased, uint32_t extent, uint32_t ticket)
{
	int r = extents_let_go(&leased->extents, extent, ticket);

	leased_choose_actions(leased);
	return r;
}

void leased_unlock(struct leased *leased)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	flock(leased->fd, LOCK_UN);
	fcntl(leased->fd, F_OFD_SETLK, &all);
}

void leased_flush_now(struct leased *leased, uint32_t ticket)
{
	if (recall_asked_after(ticket, leased->flush_ticket))
		leased->flush_ticket = ticket;
	/* Nothing is left of what has no shadow. */
	if (!leased->recall.actions->restart_flush)
		leased->pass_ticket = leased->flush_ticket;
	recall_flush_now(&leased->recall);
	due_now(leased);
}

void leased_fetch(struct leased *leased, uint32_t ticket)
{
	struct keeper_message reply = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_FETCHED,
		.ticket = ticket,
		.id = leased->id,
		.fd = leased->fd,
	};

	answer(leased->shared, &reply);
}

void leased_owner_gone(struct leased *leased)
{
	memset(leased->at, 0, sizeof(leased->at));
	leased->extents.policy.is_size_busy = false;
	leased->shadows_due = 0;
	leased->is_orphan = true;
	/* Where that can be had at once one pass is enough. */
	if (extents_seal(&leased->extents) > 0)
		extents_restart_flush(&leased->extents);
	while (leased->recall.own_opens)
		recall_own_end(&leased->recall);
}

void leased_release(struct leased *leased, int64_t deadline_ns)
{
	recall_release(&leased->recall, deadline_ns);
	due_now(leased);
}

/*
 * Who hears that it is free may look at once who has it open or mapped. Its
 * number stays taken until leased_free(), for who looks files up by it.
 */
static void let_file_go(struct leased *leased)
{
	extents_remove_all(&leased->extents);
	dup3(KEEPER_BOARD_FD, leased->fd, O_CLOEXEC);
}

static int64_t cpu_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000 * MS + now.tv_nsec;
}

/*
 * The program is at a change: what is due waits for its end. RECALL_NEVER:
 * though nobody else waits; 0: it isn't.
 */
static int64_t held_up_until_ns(const struct leased *leased)
{
	int64_t until_ns = leased->change_ns + CHANGE_NS;

	if (!leased->at[KEEPER_OWN_CHANGE] || !leased->recall.actions->flush)
		return 0;
	if (leased->recall.state == RECALL_HELD)
		return RECALL_NEVER;
	return clock_now_ns() < until_ns ? until_ns : 0;
}

static int64_t run_table(struct leased *leased)
{
	bool may_write_back =
		leased->recall.actions->flush && leased->recall.policy.flush_ns;
	int64_t before_ns = may_write_back ? cpu_now_ns() : 0;
	int64_t due_ns = held_up_until_ns(leased);

	if (due_ns)
		return due_ns;
	if (!leased->at[KEEPER_OWN_CHANGE])
		leased->change_ns = 0;
	leased->has_written_back = false;
	due_ns = recall_run(&leased->recall);
	if (leased->has_written_back)
		leased_pay(leased, cpu_now_ns() - before_ns);
	leased_hurry(leased);
	return due_ns;
}

void leased_run(struct leased *leased)
{
	int64_t news_ns, due_ns, now_ns;

	/* Nothing is handed back, or merged, before all of it is there. */
	if (leased->shadows_due) {
		leased_send_report(leased);
		set_due(leased, RECALL_NEVER);
		return;
	}
	due_ns = run_table(leased);
	news_ns = leased_run_news(leased);
	if (leased->recall.state == RECALL_FREE)
		let_file_go(leased);
	leased_send_report(leased);
	send_ready(leased);
	/* Whatever is due at once comes after the others that are due now. */
	now_ns = clock_now_ns();
	if (due_ns > news_ns)
		due_ns = news_ns;
	set_due(leased, due_ns < now_ns ? now_ns : due_ns);
}
