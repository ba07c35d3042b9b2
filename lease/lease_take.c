/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lease is taken and given back: lease_take.h.
 */
#include <errno.h>
#include <fcntl.h>

#include "allocate.h"
#include "clock.h"
#include "description.h"
#include "errand.h"
#include "grant.h"
#include "lease_take.h"
#include "lease_talk.h"
#include "raw.h"
#include "range.h"
#include "reason.h"
#include "recover.h"
#include "sole.h"
#include "staged.h"

/* For the keeper to give a file back that nobody waits for. */
#define TIDY_NS (1000000000LL)
/* What lingers is tried so often: what keeps it there may last. */
#define LINGER_NS (100 * 1000000LL)

/* Within that a keeper gives back what it has to. */
#define GRACE_NS (2 * 1000000000LL)
/* Who sets no deadline waits so long for what cannot be written. */
#define RELEASE_NS (600 * 1000000000LL)

static void remove_lease(struct lease_table *table, struct lease *lease)
{
	talk_send_consents(table);
	table_remove(table, lease);
	if (table->count)
		return;
	table->attach_ns = 0;
	staged_all_gone(table);
	keeper_done(&table->keeper);
}

/* The keeper has not answered: it goes when that does. */
static void leave(struct lease_table *table, struct lease *lease)
{
	lease->phase = LEASE_RELEASING;
	talk_expect(table, lease, KEEPER_RELEASE);
	lease->is_left = true;
	table->left++;
}

static int give_back_last(struct lease_table *table, struct lease *lease,
			  int64_t deadline_ns)
{
	int64_t until_ns;
	int r;

	staged_tidy(table, lease);
	if (lease->staged) {
		lease->is_lingering = true;
		table->lingering++;
		return table->is_keeper_silent ? talk_no_answer(table)
					       : -EAGAIN;
	}
	until_ns = clock_now_ns();
	if (deadline_ns > until_ns + RELEASE_NS)
		deadline_ns = until_ns + RELEASE_NS;
	if (until_ns < deadline_ns)
		until_ns = deadline_ns;
	until_ns += GRACE_NS;
	lease->phase = LEASE_RELEASING;
	talk_expect(table, lease, KEEPER_RELEASE);
	lease->deadline_ns = deadline_ns;
	if (lease->is_adrift)
		table->recover_ns = 0;
	else
		keeper_release(&table->keeper, lease->id, deadline_ns);
	r = talk_wait_until(table, lease, until_ns);
	if (r) {
		leave(table, lease);
		return r;
	}
	r = lease->error;
	remove_lease(table, lease);
	return r;
}

int lease_give_back(struct lease_table *table, struct lease *lease,
		    uint64_t offset, uint64_t length, int64_t deadline_ns)
{
	int r = 0;

	if (lease->type == F_WRLCK)
		r = range_remove(table, lease, offset, length);
	if (r || --lease->refs)
		return r;
	return give_back_last(table, lease, deadline_ns);
}

static void stop_lingering(struct lease_table *table, struct lease *lease)
{
	table->lingering -= lease->is_lingering;
	lease->is_lingering = false;
}

void lease_tidy(struct lease_table *table)
{
	int64_t at_ns = table->lingering ? clock_now_ns() : 0;
	bool is_due = at_ns >= table->tidied_ns + LINGER_NS ||
		      (table->lingering && staged_is_alone(table));

	if (is_due)
		table->tidied_ns = at_ns;
	for (uint32_t id = 0;
	     table->lingering + table->left && id < table->ids_end; id++) {
		struct lease *lease = table->by_id[id];

		if (lease && lease->is_left && lease->phase == LEASE_ENDED)
			remove_lease(table, lease);
		else if (is_due && !table->is_keeper_silent && lease &&
			 lease->is_lingering &&
			 lease_state(lease) == RECALL_HELD) {
			stop_lingering(table, lease);
			give_back_last(table, lease, clock_now_ns() + TIDY_NS);
		}
	}
}

