/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What callers ask the engine for: lease.h. Each call is a function that the
 * engine's thread runs, and its arguments on the caller's stack.
 */
#include <errno.h>
#include <string.h>

#include "alias.h"
#include "lease_take.h"
#include "lease_talk.h"
#include "private.h"
#include "raw.h"
#include "reason.h"
#include "recover.h"
#include "staged.h"

struct acquire {
	struct lease_engine *engine;
	const struct lease_want *want;
	struct lease *lease;
};

static int acquire(struct lease_table *table, void *arg)
{
	struct acquire *call = arg;

	return lease_take(table, call->engine, call->want, &call->lease);
}

int lease_acquire(struct lease_engine *engine, const struct lease_want *want,
		  struct lease **ret)
{
	struct acquire call = {.engine = engine, .want = want};
	int r = lease_engine_call(engine, acquire, &call);

	if (!r)
		*ret = call.lease;
	return r;
}

/* What is asked for a range of a lease. */
struct range_call {
	struct lease *lease;
	uint64_t offset;
	uint64_t length;
	int64_t deadline_ns;
};

static int release(struct lease_table *table, void *arg)
{
	const struct range_call *call = arg;

	reason_set(0, "not all could be written");
	return lease_give_back(table, call->lease, call->offset, call->length,
			       call->deadline_ns);
}

int lease_release(struct lease *lease, uint64_t offset, uint64_t length,
		  int64_t deadline_ns)
{
	struct range_call call = {lease, offset, length, deadline_ns};

	return lease_engine_call(lease->engine, release, &call);
}

static int stage(struct lease_table *table, void *arg)
{
	const struct range_call *call = arg;

	return staged_add(table, call->lease, call->offset, call->length,
			  table->mover);
}

int lease_stage(struct lease *lease, uint64_t offset, uint64_t length)
{
	struct range_call call = {lease, offset, length, 0};

	return lease_engine_call(lease->engine, stage, &call);
}

static int unstage(struct lease_table *table, void *arg)
{
	const struct range_call *call = arg;

	return staged_remove(table, call->lease, call->offset, call->length);
}

int lease_unstage(struct lease *lease, uint64_t offset, uint64_t length)
{
	struct range_call call = {lease, offset, length, 0};

	return lease_engine_call(lease->engine, unstage, &call);
}

static int flush(struct lease_table *table, void *arg)
{
	const struct range_call *call = arg;

	return staged_flush(table, call->lease, call->offset, call->length);
}

int lease_flush(struct lease *lease, uint64_t offset, uint64_t length)
{
	struct range_call call = {lease, offset, length, 0};

	return lease_engine_call(lease->engine, flush, &call);
}

struct flush_call {
	struct lease *lease;
	uint32_t ticket;
};

/* Calls of several threads may come in another order than their tickets. */
static int flush_soon(struct lease_table *table, void *arg)
{
	const struct flush_call *call = arg;
	struct lease *lease = call->lease;

	if (recall_asked_after(call->ticket, lease->flush_ticket))
		lease->flush_ticket = call->ticket;
	talk_flush(table, lease);
	return 0;
}

int lease_flush_soon(struct lease *lease, uint32_t ticket)
{
	struct flush_call call = {lease, ticket};

	return lease_engine_call(lease->engine, flush_soon, &call);
}

uint32_t lease_flush_ticket(void)
{
	static _Atomic uint32_t last;
	uint32_t ticket = atomic_fetch_add(&last, 1) + 1;

	return ticket ? ticket : atomic_fetch_add(&last, 1) + 1;
}

struct lend_call {
	int fd;
	int lent;
	pid_t tid;
};

static int lend(struct lease_table *table, void *arg)
{
	struct lend_call *call = arg;

	call->lent = (int)syscall(SYS_pidfd_getfd, table->pidfd, call->fd, 0);
	call->tid = gettid();
	if (call->lent >= 0)
		return 0;
	return reason_set(-errno,
			  "descriptor %d cannot be had by the thread that is "
			  "to use it: %s",
			  call->fd, strerrordesc_np(errno));
}

int lease_lend(struct lease_engine *engine, int fd, int *ret_fd, pid_t *ret_tid)
{
	struct lend_call call = {.fd = fd};
	int r = lease_engine_call(engine, lend, &call);

	if (r)
		return r;
	*ret_fd = call.lent;
	*ret_tid = call.tid;
	return 0;
}

