/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "gate_cm.h"
#include "gate_mark.h"
#include "gate_qp.h"

/* With the lock. */
static struct channel {
	const void *channel;
	struct channel *next;
} * channels;

static bool is_programs_locked(const void *channel)
{
	const struct channel *known = channels;

	while (known && known->channel != channel)
		known = known->next;
	return known;
}

/* Without memory it is not known, and nobody is told. */
void gate_cm_channel_made(const void *channel)
{
	int saved_errno = errno;
	struct channel *added = malloc(sizeof(*added));
	struct gate_locked locked;

	/* From then on the lock is held across forks. */
	gate_mark_init();

	if (added) {
		gate_lock(&locked);
		*added = (struct channel){channel, channels};
		channels = added;
		gate_unlock(&locked);
	}
	errno = saved_errno;
}

static struct gate_qp *used_with_locked(const void *channel)
{
	struct gate_qp *record = gate_qp_first_locked();

	while (record &&
	       !(record->uses && record->id && record->id->channel == channel))
		record = record->next;
	return record;
}

static void wait_unused_locked(struct gate_qp *record,
			       struct gate_locked *locked)
{
	gate_qp_get_locked(record);
	gate_qp_wait_unused_locked(record, locked);
	gate_qp_put_locked(record);
}

void gate_cm_channel_going(const void *channel)
{
	struct channel **at = &channels, *gone;
	struct gate_locked locked;
	struct gate_qp *record;

	gate_lock(&locked);
	while (*at && (*at)->channel != channel)
		at = &(*at)->next;
	gone = *at;
	if (gone)
		*at = gone->next;
	while (gone && (record = used_with_locked(channel)))
		wait_unused_locked(record, &locked);
	gate_unlock(&locked);
	free(gone);
}

void gate_cm_qp_made(struct cm_id *id, gate_disconnect_fn *disconnect)
{
	struct gate_locked locked;
	struct gate_qp *record;

	gate_lock(&locked);
	record = gate_qp_find_locked(id->qp);
	if (record) {
		record->id = id;
		record->disconnect = disconnect;
		record->is_disconnected = record->has_to_disconnect = false;
	}
	gate_unlock(&locked);
}

void gate_cm_id_going(const struct cm_id *id)
{
	struct gate_locked locked;
	struct gate_qp *record;

	gate_lock(&locked);
	record = gate_qp_first_locked();
	while (record && record->id != id)
		record = record->next;
	if (record) {
		record->id = NULL;
		wait_unused_locked(record, &locked);
	}
	gate_unlock(&locked);
}

/* Of QPs whose peer is connected to them. */
static bool is_due_locked(const struct gate_qp *record)
{
	return record->has_to_disconnect && !record->is_disconnected &&
	       record->id && is_programs_locked(record->id->channel) &&
	       (record->type == IBV_QPT_RC || record->type == IBV_QPT_UC);
}

/* In use; NULL: none. */
static struct gate_qp *next_due(struct cm_id **ret_id)
{
	struct gate_qp *record;
	struct gate_locked locked;

	gate_lock(&locked);
	record = gate_qp_first_locked();
	while (record && !is_due_locked(record))
		record = record->next;
	if (record) {
		record->is_disconnected = true;
		*ret_id = record->id;
		gate_qp_use_locked(gate_qp_get_locked(record));
	}
	gate_unlock(&locked);
	return record;
}

unsigned int gate_disconnect(void)
{
	struct gate_locked locked;
	struct gate_qp *record;
	unsigned int count = 0;
	struct cm_id *id;

	while ((record = next_due(&id))) {
		if (!record->disconnect(id))
			count++;
		gate_qp_unuse(record);
		gate_lock(&locked);
		gate_qp_put_locked(record);
		gate_unlock(&locked);
	}
	return count;
}

void gate_cm_forget_locked(void)
{
	struct gate_qp *record;

	for (record = gate_qp_first_locked(); record; record = record->next) {
		record->has_to_disconnect = false;
		record->uses = 0; /* by threads of the parent's */
	}
}