static int refuse_type(const struct description *description, int fd)
{
	char name[REASON_FILE_MAX];

	return reason_set_kind(
		REASON_TERMS, -EBUSY,
		"%s has a lease for %s already: release that first",
		fd >= 0 ? reason_file(fd, name, sizeof(name))
			: description->name,
		description->type == F_RDLCK ? "writing" : "reading");
}

/* A write lease serves who would do with a read lease. */
static bool is_served(const struct lease *lease, const struct lease_want *want,
		      const struct description *description)
{
	return lease->type == description->type ||
	       (want->type == LEASE_TYPE_AUTO && lease->type == F_WRLCK);
}

static bool are_same(const struct lease_terms *a, const struct lease_terms *b)
{
	return a->flush_ms == b->flush_ms && a->flush_cpu == b->flush_cpu &&
	       a->on_conflict == b->on_conflict && a->on_shrink == b->on_shrink;
}

static int refuse_terms(const struct description *description, int fd)
{
	char name[REASON_FILE_MAX];

	return reason_set_kind(
		REASON_TERMS, -EBUSY,
		"%s is registered already, with another flush_ms, "
		"flush_cpu, on_conflict or on_shrink: all regions of "
		"a file have the same; give this one those, or none",
		fd >= 0 ? reason_file(fd, name, sizeof(name))
			: description->name);
}

struct blocks {
	int fd;
	uint64_t offset;
	uint64_t length;
};

static int allocate_blocks(void *arg)
{
	const struct blocks *blocks = arg;

	return allocate_range(blocks->fd, blocks->offset, blocks->length);
}

/* The keeper must not take it for somebody else's doing. */
static int allocate_first(struct lease_table *table, struct lease *lease,
			  const struct lease_want *want)
{
	struct blocks blocks = {lease->fd, want->offset, want->length};
	int r = 0;

	if (lease->type == F_WRLCK)
		r = errand_run(table, lease->engine, allocate_blocks, &blocks);
	keeper_own_end(&table->keeper, lease->id, KEEPER_OWN_ALLOCATE);
	return r;
}

/* Blocks for one range more. To open the file again would break the lease. */
static int allocate_again(struct lease_table *table, struct lease *lease,
			  const struct lease_want *want)
{
	struct blocks blocks = {-1, want->offset, want->length};
	int r = talk_fetch(table, lease);

	if (!r)
		r = talk_announce(table, lease);
	if (r)
		return r;
	blocks.fd = lease->fd;
	r = errand_run(table, lease->engine, allocate_blocks, &blocks);
	keeper_own_end(&table->keeper, lease->id, KEEPER_OWN_ALLOCATE);
	recover_prepare(lease);
	return r;
}

/*
 * Another region of a leased file. Where the program itself has it yielded by
 * a second description that only a mapping keeps alive, the keeper could not
 * take it again: that is healed here, as far as it can be.
 */
static int take_again(struct lease_table *table, struct lease *lease,
		      const struct lease_want *want,
		      struct description *description)
{
	enum recall_state state = lease_state(lease);
	int r = 0;

	if (description->fd >= 0)
		r = grant_check(description->fd, description->type);
	if (!r && !is_served(lease, want, description))
		r = refuse_type(description, description->fd);
	if (!r && want->terms && !are_same(want->terms, &lease->terms))
		r = refuse_terms(description, description->fd);
	if (r)
		return r;
	if (lease->type == F_WRLCK) {
		if (lease->fd >= 0 &&
		    (state == RECALL_YIELDED || state == RECALL_LOST))
			sole_make(lease->fd, table->keeper.pid);
		r = allocate_again(table, lease, want);
		if (!r)
			r = range_add(table, lease, want->offset, want->length);
	}
	if (!r) {
		stop_lingering(table, lease);
		lease->refs++;
	}
	return r;
}

static int ask(struct lease_table *table, struct lease *lease)
{
	int r;

	lease->phase = LEASE_ACQUIRING;
	talk_expect(table, lease, KEEPER_ACQUIRE);
	lease->error = 0;
	talk_ask(table, lease);
	r = talk_wait_for_answer(table, lease);
	if (r) {
		leave(table, lease);
		lease->deadline_ns = clock_now_ns();
		keeper_release(&table->keeper, lease->id, lease->deadline_ns);
		return r;
	}
	return lease->error;
}