static int take_back(struct lease_table *table, void *arg)
{
	(void)table;
	raw_close(*(int *)arg);
	return 0;
}

void lease_take_back(struct lease_engine *engine, int fd)
{
	lease_engine_call(engine, take_back, &fd);
}

struct alias_call {
	const struct lease *lease;
	uint64_t offset;
	uint64_t length;
	uintptr_t addr;
};

static int alias(struct lease_table *table, void *arg)
{
	const struct alias_call *call = arg;

	(void)table;
	return alias_map(call->lease, call->offset, call->length, call->addr);
}

int lease_alias(struct lease *lease, uint64_t offset, uint64_t length,
		uintptr_t addr)
{
	struct alias_call call = {lease, offset, length, addr};

	return lease_engine_call(lease->engine, alias, &call);
}

/* What is asked for a file, which may be a shadow. */
struct file_call {
	dev_t dev;
	ino_t ino;
	uint64_t offset;
	uint64_t length;
};

static int flush_file(struct lease_table *table, void *arg)
{
	const struct file_call *call = arg;

	return staged_flush_file(table, call->dev, call->ino, call->offset,
				 call->length);
}

int lease_flush_file(struct lease_engine *engine, dev_t dev, ino_t ino,
		     uint64_t offset, uint64_t length)
{
	struct file_call call = {dev, ino, offset, length};

	return lease_engine_call(engine, flush_file, &call);
}

static int find_shadow(struct lease_table *table, void *arg)
{
	struct file_call *call = arg;

	return staged_find(table, call->dev, call->ino, &call->offset);
}

int lease_find_shadow(struct lease_engine *engine, dev_t dev, ino_t ino,
		      uint64_t *ret_offset)
{
	struct file_call call = {dev, ino, 0, 0};
	int r = lease_engine_call(engine, find_shadow, &call);

	if (!r)
		*ret_offset = call.offset;
	return r;
}

struct memory_call {
	uintptr_t addr;
	size_t length;
};

static int privatize(struct lease_table *table, void *arg)
{
	const struct memory_call *call = arg;

	return private_make(table, call->addr, call->length, table->mover);
}

int lease_privatize(struct lease_engine *engine, uintptr_t addr, size_t length)
{
	struct memory_call call = {addr, length};

	return lease_engine_call(engine, privatize, &call);
}

enum recall_state lease_state(const struct lease *lease)
{
	return atomic_load(&lease->is_out_of_sight)
		       ? RECALL_LOST
		       : keeper_state(&lease->table->keeper, lease->id);
}

uint64_t lease_reports(const struct lease *lease)
{
	return keeper_reports(&lease->table->keeper, lease->id);
}

struct size_call {
	struct lease *lease;
	uint64_t size;
};

static int size(struct lease_table *table, void *arg)
{
	struct size_call *call = arg;
	struct stat st;
	int r = talk_fetch(table, call->lease);

	if (r)
		return r;
	if (raw_stat(call->lease->fd, &st))
		r = reason_set(-errno, "its size cannot be seen: %s",
			       strerrordesc_np(errno));
	else
		call->size = (uint64_t)st.st_size;
	recover_prepare(call->lease);
	return r;
}

int lease_size(struct lease *lease, uint64_t *ret)
{
	struct size_call call = {lease, 0};
	int r = lease_engine_call(lease->engine, size, &call);

	if (!r)
		*ret = call.size;
	return r;
}

void lease_file(const struct lease *lease, dev_t *ret_dev, ino_t *ret_ino)
{
	*ret_dev = lease->dev;
	*ret_ino = lease->ino;
}

struct ask_call {
	struct lease *lease;
	int64_t consent_ns;
};

static int ask(struct lease_table *table, void *arg)
{
	const struct ask_call *call = arg;

	call->lease->consent_ns = call->consent_ns;
	return talk_set_consent(table, call->lease);
}

int lease_ask(struct lease *lease, int64_t consent_ns)
{
	struct ask_call call = {lease, consent_ns};

	return lease_engine_call(lease->engine, ask, &call);
}

const struct lease_terms *lease_terms(const struct lease *lease)
{
	return &lease->terms;
}

struct lease_heard *lease_heard(struct lease *lease)
{
	return &lease->heard;
}

void lease_consent(struct lease *lease)
{
	talk_consent(lease->table, lease);
	lease_engine_wake(lease->engine);
}
