/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine and its keeper say to each other: lease_talk.h.
 *
 * The engine waits for the keeper's answers here, as long as they take; what
 * else the keeper says meanwhile is heard in order. When it dies the answer
 * comes from the next one: whatever was asked is asked again.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>

#include "clock.h"
#include "fate.h"
#include "lease_talk.h"
#include "range.h"
#include "raw.h"
#include "reason.h"
#include "recover.h"
#include "setlease.h"
#include "staged.h"

#define MS	 1000000LL
#define START_NS (100 * MS) /* at least between two keepers */
#define HEAR_MS	 200
/* A keeper that says nothing for so long is stopped, or hangs in the kernel. */
#define ANSWER_NS (10000 * MS)

static struct keeper_request request_of(const struct lease_table *table,
					const struct lease *lease)
{
	return (struct keeper_request){
		.id = lease->id,
		.ticket = lease->phase == LEASE_ACQUIRING ? lease->awaited : 0,
		.fd = lease->fd,
		.type = lease->type,
		.consent_ns = lease->consent_ns,
		.pause_min_ns = table->config->pause_min_ns,
		.pause_max_ns = table->config->pause_max_ns,
		.shadows = staged_count(lease),
		.flush_ms = lease->terms.flush_ms,
		.flush_cpu = lease->terms.flush_cpu,
		.on_conflict = lease->terms.on_conflict,
		.on_shrink = lease->terms.on_shrink,
	};
}

uint32_t talk_ticket(struct lease_table *table)
{
	if (!++table->last_ticket)
		table->last_ticket = 1;
	return table->last_ticket;
}

uint32_t talk_expect(struct lease_table *table, struct lease *lease,
		     enum keeper_kind kind)
{
	lease->awaited = talk_ticket(table);
	lease->awaited_kind = kind;
	lease->awaited_extent = 0;
	lease->answer = 0;
	return lease->awaited;
}

void talk_answer(struct lease *lease, uint32_t ticket, int error)
{
	if (!ticket || ticket != lease->awaited)
		return;
	lease->awaited = 0;
	lease->answer = error;
}

/*
 * Who announces blocks needs no keeper for it, a consent goes with ADOPT, and
 * what is to be let go of nobody has.
 */
void talk_answer_without(struct lease *lease)
{
	bool needs_one = lease->awaited_kind != KEEPER_OWN_BEGIN &&
			 lease->awaited_kind != KEEPER_CONSENT_NS &&
			 lease->awaited_kind != KEEPER_DETACH;

	talk_answer(lease, lease->awaited, needs_one ? -ECONNRESET : 0);
}

void talk_flush(struct lease_table *table, struct lease *lease)
{
	if (lease->sent_ticket)
		return;
	lease->is_flush_void = false;
	if (!keeper_flush(&table->keeper, lease->id, lease->flush_ticket))
		lease->sent_ticket = lease->flush_ticket;
}

static void flush_rest(struct lease_table *table, struct lease *lease)
{
	if (lease->flush_ticket != lease->flushed_ticket &&
	    lease->phase != LEASE_ENDED &&
	    !staged_unattached(lease, 0, UINT64_MAX))
		talk_flush(table, lease);
}

/* A pass that has been under way may be past it: one more. */
void talk_flush_again(struct lease_table *table, struct lease *lease)
{
	lease->is_flush_void = lease->sent_ticket &&
			       lease->sent_ticket != lease->flushed_ticket;
	flush_rest(table, lease);
}

/* Of another keeper: what a lease waits for that is no phase of its own. */
static void ask_again(struct lease_table *table, struct lease *lease)
{
	struct keeper *keeper = &table->keeper;

	lease->sent_ticket = 0;
	if (lease->flush_ticket != lease->flushed_ticket)
		talk_flush(table, lease);
	if (!lease->awaited)
		return;
	switch (lease->awaited_kind) {
	case KEEPER_OWN_BEGIN:
		keeper_own_begin(keeper, lease->id, KEEPER_OWN_ALLOCATE,
				 lease->awaited);
		break;
	case KEEPER_CONSENT_NS:
		keeper_ask(keeper, lease->id, lease->consent_ns,
			   lease->awaited);
		break;
	case KEEPER_DETACH:
		talk_answer_without(lease);
		break;
	case KEEPER_FETCH:
		keeper_fetch(keeper, lease->id, lease->awaited);
		break;
	default: /* attach_all() */
		break;
	}
}

static void tell_keeper_died(struct lease_table *table, int error)
{
	const struct lease_observer *observer = &table->config->observer;

	if (observer->keeper_died)
		observer->keeper_died(observer->arg, error);
}

static void hear_answer(struct lease_table *table, struct lease *lease,
			uint32_t ticket, int error);

