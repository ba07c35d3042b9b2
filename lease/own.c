/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program's own calls on leased files: own.h. First the callers' side, then
 * the engine thread's.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "lease_talk.h"
#include "own_change.h"
#include "own_desk.h"
#include "setlease.h"
#include "staged.h"

#define MS	 1000000LL
#define AGAIN_NS (50 * MS)  /* the wake-up may have been lost: lease.c */
#define LOOK_NS	 (500 * MS) /* between two looks at locks that may go */
/* A transfer may be at a file system that is frozen. */
#define DRAIN_NS (10000 * MS)

_Atomic unsigned int own_files;

/* raw: whoever stands in front of the C library would be asked in a hook. */
static bool is_forked(const struct own_desk *desk)
{
	return syscall(SYS_getpid) != desk->pid;
}

/* What the engine does for the program it does within its own calls. */
static bool is_engine(const struct own_desk *desk)
{
	return syscall(SYS_gettid) == desk->tid;
}

bool own_desk_serves(const struct own_desk *desk)
{
	return !is_forked(desk) && !is_engine(desk);
}

bool own_is_leased(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	const struct own_desk *desk = lease_engine_desk(engine);

	return own_set_has(&desk->set, dev, ino) && own_desk_serves(desk);
}

/* Signals are blocked: nobody interrupts us here who would ask, too. */
static void ask(struct own *own, enum own_request request)
{
	struct own_desk *desk = lease_engine_desk(own->engine);
	const struct timespec again = {0, AGAIN_NS};
	int cancel_state;

	own->request = request;
	atomic_store(&own->is_done, 0);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	own->queued = atomic_load(&desk->asked);
	while (!atomic_compare_exchange_weak(&desk->asked, &own->queued, own))
		;
	while (!atomic_load(&own->is_done)) {
		lease_engine_wake(own->engine);
		syscall(SYS_futex, &own->is_done, FUTEX_WAIT_PRIVATE, 0, &again,
			NULL, 0);
	}
	pthread_setcancelstate(cancel_state, NULL);
}

static void prepare(struct lease_engine *engine, dev_t dev, ino_t ino,
		    struct own *own)
{
	memset(own, 0, sizeof(*own));
	own->engine = engine;
	own->dev = dev;
	own->ino = ino;
}

void own_begin(struct lease_engine *engine, dev_t dev, ino_t ino,
	       enum keeper_own kind, struct own *own)
{
	int saved_errno = errno;
	sigset_t all;

	prepare(engine, dev, ino, own);
	own->kind = kind;
	own->is_forked = is_forked(lease_engine_desk(engine));
	if (!own->is_forked) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &own->signals);
		ask(own, OWN_BEGIN);
	}
	errno = saved_errno;
}

void own_end(struct own *own)
{
	int saved_errno = errno;

	/* also by the child of a fork() in between, which has no engine */
	if (own->is_forked)
		return;
	if (own->is_announced && !is_forked(lease_engine_desk(own->engine)))
		ask(own, OWN_END);
	pthread_sigmask(SIG_SETMASK, &own->signals, NULL);
	errno = saved_errno;
}

int own_truncate(struct own *own, int64_t length)
{
	int saved_errno = errno;

	if (!own->is_announced)
		return -EOPNOTSUPP;
	own->length = (uint64_t)length;
	ask(own, OWN_TRUNCATE);
	own->effect = OWN_RESIZED;
	errno = saved_errno;
	return own->result;
}

int own_punch(struct own *own, void *addr, size_t length, size_t *ret_length)
{
	int saved_errno = errno;

	if (!own->is_announced)
		return -ESTALE;
	own->addr = (uintptr_t)addr;
	own->length = length;
	ask(own, OWN_PUNCH);
	errno = saved_errno;
	if (own->result)
		return own->result;
	own->effect = OWN_ZEROED;
	*ret_length = own->length;
	return 0;
}

void own_closed(struct lease_engine *engine, dev_t dev, ino_t ino)
{
	int saved_errno = errno;
	struct own own;
	sigset_t all;

	prepare(engine, dev, ino, &own);
	if (!is_forked(lease_engine_desk(engine))) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &own.signals);
		ask(&own, OWN_CLOSED);
		pthread_sigmask(SIG_SETMASK, &own.signals, NULL);
		/* what it was sent before it has done when it answers */
		if (own.result) {
			own_begin(engine, dev, ino, KEEPER_OWN_CHANGE, &own);
			own_end(&own);
		}
	}
	errno = saved_errno;
}

/* What follows runs in the engine's thread. */

