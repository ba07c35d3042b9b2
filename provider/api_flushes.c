/* SPDX-License-Identifier: BSD-2-Clause */
#include "api_flushes.h"
#include "quiet.h"
#include "recall.h"

void api_flushes_init(struct api_flushes *flushes)
{
	pthread_mutex_init(&flushes->lock, NULL);
}

void api_flushes_done(struct api_flushes *flushes)
{
	pthread_mutex_destroy(&flushes->lock);
}

void api_flushes_expect(struct api_flushes *flushes, uint32_t ticket,
			uint64_t calls)
{
	struct api_flush_calls *first = &flushes->first, *at = first;
	sigset_t signals;

	quiet_lock(&flushes->lock, &signals);
	if (first->count && recall_asked_after(ticket, first->ticket))
		at = &flushes->later;
	if (!at->count || recall_asked_after(ticket, at->ticket))
		at->ticket = ticket;
	at->count += calls;
	quiet_unlock(&flushes->lock, &signals);
}

/* The first ones, after which those that have come since are. */
static uint64_t pop_locked(struct api_flushes *flushes)
{
	uint64_t count = flushes->first.count;

	flushes->first = flushes->later;
	flushes->later = (struct api_flush_calls){0};
	return count;
}

uint64_t api_flushes_answered(struct api_flushes *flushes, uint32_t ticket)
{
	uint64_t count = 0;
	sigset_t signals;

	quiet_lock(&flushes->lock, &signals);
	while (flushes->first.count &&
	       recall_has_flushed(ticket, flushes->first.ticket))
		count += pop_locked(flushes);
	quiet_unlock(&flushes->lock, &signals);
	return count;
}

uint64_t api_flushes_forget(struct api_flushes *flushes)
{
	uint64_t count;
	sigset_t signals;

	quiet_lock(&flushes->lock, &signals);
	count = pop_locked(flushes);
	count += pop_locked(flushes);
	quiet_unlock(&flushes->lock, &signals);
	return count;
}
