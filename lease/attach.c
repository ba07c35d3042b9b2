/* SPDX-License-Identifier: BSD-2-Clause */
/* Ranges and shadows of a lease before its keeper: attach.h. */
#include <errno.h>
#include <stdbool.h>

#include "attach.h"
#include "clock.h"
#include "lease_talk.h"
#include "range.h"
#include "staged.h"

#define AGAIN_NS (1000 * 1000000LL)

static void tell(struct lease_table *table, struct lease *lease,
		 enum recall_cause cause, int error)
{
	const struct lease_observer *observer = &table->config->observer;
	enum recall_state state = lease_state(lease);
	const struct recall_report report = {
		.from = state,
		.to = state,
		.cause = cause,
		.error = error,
		.at_ns = clock_now_ns(),
	};

	if (observer->changed)
		observer->changed(observer->arg, lease, &report, 0);
}

/* What no keeper has comes again with its lease. */
static void heard(struct lease_table *table, struct lease *lease,
		  struct attached *attached, enum recall_cause cause, int error)
{
	bool is_mended = attached->error && !error;

	attached->error = error;
	if (is_mended)
		talk_flush_again(table, lease);
	if (lease->is_adrift || lease->phase != LEASE_LIVE)
		return;
	if (error && !table->attach_ns)
		table->attach_ns = clock_now_ns() + AGAIN_NS;
	if (error != attached->told)
		tell(table, lease, cause, error);
	attached->told = error;
}

static bool is_awaited(const struct lease *lease,
		       const struct attached *attached)
{
	return lease->awaited && lease->awaited_kind == KEEPER_ATTACH &&
	       lease->awaited_extent == attached->extent;
}

void attach_send(struct lease_table *table, struct lease *lease,
		 struct attached *attached, struct keeper_extent *extent)
{
	int r;

	extent->id = lease->id;
	extent->extent = attached->extent;
	extent->ticket = is_awaited(lease, attached) ? lease->awaited : 0;
	r = keeper_attach(&table->keeper, extent);
	/* That is the keeper's death, of which the next message tells. */
	if (!r || r == -EPIPE)
		return;
	if (extent->ticket)
		talk_answer(lease, extent->ticket, r);
	else
		heard(table, lease, attached,
		      extent->shadow_fd < 0 ? RECALL_RANGE_UNATTACHED
					    : RECALL_UNATTACHED,
		      r);
}

void attach_all(struct lease_table *table, struct lease *lease)
{
	range_attach(table, lease, false);
	staged_attach(table, lease, false);
}

void attach_answered(struct lease_table *table, struct lease *lease,
		     uint32_t extent, uint32_t ticket, int error)
{
	struct attached *attached = range_attached(lease, extent);
	enum recall_cause cause = RECALL_RANGE_UNATTACHED;

	if (ticket) {
		talk_answer(lease, ticket, error);
		return;
	}
	if (!attached) {
		attached = staged_attached(lease, extent);
		cause = RECALL_UNATTACHED;
	}
	/* It has been asked twice, and has had it since the first time. */
	if (attached)
		heard(table, lease, attached, cause,
		      error == -EEXIST ? 0 : error);
}

void attach_again(struct lease_table *table)
{
	if (!table->attach_ns || table->is_keeper_dead ||
	    clock_now_ns() < table->attach_ns)
		return;
	table->attach_ns = 0;
	for (uint32_t id = 0; id < table->ids_end; id++) {
		struct lease *lease = table->by_id[id];

		if (!lease || lease->is_adrift || lease->phase != LEASE_LIVE)
			continue;
		range_attach(table, lease, true);
		staged_attach(table, lease, true);
	}
}

int attach_timeout_ms(const struct lease_table *table)
{
	int64_t left_ns = table->attach_ns - clock_now_ns();

	/* Without a lease nobody would try it. */
	if (!table->attach_ns || table->is_keeper_dead || !table->count)
		return -1;
	return left_ns <= 0 ? 0 : (int)((left_ns + 999999) / 1000000);
}