/* The caller may be gone with its stack as soon as is_done is set. */
void own_desk_finish(struct own *own)
{
	_Atomic uint32_t *is_done = &own->is_done;

	atomic_store(is_done, 1);
	syscall(SYS_futex, is_done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static struct lease *find(struct lease_table *table, const struct own *own)
{
	struct lease *lease = table_find(table, own->dev, own->ino);

	return lease ? lease : staged_lease(table, own->dev, own->ino);
}

/* An error is the keeper's death: the next one hears of it. */
static void announce(struct lease_table *table, struct own *own)
{
	own->ticket = talk_ticket(table);
	keeper_own_begin(&table->keeper, own->lease->id, own->kind,
			 own->ticket);
}

static void begin(struct lease_table *table, struct own *own)
{
	struct lease *lease = find(table, own);
	struct own **at;

	if (!lease) {
		own_desk_finish(own);
		return;
	}
	own->lease = lease;
	own->is_announced = true;
	for (at = &lease->owns; *at; at = &(*at)->next)
		;
	*at = own;
	announce(table, own);
}

static void finish_end(struct lease_table *table, struct own *own)
{
	if (own->lease) {
		struct own **at = &own->lease->owns;

		own_change_follow(table, own);
		if (own_change_moves_end(own))
			own_gate_let_go(table, own->lease);
		while (*at != own)
			at = &(*at)->next;
		*at = own->next;
		keeper_own_end(&table->keeper, own->lease->id, own->kind);
	}
	own_desk_finish(own);
}

static bool is_held_up(struct lease_table *table, const struct own *own)
{
	return own_change_moves_end(own) && !own_gate_hold(table, own->lease) &&
	       clock_now_ns() < own->until_ns;
}

static void try_end(struct lease_table *table, struct own *own)
{
	if (is_held_up(table, own)) {
		own->queued = table->own.ending;
		table->own.ending = own;
	} else {
		finish_end(table, own);
	}
}

static void end(struct lease_table *table, struct own *own)
{
	own->until_ns = clock_now_ns() + DRAIN_NS;
	try_end(table, own);
}

/* Who is inside may have to be served before he comes out. */
static void end_more(struct lease_table *table)
{
	struct own *own = table->own.ending, *next;

	table->own.ending = NULL;
	for (; own; own = next) {
		next = own->queued;
		try_end(table, own);
	}
}

static void look_again(struct own_desk *desk, int64_t now_ns)
{
	if (desk->look_ns == RECALL_NEVER)
		desk->look_ns = now_ns + LOOK_NS;
}

static void closed(struct lease_table *table, struct own *own)
{
	struct lease *lease = find(table, own);

	if (lease) {
		lease->has_closed = !own_locks_drop(table, lease);
		if (lease->has_closed)
			look_again(&table->own, clock_now_ns());
		own->result = lease->fd < 0;
	}
	own_desk_finish(own);
}

static void look_at_locks(struct lease_table *table)
{
	struct own_desk *desk = &table->own;

	if (desk->look_ns == RECALL_NEVER || clock_now_ns() < desk->look_ns)
		return;
	desk->look_ns = RECALL_NEVER;
	for (uint32_t id = 0; id < table->ids_end; id++) {
		struct lease *lease = table->by_id[id];

		if (!lease)
			continue;
		if (lease->has_closed)
			lease->has_closed = !own_locks_drop(table, lease);
		if (lease->has_closed)
			look_again(desk, clock_now_ns());
	}
}

static struct own *take_all(struct own_desk *desk)
{
	struct own *own = atomic_exchange(&desk->asked, NULL), *first = NULL;

	while (own) {
		struct own *before = own->queued;

		own->queued = first;
		first = own;
		own = before;
	}
	return first;
}

void own_desk_serve(struct lease_table *table)
{
	struct own *own = take_all(&table->own), *next;

	for (; own; own = next) {
		next = own->queued;
		switch (own->request) {
		case OWN_BEGIN:
			begin(table, own);
			break;
		case OWN_END:
			end(table, own);
			break;
		case OWN_TRUNCATE:
			own_change_truncate(table, own);
			break;
		case OWN_PUNCH:
			own_change_punch(table, own);
			break;
		case OWN_CLOSED:
			closed(table, own);
			break;
		}
	}
	end_more(table);
	look_at_locks(table);
}

int own_desk_timeout_ms(const struct own_desk *desk)
{
	int64_t due_ns = desk->look_ns, left_ns;

	for (const struct own *own = desk->ending; own; own = own->queued)
		if (own->until_ns < due_ns)
			due_ns = own->until_ns;
	if (due_ns == RECALL_NEVER)
		return -1;
	left_ns = due_ns - clock_now_ns();
	return left_ns < 0 ? 0 : (int)((left_ns + MS - 1) / MS);
}

void own_desk_init(struct own_desk *desk)
{
	desk->pid = getpid();
	desk->tid = gettid();
	desk->look_ns = RECALL_NEVER;
	own_gate_init(&desk->gates);
}

void own_desk_add(struct lease_table *table, struct lease *lease)
{
	own_set_add(&table->own.set, lease->id, lease->dev, lease->ino);
	atomic_fetch_add(&own_files, 1);
}

void own_desk_remove(struct lease_table *table, struct lease *lease)
{
	struct own *own, *next;

	own_set_remove(&table->own.set, lease->id);
	atomic_fetch_sub(&own_files, 1);
	for (own = lease->owns; own; own = next) {
		next = own->next;
		own->lease = NULL;
		if (!own->is_heard) {
			own->is_heard = true;
			own_desk_finish(own);
		}
	}
	lease->owns = NULL;
}

bool own_desk_is_changing(const struct lease *lease)
{
	for (const struct own *own = lease->owns; own; own = own->next)
		if (own->kind == KEEPER_OWN_CHANGE && own->is_heard)
			return true;
	return false;
}

void own_desk_ready(struct lease *lease, uint32_t ticket)
{
	struct own *own = lease->owns;

	while (own && own->ticket != ticket)
		own = own->next;
	if (!own || !ticket)
		return;
	own->ticket = 0;
	if (!own->is_heard) {
		own->is_heard = true;
		own->copied = own_change_copied(lease);
		own_desk_finish(own);
	}
}

void own_desk_again(struct lease_table *table, struct lease *lease)
{
	for (struct own *own = lease->owns; own; own = own->next)
		announce(table, own);
}

/*
 * A lease that nobody serves would keep an open waiting for the kernel's whole
 * lease-break time. What isn't flushed stays unwritten, as for any opener now.
 */
void own_desk_give_up(struct lease *lease)
{
	for (struct own *own = lease->owns; own; own = own->next) {
		if (own->is_heard)
			continue;
		if (own->kind < KEEPER_OWN_WRITE && lease->fd >= 0)
			setlease_drop(lease->fd);
		own->is_heard = true;
		own_desk_finish(own);
	}
}
