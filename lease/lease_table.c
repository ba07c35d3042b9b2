/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The leases of an engine: lease_table.h.
 *
 * The engine waits for the keeper's answers here, as long as they take; what
 * else the keeper says meanwhile is heard in order. When it dies the answer
 * comes from the next one: whatever was asked is asked again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "allocate.h"
#include "grant.h"
#include "lease_table.h"
#include "raw.h"
#include "reason.h"
#include "setlease.h"

#define MS	 1000000LL
#define START_NS (100 * MS) /* at least between two keepers */
#define HEAR_MS	 200

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static struct keeper_request request_of(const struct lease_table *table,
					const struct lease *lease)
{
	return (struct keeper_request){
		.id = lease->id,
		.fd = lease->fd,
		.type = lease->type,
		.consent_ns = table->config->consent_ns,
		.pause_min_ns = table->config->pause_min_ns,
		.pause_max_ns = table->config->pause_max_ns,
	};
}

static void tell_keeper_died(struct lease_table *table, int error)
{
	const struct lease_observer *observer = &table->config->observer;

	if (observer->keeper_died)
		observer->keeper_died(observer->arg, error);
}

/*
 * Lays a lease before a keeper: for the first time, or what the last one made
 * of it. An error here is the keeper's death, which is heard next.
 */
static void ask(struct lease_table *table, struct lease *lease)
{
	struct keeper_request request = request_of(table, lease);
	bool is_new = lease->phase == LEASE_ACQUIRING &&
		      keeper_state(&table->keeper, lease->id) == RECALL_FREE;

	if (is_new)
		keeper_acquire(&table->keeper, &request);
	else
		keeper_adopt(&table->keeper, &request);
	if (lease->phase == LEASE_RELEASING)
		keeper_release(&table->keeper, lease->id, lease->deadline_ns);
}

/* No keeper is to be had: who waits for one gets that for an answer. */
static void give_up(struct lease *lease, int error)
{
	if (!lease->is_waiting ||
	    (lease->phase == LEASE_RELEASING && now_ns() < lease->deadline_ns))
		return;
	/* Nobody is left to flush, and nobody is to wait for that. */
	if (lease->phase == LEASE_RELEASING)
		setlease_drop(lease->fd, lease->type);
	lease->phase = LEASE_ENDED;
	lease->error = error;
	lease->is_waiting = false;
}

static void start_another(struct lease_table *table)
{
	int r;

	if (now_ns() < table->next_start_ns)
		return;
	table->next_start_ns = now_ns() + START_NS;
	r = keeper_start(&table->keeper, table->config->keeper_path);
	table->is_keeper_dead = r < 0;
	tell_keeper_died(table, r);
	for (struct lease *lease = table->leases; lease; lease = lease->next) {
		if (r)
			give_up(lease, r);
		else
			ask(table, lease);
	}
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
	};
	uint64_t missed = message->report.generation - lease->generation - 1;

	lease->generation = message->report.generation;
	if (report.to == RECALL_FREE && lease->phase == LEASE_RELEASING) {
		lease->phase = LEASE_ENDED;
		lease->error = report.error;
		lease->is_waiting = false;
	}
	if (observer->changed)
		observer->changed(observer->arg, lease, &report, missed);
}

static void hear_answer(struct lease *lease, int error)
{
	switch (lease->phase) {
	case LEASE_ACQUIRING:
		lease->phase = error ? LEASE_ENDED : LEASE_LIVE;
		lease->error = error;
		lease->is_waiting = false;
		break;
	case LEASE_RELEASING:
		/* It had been given back, and the report was lost. */
		if (error) {
			lease->phase = LEASE_ENDED;
			lease->error = 0;
			lease->is_waiting = false;
		}
		break;
	default:
		break;
	}
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
		hear_answer(lease, message->error);
		break;
	case KEEPER_ASK:
		if (observer->asked)
			observer->asked(observer->arg, lease,
					message->deadline_ns);
		break;
	default:
		break;
	}
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
	r = keeper_receive(&table->keeper, timeout_ms, &message);
	if (!r)
		handle(table, &message);
	else if (r != -ETIMEDOUT)
		table->is_keeper_dead = true;
	return r != -ETIMEDOUT;
}

void table_hear(struct lease_table *table)
{
	while (table->leases && hear(table, 0))
		;
}

/* Until the keeper has answered; not so long that consents wait for it. */
static void wait_for(struct lease_table *table, struct lease *lease)
{
	while (lease->is_waiting) {
		if (!hear(table, HEAR_MS) && table->is_keeper_dead) {
			struct timespec pause = {0, START_NS / 10};

			nanosleep(&pause, NULL);
		}
		table_send_consents(table);
	}
}

int table_timeout_ms(const struct lease_table *table)
{
	return table->leases && table->is_keeper_dead ? (int)(START_NS / MS)
						      : -1;
}

