/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A leased file in the keeper: leased.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "leased.h"
#include "setlease.h"

#define SEC 1000000000LL

int64_t leased_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

/* False where there is no room; a program that is gone has all the room. */
static bool send_message(int socket, const struct keeper_message *message)
{
	return send(socket, message, sizeof(*message),
		    MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
	       errno != EAGAIN;
}

static void send_or_keep(struct leased *leased, enum leased_unsent kind,
			 const struct keeper_message *message)
{
	if (!leased->unsent && send_message(leased->shared->socket, message))
		return;
	leased->shared->unsent += !leased->unsent;
	leased->unsent |= 1U << kind;
	leased->waiting[kind] = *message;
}

/* What act_tell() held back. */
static void send_report(struct leased *leased)
{
	if (leased->has_report)
		send_or_keep(leased, UNSENT_REPORT, &leased->report);
	leased->has_report = false;
}

bool leased_send_waiting(struct leased *leased)
{
	if (!leased->unsent)
		return true;
	for (unsigned int kind = 0; kind < UNSENT_KINDS; kind++) {
		if (!(leased->unsent & 1U << kind))
			continue;
		if (!send_message(leased->shared->socket,
				  &leased->waiting[kind]))
			return false;
		leased->unsent &= ~(1U << kind);
	}
	leased->shared->unsent--;
	return true;
}

static int64_t act_now(void *arg)
{
	(void)arg;
	return leased_now();
}

static int act_take(void *arg)
{
	struct leased *leased = arg;

	return setlease_take(leased->fd, leased->type, LEASED_SIGNAL);
}

static int act_unlock(void *arg)
{
	struct leased *leased = arg;

	return setlease_drop(leased->fd, leased->type);
}

/*
 * Three quarters of the time that the kernel gives: what isn't done by then is
 * given up while the lease is still known to be ours. 0 stands for ever in the
 * kernel, and an opener must not wait that long for us.
 */
static int64_t break_time_ns(const struct leased_shared *shared)
{
	char text[16] = "";
	long seconds;

	if (shared->break_time < 0 ||
	    pread(shared->break_time, text, sizeof(text) - 1, 0) <= 0)
		return 45 * SEC / 4 * 3;
	seconds = strtol(text, NULL, 10);
	return (seconds > 0 && seconds < 45 ? seconds : 45) * SEC / 4 * 3;
}

static int act_check(void *arg)
{
	struct leased *leased = arg;
	int r = setlease_look(leased->fd, leased->type);

	/* What the kernel may have left would keep writers waiting. */
	if (r < 0)
		setlease_drop(leased->fd, leased->type);
	if (r > 0)
		leased->recall.policy.break_ns = break_time_ns(leased->shared);
	return r;
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

	send_report(leased);
	/* A program that reads nothing is not waited for longer. */
	send_message(leased->shared->socket, &message);
}

/* inotify by the descriptor: no open, which would break the lease. */
static void watch(struct leased *leased, bool is_wanted)
{
	char path[64];

	if (leased->shared->inotify < 0 || is_wanted == (leased->watch >= 0))
		return;
	if (!is_wanted) {
		inotify_rm_watch(leased->shared->inotify, leased->watch);
		leased->watch = -1;
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", leased->fd);
	leased->watch =
		inotify_add_watch(leased->shared->inotify, path, IN_CLOSE);
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
	atomic_store(&slot->state, report->to);
	message.report.generation = atomic_fetch_add(&slot->generation, 1) + 1;
	watch(leased,
	      report->to == RECALL_YIELDED || report->to == RECALL_LOST);
	/* Sent when the step is done: the program must not run before who waits
	 * for the file. */
	send_report(leased);
	leased->report = message;
	leased->has_report = true;
}

static const struct recall_actions actions = {
	.now = act_now,
	.take = act_take,
	.unlock = act_unlock,
	.check = act_check,
	.ask_consent = act_ask_consent,
	.tell = act_tell,
};

static void set_due(struct leased *leased, int64_t due_ns)
{
	struct leased_shared *shared = leased->shared;
	bool is_active = due_ns != RECALL_NEVER;

	leased->due_ns = due_ns;
	if (is_active == leased->is_active)
		return;
	leased->is_active = is_active;
	if (is_active) {
		leased->previous = NULL;
		leased->next = shared->active;
		if (shared->active)
			shared->active->previous = leased;
		shared->active = leased;
		return;
	}
	if (leased->next)
		leased->next->previous = leased->previous;
	if (leased->previous)
		leased->previous->next = leased->next;
	else
		shared->active = leased->next;
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
		/*
		 * From now on breaks come to us. Only if it is ours and quiet:
		 * what was revoked must not be taken as if nothing had been.
		 */
		if (!act_check(leased))
			act_take(leased);
		break;
	case RECALL_YIELDED:
	case RECALL_LOST:
		watch(leased, true);
		break;
	default:
		return -ESRCH;
	}
	recall_adopt(&leased->recall, state, atomic_load(&slot->since_ns),
		     atomic_load(&slot->must_merge));
	return 0;
}

struct leased *leased_new(struct leased_shared *shared,
			  const struct keeper_message *message, int fd)
{
	struct leased *leased = calloc(1, sizeof(*leased));
	struct keeper_message answer = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_ACQUIRED,
		.id = message->id,
		.error = -ENOMEM,
	};
	struct recall_policy policy = {
		.consent_ns = message->acquire.consent_ns,
		.break_ns = break_time_ns(shared),
		.pause_min_ns = message->acquire.pause_min_ns,
		.pause_max_ns = message->acquire.pause_max_ns,
	};

	if (leased) {
		leased->shared = shared;
		leased->id = message->id;
		leased->fd = fd;
		leased->type = message->acquire.type;
		leased->watch = -1;
		leased->due_ns = RECALL_NEVER;
		recall_init(&leased->recall, &actions, leased, &policy);
		answer.error = message->kind == KEEPER_ADOPT ? adopt(leased)
							     : act_take(leased);
	}
	if (answer.error) {
		/* Nobody but who waits for it, so there is room. */
		send_message(shared->socket, &answer);
		free(leased);
		close(fd);
		return NULL;
	}
	/*
	 * Whoever hears that it is granted finds it on the board, though we
	 * die now; an adopted one stands there already.
	 */
	if (message->kind == KEEPER_ACQUIRE)
		recall_granted(&leased->recall);
	send_report(leased);
	send_or_keep(leased, UNSENT_ANSWER, &answer);
	if (message->kind == KEEPER_ADOPT)
		leased_look(leased);
	return leased;
}