void talk_ask(struct lease_table *table, struct lease *lease)
{
	struct keeper_request request = request_of(table, lease);
	bool is_new = lease->phase == LEASE_ACQUIRING &&
		      keeper_state(&table->keeper, lease->id) == RECALL_FREE;
	int r;

	r = is_new ? keeper_acquire(&table->keeper, &request)
		   : keeper_adopt(&table->keeper, &request);
	/* No room for what goes along; of its death the next message tells. */
	if (r && r != -EPIPE && lease->phase == LEASE_ACQUIRING)
		return hear_answer(table, lease, request.ticket, r);
	if (r && r != -EPIPE)
		return recover_begin(table, lease);
	attach_all(table, lease);
	own_desk_again(table, lease);
	ask_again(table, lease);
	if (lease->phase == LEASE_RELEASING)
		keeper_release(&table->keeper, lease->id, lease->deadline_ns);
}

/* No keeper is to be had: who waits for one gets that for an answer. */
static void give_up(struct lease *lease, int error)
{
	if (!lease->awaited || (lease->phase == LEASE_RELEASING &&
				clock_now_ns() < lease->deadline_ns))
		return;
	if (lease->phase == LEASE_LIVE) {
		talk_answer_without(lease);
		return;
	}
	lease->awaited = 0;
	/* Nobody is left to flush, and nobody is to wait for that. */
	if (lease->phase == LEASE_RELEASING && lease->fd >= 0)
		setlease_drop(lease->fd);
	lease->phase = LEASE_ENDED;
	lease->error = error;
}

/*
 * A lease that nobody serves would hold up each opener for the kernel's whole
 * lease-break time. The next keeper finds that it has gone.
 */
static void drop_unserved(const struct lease_table *table, struct lease *lease)
{
	if (lease->fd < 0 || clock_now_ns() - table->unserved_ns < RECALL_RETRY)
		return;
	setlease_drop(lease->fd);
	recover_tell_lost(lease);
}

static int launch_keeper(struct lease_table *table)
{
	const struct lease_observer *observer = &table->config->observer;
	char fate[FATE_MAX];
	int r;

	table->keeper.listener = table->config->keeper_socket;
	r = keeper_start(&table->keeper, table->config->keeper_path);
	table->keepers += !r;
	table->is_keeper_silent = false;
	if (!r && observer->shared_fate &&
	    fate_find(table->keeper.pid, fate, sizeof(fate)))
		observer->shared_fate(observer->arg, fate);
	return r;
}

static void start_another(struct lease_table *table)
{
	int r;

	if (clock_now_ns() < table->next_start_ns)
		return;
	table->next_start_ns = clock_now_ns() + START_NS;
	r = launch_keeper(table);
	table->is_keeper_dead = r < 0;
	if (!r)
		table->unserved_ns = 0;
	else if (!table->unserved_ns)
		table->unserved_ns = clock_now_ns();
	tell_keeper_died(table, r);
	for (uint32_t id = 0; id < table->ids_end; id++) {
		struct lease *lease = table->by_id[id];

		if (!lease)
			continue;
		if (r) {
			own_desk_give_up(lease);
			give_up(lease, r);
			drop_unserved(table, lease);
		} else if (lease->fd < 0) {
			recover_begin(table, lease);
		} else {
			atomic_store(&lease->is_out_of_sight, false);
			talk_ask(table, lease);
		}
	}
}

/*
 * Which FLUSH a report is the answer to. Without a shadow that the keeper does
 * not have: that is asked for again when it has it.
 */
static uint32_t hear_flushed(struct lease *lease, uint32_t ticket)
{
	bool is_void =
		lease->is_flush_void || staged_unattached(lease, 0, UINT64_MAX);

	if (lease->sent_ticket &&
	    recall_has_flushed(ticket, lease->sent_ticket)) {
		lease->sent_ticket = 0;
		lease->is_flush_void = false;
	}
	if (!ticket || is_void)
		return 0;
	lease->flushed_ticket = ticket;
	return ticket;
}

static void hear_report(struct lease_table *table, struct lease *lease,
			const struct keeper_message *message)
{
	const struct lease_observer *observer = &table->config->observer;
	struct recall_report report = {
		.from = message->report.from,
		.to = message->report.to,
		.cause = message->report.cause,
		.error = message->error,
		.at_ns = message->report.at_ns,
		.spent_ns = message->report.spent_ns,
		.theirs = message->report.theirs,
		.conflicts = message->report.conflicts,
		.beyond = message->report.beyond,
		.flushed = hear_flushed(lease, message->ticket),
	};
	uint64_t missed = message->report.generation - lease->generation - 1;
	bool is_known;

	lease->generation = message->report.generation;
	if (report.to == RECALL_FREE && lease->phase == LEASE_RELEASING) {
		lease->phase = LEASE_ENDED;
		lease->error = report.error;
		lease->awaited = 0;
	}
	is_known = lease->was_told_lost && report.to == RECALL_LOST;
	lease->was_told_lost = false;
	if (observer->changed && !is_known)
		observer->changed(observer->arg, lease, &report, missed);
	flush_rest(table, lease);
}