void table_send_consents(struct lease_table *table)
{
	for (struct lease *lease = table->leases; lease; lease = lease->next)
		if (atomic_exchange(&lease->has_consent, false))
			keeper_consent(&table->keeper, lease->id);
}

static struct lease *find(const struct lease_table *table,
			  const struct stat *st)
{
	struct lease *lease = table->leases;

	while (lease && (lease->dev != st->st_dev || lease->ino != st->st_ino))
		lease = lease->next;
	return lease;
}

static int start_keeper(struct lease_table *table)
{
	int r = keeper_init(&table->keeper);

	if (r)
		return r;
	r = keeper_start(&table->keeper, table->config->keeper_path);
	if (r)
		keeper_done(&table->keeper);
	table->is_keeper_dead = false;
	return r;
}

static void remove_lease(struct lease_table *table, struct lease *lease)
{
	struct lease **at = &table->leases;

	while (*at != lease)
		at = &(*at)->next;
	*at = lease->next;
	table->by_id[lease->id] = NULL;
	raw_close(lease->fd);
	free(lease);
	if (!table->leases)
		keeper_done(&table->keeper);
}

/* Slots in turn: a late message about one that is free again finds nothing. */
static struct lease *add_lease(struct lease_table *table, int fd,
			       const struct stat *st)
{
	struct lease *lease = calloc(1, sizeof(*lease));
	uint32_t tried = 0;

	while (table->by_id[table->next_id] && tried++ < BOARD_SLOTS)
		table->next_id = (table->next_id + 1) % BOARD_SLOTS;
	if (!lease || table->by_id[table->next_id]) {
		free(lease);
		return NULL;
	}
	lease->table = table;
	lease->id = table->next_id;
	lease->fd = fd;
	lease->dev = st->st_dev;
	lease->ino = st->st_ino;
	lease->generation =
		atomic_load(&table->keeper.board[lease->id].generation);
	lease->next = table->leases;
	table->leases = lease;
	table->by_id[lease->id] = lease;
	table->next_id = (table->next_id + 1) % BOARD_SLOTS;
	return lease;
}

int table_release(struct lease_table *table, struct lease *lease,
		  int64_t deadline_ns)
{
	int r;

	if (--lease->refs)
		return 0;
	lease->phase = LEASE_RELEASING;
	lease->is_waiting = true;
	lease->deadline_ns = deadline_ns;
	keeper_release(&table->keeper, lease->id, deadline_ns);
	wait_for(table, lease);
	r = lease->error;
	remove_lease(table, lease);
	return r;
}

static int acquire_again(struct lease *lease, int fd, int type, uint64_t offset,
			 uint64_t length)
{
	int r = 0;

	if (lease->type != type) {
		char name[REASON_FILE_MAX];

		r = reason_set(-EBUSY,
			       "%s has a lease for %s already: release that "
			       "first",
			       reason_file(fd, name, sizeof(name)),
			       type == F_RDLCK ? "writing" : "reading");
	} else if (type == F_WRLCK) {
		r = allocate_range(lease->fd, offset, length);
	}
	raw_close(fd);
	if (!r)
		lease->refs++;
	return r;
}

int table_acquire(struct lease_table *table, struct lease_engine *engine,
		  int fd, int type, uint64_t offset, uint64_t length,
		  struct lease **ret)
{
	struct lease *lease = NULL;
	struct stat st;
	int r;

	r = grant_check(fd, type);
	if (!r && raw_stat(fd, &st))
		r = reason_set(-errno, "the file cannot be looked at");
	if (!r)
		lease = find(table, &st);
	if (lease) {
		r = acquire_again(lease, fd, type, offset, length);
		if (!r)
			*ret = lease;
		return r;
	}
	if (!r && !table->leases)
		r = start_keeper(table);
	if (r) {
		raw_close(fd);
		return r;
	}
	lease = add_lease(table, fd, &st);
	if (!lease) {
		raw_close(fd);
		if (!table->leases)
			keeper_done(&table->keeper);
		return reason_set(-ENOMEM, "no memory for one lease more");
	}
	lease->engine = engine;
	lease->type = type;
	lease->refs = 1;
	lease->is_waiting = true;
	ask(table, lease);
	wait_for(table, lease);
	r = lease->error;
	if (r) {
		r = grant_explain(fd, type, r, table->keeper.pid);
		remove_lease(table, lease);
		return r;
	}
	/* Others may read what only reads. */
	if (type == F_WRLCK)
		r = grant_check_shared(fd, table->keeper.pid);
	if (!r && type == F_WRLCK)
		r = allocate_range(fd, offset, length);
	if (r) {
		table_release(table, lease, now_ns());
		return r;
	}
	*ret = lease;
	return 0;
}
