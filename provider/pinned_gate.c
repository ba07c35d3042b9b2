/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gates of pinned regions: one for each PD, which all of its regions share
 * that are away. It is drained once, and opens with the last of them. A region
 * that comes back after its gate has opened closes one of its own for a moment:
 * what closes a gate waits for posts to end, and nobody's recall for that.
 */
#include <errno.h>
#include <stdlib.h>

#include "pinned_parts.h"

/* Under the lock. Added by the thread that MRs go by only. */
static struct pinned_gate *gates;

static uint64_t numbers; /* that were given; under the lock */

/*
 * Who has had this gate before has been told what was severed then, also where
 * it has been back by one of its own.
 */
static void enter_locked(struct pinned *pinned, struct pinned_gate *gate)
{
	if (pinned->told_at != gate->number)
		pinned->told_severed = 0;
	pinned->told_at = gate->number;
	pinned->gate = gate;
}

static bool enter_closed(struct pinned *pinned)
{
	struct pinned_gate *found;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	for (found = gates; found && found->pd != pinned->pd;)
		found = found->next;
	if (found) {
		found->users++;
		enter_locked(pinned, found);
	}
	pinned_lock_give(&locked);
	return found;
}

static void share(struct pinned *pinned)
{
	struct pinned_gate *gate = pinned->gate;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	gate->number = ++numbers;
	gate->next = gates;
	gates = gate;
	enter_locked(pinned, gate);
	pinned_lock_give(&locked);
}

int pinned_gate_close_alone(struct pinned *pinned, int64_t until_ns)
{
	struct pinned_gate *gate;
	int r;

	if (pinned->gate)
		return 0;
	gate = calloc(1, sizeof(*gate));
	if (!gate)
		return -ENOMEM;
	r = gate_close(pinned->pd, until_ns, &gate->gate);
	if (r && r != -ETIMEDOUT) {
		free(gate);
		return r;
	}
	gate->pd = pinned->pd;
	gate->is_entered = r;
	gate->users = 1;
	pinned->gate = gate;
	return 0;
}

int pinned_gate_close(struct pinned *pinned, int64_t until_ns)
{
	int r;

	if (pinned->gate || enter_closed(pinned))
		return 0;
	r = pinned_gate_close_alone(pinned, until_ns);
	if (!r)
		share(pinned);
	return r;
}

void pinned_gate_open(struct pinned *pinned)
{
	struct pinned_gate *gate = pinned->gate, **at = &gates;
	bool is_last;
	struct pinned_locked locked;

	if (!gate)
		return;
	pinned->gate = NULL;
	pinned_lock_take(&locked);
	is_last = !--gate->users;
	while (is_last && *at && *at != gate)
		at = &(*at)->next;
	if (is_last && *at)
		*at = gate->next;
	pinned_lock_give(&locked);
	if (!is_last)
		return;
	gate_open(gate->gate);
	free(gate);
}

unsigned int pinned_gate_sever(struct pinned_gate *gate, bool all)
{
	unsigned int severed = (unsigned int)gate_sever(gate->gate, all);
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	gate->severed += severed;
	pinned_lock_give(&locked);
	pinned_disconnect_soon();
	return severed;
}

unsigned int pinned_gate_news(struct pinned *pinned)
{
	struct pinned_gate *gate = pinned->gate;
	unsigned int news, *told;
	struct pinned_locked locked;

	if (!gate)
		return 0;
	pinned_lock_take(&locked);
	told = gate->number ? &pinned->told_severed : &gate->told;
	news = gate->severed - *told;
	*told = gate->severed;
	pinned_lock_give(&locked);
	return news;
}

/* They are the parent's, and open here. */
void pinned_gate_forget_all(void)
{
	gates = NULL;
}
