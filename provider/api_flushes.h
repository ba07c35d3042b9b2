/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DAXMR_FLUSH_NOWAIT of a region: calls that are not answered yet.
 *
 * Their tickets (lease_flush_ticket()) grow. An answer is for a ticket and all
 * before it, so two numbers of calls are enough: those that wait for the first
 * ticket, which stays until it is answered however many come after it, and all
 * that have come since. Who calls all the time is told again and again.
 *
 * One lock of its own, held across nothing, and without signals: the engine's
 * thread takes it.
 */
#ifndef DAXMR_API_FLUSHES_H
#define DAXMR_API_FLUSHES_H

#include <pthread.h>
#include <stdint.h>

struct api_flushes {
	pthread_mutex_t lock;
	struct api_flush_calls {
		uint32_t ticket; /* of the last of them */
		uint64_t count;
	} first, later;
};

void api_flushes_init(struct api_flushes *flushes);
void api_flushes_done(struct api_flushes *flushes);

/* Before it can be answered. Tickets of several threads may come in any order.
 */
void api_flushes_expect(struct api_flushes *flushes, uint32_t ticket,
			uint64_t calls);

/* This ticket has been, and all before it: how many calls that answers. */
uint64_t api_flushes_answered(struct api_flushes *flushes, uint32_t ticket);

/* None is expected any more: how many were. */
uint64_t api_flushes_forget(struct api_flushes *flushes);

#endif
