/* SPDX-License-Identifier: BSD-2-Clause */
/* The program's own transfers and the engine's swaps take turns: own_gate.h. */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "lease_talk.h"
#include "own_gate.h"
#include "reason.h"

#define DRAIN_NS (10 * 1000000000LL)

static struct own_gate_desk *desk_of(struct lease_engine *engine)
{
	return &lease_engine_desk(engine)->gates;
}

static struct own_gate **head_of(struct own_gate_desk *desk, ino_t ino)
{
	return &desk->heads[ino % OWN_GATE_HEADS];
}

static struct own_gate *find_locked(struct own_gate_desk *desk, dev_t dev,
				    ino_t ino)
{
	struct own_gate *gate = *head_of(desk, ino);

	while (gate && (gate->lease->ino != ino || gate->lease->dev != dev))
		gate = gate->next;
	return gate;
}

static bool is_shut(const struct own_gate *gate)
{
	return gate->is_closed || gate->is_held;
}

int own_gate_enter(struct lease_engine *engine, dev_t dev, ino_t ino,
		   bool may_wait, struct own_gate **ret)
{
	struct own_gate_desk *desk = desk_of(engine);
	struct own_gate *gate;
	int r = 0;

	pthread_mutex_lock(&desk->lock);
	while ((gate = find_locked(desk, dev, ino)) && is_shut(gate) &&
	       may_wait)
		pthread_cond_wait(&desk->opened, &desk->lock);
	if (!gate)
		r = -ENOENT;
	else if (is_shut(gate))
		r = -EAGAIN;
	else
		gate->busy++;
	pthread_mutex_unlock(&desk->lock);
	if (!r)
		*ret = gate;
	return r;
}

void own_gate_leave(struct lease_engine *engine, struct own_gate *gate)
{
	struct own_gate_desk *desk = desk_of(engine);
	bool is_awaited;

	pthread_mutex_lock(&desk->lock);
	is_awaited = !--gate->busy && is_shut(gate);
	pthread_mutex_unlock(&desk->lock);
	if (is_awaited)
		lease_engine_wake(engine);
}

void own_gate_init(struct own_gate_desk *desk)
{
	pthread_mutex_init(&desk->lock, NULL);
	pthread_cond_init(&desk->opened, NULL);
}

void own_gate_add(struct lease_table *table, struct lease *lease)
{
	struct own_gate_desk *desk = &table->own.gates;
	struct own_gate **head = head_of(desk, lease->ino);
	struct own_gate *gate = &lease->gate;

	memset(gate, 0, sizeof(*gate));
	gate->lease = lease;
	gate->is_there = gate->is_closed = true;
	pthread_mutex_init(&gate->order, NULL);
	pthread_mutex_lock(&desk->lock);
	gate->next = *head;
	*head = gate;
	pthread_mutex_unlock(&desk->lock);
}

/* It is closed, and nobody inside. Who waits before it finds it gone. */
void own_gate_remove(struct lease_table *table, struct lease *lease)
{
	struct own_gate_desk *desk = &table->own.gates;
	struct own_gate **at = head_of(desk, lease->ino);

	pthread_mutex_lock(&desk->lock);
	while (*at != &lease->gate)
		at = &(*at)->next;
	*at = lease->gate.next;
	lease->gate.is_there = false;
	pthread_cond_broadcast(&desk->opened);
	pthread_mutex_unlock(&desk->lock);
	pthread_mutex_destroy(&lease->gate.order);
}

static unsigned int close_and_count(struct own_gate_desk *desk,
				    struct own_gate *gate)
{
	unsigned int busy;

	pthread_mutex_lock(&desk->lock);
	gate->is_closed = true;
	busy = gate->busy;
	pthread_mutex_unlock(&desk->lock);
	return busy;
}

int own_gate_close(struct lease_table *table, struct lease *lease)
{
	int64_t deadline_ns = clock_now_ns() + DRAIN_NS;

	if (!lease->gate.is_there)
		return 0;
	while (close_and_count(&table->own.gates, &lease->gate)) {
		if (clock_now_ns() > deadline_ns) {
			own_gate_open(table, lease);
			return reason_set(-ETIMEDOUT,
					  "a thread of this program has been "
					  "reading or writing the file for "
					  "%lld s (its buffer, or the file, on "
					  "a file system that is frozen?): try "
					  "again when that is over",
					  DRAIN_NS / 1000000000LL);
		}
		talk_step(table);
	}
	return 0;
}

void own_gate_open(struct lease_table *table, struct lease *lease)
{
	struct own_gate_desk *desk = &table->own.gates;

	if (!lease->gate.is_there)
		return;
	pthread_mutex_lock(&desk->lock);
	lease->gate.is_closed = false;
	pthread_cond_broadcast(&desk->opened);
	pthread_mutex_unlock(&desk->lock);
}

bool own_gate_hold(struct lease_table *table, struct lease *lease)
{
	struct own_gate_desk *desk = &table->own.gates;
	bool is_empty;

	if (!lease->gate.is_there)
		return true;
	pthread_mutex_lock(&desk->lock);
	lease->gate.is_held = true;
	is_empty = !lease->gate.busy;
	pthread_mutex_unlock(&desk->lock);
	return is_empty;
}

void own_gate_let_go(struct lease_table *table, struct lease *lease)
{
	struct own_gate_desk *desk = &table->own.gates;

	if (!lease->gate.is_there)
		return;
	pthread_mutex_lock(&desk->lock);
	lease->gate.is_held = false;
	pthread_cond_broadcast(&desk->opened);
	pthread_mutex_unlock(&desk->lock);
}
