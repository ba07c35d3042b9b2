/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program wants to be durable, in the keeper: keeper_proto.h, PERSIST.
 * And what differs while others read the file, unasked: recall.h.
 */
#include <errno.h>

#include "clock.h"
#include "leased_parts.h"

static void answer(struct leased *leased, int error)
{
	struct keeper_message message = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_PERSISTED,
		.ticket = leased->persist_ticket,
		.id = leased->id,
		.error = error,
	};

	leased->is_persisting = false;
	if (!outbox_answer(&leased->shared->outbox, &message))
		leased->shared->is_broken = true;
}

void leased_persist(struct leased *leased, const struct keeper_message *message)
{
	uint64_t offset = message->persist.offset, end = message->persist.end;

	if (leased->is_persisting && leased->persist_offset < offset)
		offset = leased->persist_offset;
	if (leased->is_persisting && leased->persist_end > end)
		end = leased->persist_end;
	leased->is_persisting = true;
	leased->persist_ticket = message->ticket;
	leased->persist_offset = offset;
	leased->persist_end = end;
	/* There is no shadow; who was refused one has been told. */
	if (!leased->recall.actions->persist)
		return answer(leased, 0);
	leased_act_restart_persist(leased);
	recall_persist_now(&leased->recall);
	due_set(&leased->shared->due, &leased->due, clock_now_ns());
}

void leased_act_restart_persist(void *arg)
{
	struct leased *leased = arg;

	leased->is_writing_through = false;
	extents_persist_part(&leased->extents, leased->persist_offset,
			     leased->persist_end);
}

/* Its own news, as of a flush, is taken off the queue while it is known. */
int leased_act_persist(void *arg, bool is_lent)
{
	struct leased *leased = arg;
	int r = extents_persist(&leased->extents, is_lent);

	if (r > 0)
		return r;
	extents_touch(&leased->extents, leased->fd);
	if (!is_lent) {
		watches_read(&leased->shared->watches, leased_watch_told);
		leased->has_met_others |= leased->extents.part_has_met_others;
	}
	answer(leased, r);
	return r;
}

/* What somebody has touched stays for the merge, and is no error. */
int leased_act_write_through(void *arg)
{
	struct leased *leased = arg;
	int r;

	if (!leased->is_lent_to_readers)
		return 0;
	if (!leased->is_writing_through)
		extents_persist_part(&leased->extents, 0, UINT64_MAX);
	leased->has_written_back = true;
	r = extents_persist(&leased->extents, true);
	leased->is_writing_through = r > 0;
	if (r <= 0)
		extents_touch(&leased->extents, leased->fd);
	return r == -EBUSY ? 0 : r;
}