void leased_free(struct leased *leased)
{
	watch(leased, false);
	set_due(leased, RECALL_NEVER);
	leased->shared->unsent -= !!leased->unsent;
	close(leased->fd);
	free(leased);
}

bool leased_break_heard(struct leased *leased)
{
	if (leased->recall.state == RECALL_HELD &&
	    setlease_is_quiet(leased->fd, leased->type))
		return false;
	/* That it was revoked meanwhile is found before anything is written. */
	leased->recall.policy.break_ns = break_time_ns(leased->shared);
	recall_break_heard(&leased->recall);
	set_due(leased, leased_now());
	return true;
}

void leased_look(struct leased *leased)
{
	recall_look(&leased->recall);
	set_due(leased, leased_now());
}

void leased_consent(struct leased *leased)
{
	recall_consent(&leased->recall);
	set_due(leased, leased_now());
}

void leased_opener_gone(struct leased *leased)
{
	recall_opener_gone(&leased->recall);
	set_due(leased, leased_now());
}

void leased_release(struct leased *leased, int64_t deadline_ns)
{
	recall_release(&leased->recall, deadline_ns);
	set_due(leased, leased_now());
}

void leased_run(struct leased *leased)
{
	set_due(leased, recall_run(&leased->recall));
	send_report(leased);
}