/*
 * Asks the keeper for it. A description that was opened here is made the only
 * one before, as far as the mapping goes that it was opened for; and any where
 * the kernel says that there are others. Who else has it is looked for once.
 */
static int ask_as_sole(struct lease_table *table, struct lease *lease,
		       const struct lease_want *want, bool is_fresh)
{
	bool is_sole = lease->type == F_WRLCK && is_fresh;
	int r = 0;

	if (is_sole)
		r = sole_make_at(lease->fd, table->keeper.pid, want->addr);
	if (r)
		return r;
	r = ask(table, lease);
	if (r == -EAGAIN && lease->type == F_WRLCK) {
		r = sole_make(lease->fd, table->keeper.pid);
		if (r)
			return r;
		is_sole = true;
		r = ask(table, lease);
	}
	if (r && !lease->is_left)
		return grant_explain(lease->fd, lease->type, r,
				     table->keeper.pid);
	/* Others may read what only reads. */
	if (!r && lease->type == F_WRLCK && !is_sole)
		r = grant_check_shared(lease->fd, table->keeper.pid);
	return r;
}

static int take_first(struct lease_table *table, struct lease_engine *engine,
		      const struct lease_want *want,
		      struct description *description, struct lease **ret)
{
	struct lease *lease;
	int r;

	r = description_open(table->pidfd, description);
	if (!r)
		r = grant_check(description->fd, description->type);
	if (!r && !table->count)
		r = talk_start_keeper(table);
	if (r)
		return r;
	lease = table_add(table, description->dev, description->ino);
	if (!lease) {
		if (!table->count)
			keeper_done(&table->keeper);
		return reason_set(-ENOMEM, "no memory for one lease more");
	}
	lease->engine = engine;
	lease->type = description->type;
	lease->terms = want->terms ? *want->terms : table->config->terms;
	lease->consent_ns = table->config->consent_ns;
	lease->refs = 1;
	lease->fd = description->fd;
	description->fd = -1;
	r = ask_as_sole(table, lease, want, description->is_fresh);
	if (!r)
		r = allocate_first(table, lease, want);
	if (!r && lease->type == F_WRLCK)
		r = range_add(table, lease, want->offset, want->length);
	if (r && lease->phase == LEASE_LIVE)
		give_back_last(table, lease, clock_now_ns() + TIDY_NS);
	else if (r && !lease->is_left)
		remove_lease(table, lease);
	else
		*ret = lease;
	if (!r)
		recover_prepare(lease);
	return r;
}

/* What is mapped there may be a shadow already: of a leased file. */
static bool look_at_shadow(const struct lease_table *table,
			   const struct lease_want *want,
			   struct description *ret)
{
	struct mapping mapping;
	struct lease *lease;

	if (want->fd >= 0 || mapping_at(want->addr, &mapping, NULL))
		return false;
	lease = staged_lease(table, mapping.dev, mapping.ino);
	if (!lease)
		return false;
	*ret = (struct description){
		.dev = lease->dev,
		.ino = lease->ino,
		.type = want->type == LEASE_TYPE_AUTO ? lease->type
						      : want->type,
		.fd = -1,
		.name = "the file",
	};
	return true;
}

int lease_take(struct lease_table *table, struct lease_engine *engine,
	       const struct lease_want *want, struct lease **ret)
{
	struct description description;
	struct lease *lease;
	int r = 0;

	if (!look_at_shadow(table, want, &description))
		r = description_look(table->pidfd, want, &description);
	if (r)
		return r;
	lease = table_find(table, description.dev, description.ino);
	if (lease && lease->is_left) {
		r = talk_wait_until(table, lease, clock_now_ns() + GRACE_NS);
		if (!r)
			remove_lease(table, lease);
		lease = NULL;
	}
	if (r) {
		/* It is still being given back. */
	} else if (!lease) {
		r = take_first(table, engine, want, &description, ret);
	} else {
		r = take_again(table, lease, want, &description);
		if (!r)
			*ret = lease;
	}
	if (description.fd >= 0)
		raw_close(description.fd);
	return r;
}