static void hear_answer(struct lease_table *table, struct lease *lease,
			uint32_t ticket, int error)
{
	switch (lease->phase) {
	case LEASE_ACQUIRING:
		if (ticket != lease->awaited)
			break;
		lease->phase = error ? LEASE_ENDED : LEASE_LIVE;
		lease->error = error;
		lease->awaited = 0;
		break;
	case LEASE_RELEASING:
		/* It had been given back, and the report was lost. */
		if (error) {
			lease->phase = LEASE_ENDED;
			lease->error = 0;
			lease->awaited = 0;
		}
		break;
	default:
		/* It has no descriptor left for what another keeper had. */
		if (error)
			recover_begin(table, lease);
		break;
	}
}

/* Of the file that is meant, for who still waits for it. */
static void hear_fetched(struct lease *lease, uint32_t ticket, int error)
{
	int fd = keeper_received_fd(&lease->table->keeper);
	struct stat st;

	if (!error && fd < 0)
		error = -EMFILE;
	else if (!error && (raw_stat(fd, &st) || st.st_dev != lease->dev ||
			    st.st_ino != lease->ino))
		error = -ESTALE;
	if (!error && ticket == lease->awaited && lease->fd < 0)
		lease->fd = fd;
	else if (fd >= 0)
		raw_close(fd);
	talk_answer(lease, ticket, error);
}

static void handle(struct lease_table *table,
		   const struct keeper_message *message)
{
	const struct lease_observer *observer = &table->config->observer;
	struct lease *lease =
		message->id < BOARD_SLOTS ? table->by_id[message->id] : NULL;

	if (!lease)
		return;
	switch (message->kind) {
	case KEEPER_REPORT:
		hear_report(table, lease, message);
		break;
	case KEEPER_ACQUIRED:
		hear_answer(table, lease, message->ticket, message->error);
		break;
	case KEEPER_ASK:
		atomic_store(&lease->asked_ns, message->deadline_ns);
		if (observer->asked)
			observer->asked(observer->arg, lease,
					message->deadline_ns);
		break;
	case KEEPER_ATTACHED:
		attach_answered(table, lease, message->extent.id,
				message->ticket, message->error);
		break;
	case KEEPER_OWN_READY:
		/* What cannot be written is for who opens the file. */
		if (message->own == KEEPER_OWN_ALLOCATE)
			talk_answer(lease, message->ticket, 0);
		else
			own_desk_ready(lease, message->ticket);
		break;
	case KEEPER_CONSENT_NS:
		talk_answer(lease, message->ticket, message->error);
		break;
	case KEEPER_DETACHED:
		talk_answer(lease, message->ticket, message->error);
		staged_gone(table, message->ticket);
		break;
	case KEEPER_PERSISTED:
		staged_persisted(lease, message->ticket, message->error);
		break;
	case KEEPER_FETCHED:
		hear_fetched(lease, message->ticket, message->error);
		break;
	default:
		break;
	}
}

static void died(struct lease_table *table)
{
	table->is_keeper_dead = true;
	table->is_keeper_silent = false;
	staged_all_gone(table);
}

/* One message, or a new keeper. False: nothing came in this time. */
static bool hear(struct lease_table *table, int timeout_ms)
{
	struct keeper_message message;
	int r;

	if (table->is_keeper_dead) {
		start_another(table);
		return !table->is_keeper_dead;
	}
	recover_run(table);
	attach_again(table);
	r = keeper_receive(&table->keeper, timeout_ms, &message);
	if (!r) {
		table->is_keeper_silent = false;
		handle(table, &message);
	} else if (r != -ETIMEDOUT) {
		died(table);
	}
	return r != -ETIMEDOUT;
}

void talk_hear(struct lease_table *table)
{
	while (table->count && hear(table, 0))
		;
}

/*
 * What the keeper says, or what a caller asks for that does not wait until we
 * are through here (all of that is looked at, so the wake-up counts no more).
 */
static void wait_for_news(const struct lease_table *table)
{
	struct pollfd sources[2] = {
		{.fd = table->is_keeper_dead ? -1 : table->keeper.socket,
		 .events = keeper_events(&table->keeper)},
		{.fd = table->wake_fd, .events = POLLIN},
	};
	struct signalfd_siginfo info;

	raw_poll(sources, 2,
		 table->is_keeper_dead ? (int)(START_NS / MS / 10) : HEAR_MS);
	while (raw_read(table->wake_fd, &info, sizeof(info)) > 0)
		;
}

