/* SPDX-License-Identifier: BSD-2-Clause */
/* What is in shadows becomes durable: staged.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "clock.h"
#include "lease_talk.h"
#include "reason.h"
#include "staged_parts.h"

/* How long the keeper is waited for. */
#define PERSIST_NS (30 * 1000000000LL)

void staged_persisted(struct lease *lease, uint32_t ticket, int error)
{
	if (!ticket || ticket != lease->persist_ticket)
		return;
	lease->persist_ticket = 0;
	lease->persist_error = error;
}

int staged_unattached(const struct lease *lease, uint64_t offset, uint64_t end)
{
	const struct staged *at = lease->staged;

	while (at && (!staged_overlaps(at, offset, end) || at->is_let_go ||
		      !at->attached.error))
		at = at->next;
	return at ? at->attached.error : 0;
}

static int not_there(int error)
{
	return reason_set(-EIO,
			  "the daxmr-keeper that has taken over cannot have "
			  "the shadow (%s), and what is in it is not written "
			  "until it can, which is tried again: it has the "
			  "program's limits on memory and descriptors",
			  strerrordesc_np(-error));
}

static int touched(const struct lease *lease)
{
	char path[REASON_FILE_MAX];

	return reason_set(-EIO,
			  "others have %s open and have written to the same "
			  "4 KiB blocks, which stay as they are in the file "
			  "until it is closed; what is stored here is merged "
			  "then, as on_conflict says",
			  lease->fd < 0
				  ? lease->path
				  : reason_file(lease->fd, path, sizeof(path)));
}

static int failed(int error)
{
	return reason_set(error == -ENOSPC || error == -EDQUOT ? error : -EIO,
			  "not all could be written to the file (%s); it is "
			  "tried again",
			  strerrordesc_np(-error));
}

/* Each keeper has to be asked. */
int staged_persist(struct lease_table *table, struct lease *lease,
		   uint64_t offset, uint64_t end)
{
	int64_t deadline_ns = clock_now_ns() + PERSIST_NS;
	uint32_t ticket = talk_ticket(table), keeper = table->keepers - 1;
	int error;

	lease->persist_ticket = ticket;
	for (;;) {
		/* Before it is asked, and after each thing that was heard: also
		 * if the keeper has it by the time that it answers it may have
		 * been past it. */
		error = staged_unattached(lease, offset, end);
		if (error) {
			lease->persist_ticket = 0;
			return not_there(error);
		}
		if (!lease->persist_ticket)
			break;
		if (lease_state(lease) == RECALL_LOST)
			return reason_set(-EAGAIN,
					  "the kernel took the lease away: "
					  "what is new is written when it is "
					  "ours again");
		if (clock_now_ns() > deadline_ns) {
			table->is_keeper_silent = !table->is_keeper_dead;
			return reason_set(-ETIMEDOUT,
					  "the keeper has not written the file "
					  "in %lld s",
					  PERSIST_NS / 1000000000LL);
		}
		if (!table->is_keeper_dead && keeper != table->keepers) {
			keeper = table->keepers;
			keeper_persist(&table->keeper, lease->id, offset, end,
				       ticket);
		}
		talk_step(table);
	}
	if (lease->persist_error == -EBUSY)
		return touched(lease);
	return lease->persist_error ? failed(lease->persist_error) : 0;
}

int staged_flush_file(struct lease_table *table, dev_t dev, ino_t ino,
		      uint64_t offset, uint64_t length)
{
	const struct staged *staged = shadows_find(table, dev, ino);
	struct lease *lease =
		staged ? staged->lease : table_find(table, dev, ino);

	if (!lease)
		return 0;
	return staged_flush(table, lease,
			    staged ? staged->offset + offset : offset, length);
}

int staged_flush(struct lease_table *table, struct lease *lease,
		 uint64_t offset, uint64_t length)
{
	uint64_t end =
		length < UINT64_MAX - offset ? offset + length : UINT64_MAX;
	bool is_in_conflict = false, is_there = false;
	int r;

	for (const struct staged *at = lease->staged; at; at = at->next)
		is_there |= staged_overlaps(at, offset, end);
	/* What is only read has nothing for the file. */
	if (!is_there || lease->type == F_RDLCK)
		return 0;
	r = staged_persist(table, lease, offset, end);
	for (const struct staged *at = lease->staged; !r && at; at = at->next)
		if (staged_overlaps(at, offset, end))
			is_in_conflict |=
				extent_has_conflict(&at->extent, offset, end);
	if (!r && is_in_conflict)
		r = reason_set(-EIO,
			       "others have changed the same blocks as this "
			       "program, which are left as they are on both "
			       "sides (on_conflict is error): store what the "
			       "file has, or register the region anew, which "
			       "takes that");
	return r;
}