void talk_step(struct lease_table *table)
{
	if (!hear(table, 0))
		wait_for_news(table);
	talk_send_consents(table);
	own_desk_serve(table);
}

int talk_no_answer(const struct lease_table *table)
{
	return reason_set_kind(
		REASON_KEEPER, -ETIMEDOUT,
		"daxmr-keeper (process %d) does not answer: it has "
		"been stopped, or waits for a file system that is "
		"frozen or slow; it goes on when that does",
		table->keeper.pid);
}

int talk_wait_until(struct lease_table *table, struct lease *lease,
		    int64_t until_ns)
{
	while (lease->awaited) {
		if (clock_now_ns() >= until_ns) {
			/* Of one that has no such lease nothing comes. */
			table->is_keeper_silent =
				!table->is_keeper_dead && !lease->is_adrift;
			return talk_no_answer(table);
		}
		talk_step(table);
	}
	return 0;
}

int talk_wait_for_answer(struct lease_table *table, struct lease *lease)
{
	int64_t answer_ns = table->config->answer_ns;
	int r;

	answer_ns = answer_ns ? answer_ns : ANSWER_NS;
	r = talk_wait_until(table, lease, clock_now_ns() + answer_ns);

	if (r)
		lease->awaited = 0;
	return r;
}

int talk_announce(struct lease_table *table, struct lease *lease)
{
	uint32_t ticket = talk_expect(table, lease, KEEPER_OWN_BEGIN);
	int r;

	keeper_own_begin(&table->keeper, lease->id, KEEPER_OWN_ALLOCATE,
			 ticket);
	r = talk_wait_for_answer(table, lease);
	if (r)
		keeper_own_end(&table->keeper, lease->id, KEEPER_OWN_ALLOCATE);
	return r;
}

/* An error is that there is no such lease: who adopts it is told. */
int talk_set_consent(struct lease_table *table, struct lease *lease)
{
	uint32_t ticket = talk_expect(table, lease, KEEPER_CONSENT_NS);

	keeper_ask(&table->keeper, lease->id, lease->consent_ns, ticket);
	return talk_wait_for_answer(table, lease);
}

int talk_fetch(struct lease_table *table, struct lease *lease)
{
	uint32_t ticket;
	int r = 0;

	if (lease->fd >= 0)
		return 0;
	lease->answer = -ECONNRESET;
	if (!lease->is_adrift) {
		ticket = talk_expect(table, lease, KEEPER_FETCH);
		keeper_fetch(&table->keeper, lease->id, ticket);
		r = talk_wait_for_answer(table, lease);
	}
	if (r || lease->fd >= 0)
		return r;
	if (lease->answer == -ECONNRESET)
		return reason_set_kind(
			REASON_KEEPER, -EBUSY,
			"%s: the daxmr-keeper that had it open died, "
			"and the next one has not found it yet: try "
			"again",
			lease->path);
	return reason_set(lease->answer,
			  "%s: daxmr-keeper alone has it open, and no "
			  "descriptor comes from there (%s): raise "
			  "RLIMIT_NOFILE",
			  lease->path, strerrordesc_np(-lease->answer));
}

int talk_timeout_ms(const struct lease_table *table)
{
	/* -1 is for ever, the greatest of all when it is taken for unsigned. */
	unsigned int recover = (unsigned int)recover_timeout_ms(table);
	unsigned int attach = (unsigned int)attach_timeout_ms(table);

	if (table->count && table->is_keeper_dead)
		return (int)(START_NS / MS);
	return (int)(recover < attach ? recover : attach);
}

/* One that is given again before it was sent is sent once. */
void talk_send_consents(struct lease_table *table)
{
	struct lease *lease = atomic_exchange(&table->consents, NULL), *next;

	for (; lease; lease = next) {
		next = lease->next_consent;
		atomic_store(&lease->has_consent, false);
		keeper_consent(&table->keeper, lease->id,
			       atomic_load(&lease->agreed_ns));
	}
}

void talk_consent(struct lease_table *table, struct lease *lease)
{
	struct lease *first = atomic_load(&table->consents);

	/* It must not count for a break that comes before it is sent. */
	atomic_store(&lease->agreed_ns, atomic_load(&lease->asked_ns));
	if (atomic_exchange(&lease->has_consent, true))
		return;
	do
		lease->next_consent = first;
	while (!atomic_compare_exchange_weak(&table->consents, &first, lease));
}

int talk_start_keeper(struct lease_table *table)
{
	int r = keeper_init(&table->keeper);

	if (r)
		return r;
	r = launch_keeper(table);
	if (r)
		keeper_done(&table->keeper);
	table->is_keeper_dead = false;
	return r;
}
