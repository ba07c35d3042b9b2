/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine thread and its keeper say to each other about the leases, and
 * what becomes of them when the keeper dies. The engine thread's alone, but
 * talk_consent().
 */
#ifndef DAXMR_LEASE_LEASE_TALK_H
#define DAXMR_LEASE_LEASE_TALK_H

#include "lease_table.h"

/* For the first lease. 0, or -errno with a sentence. */
int talk_start_keeper(struct lease_table *table);

/*
 * Lays a lease before a keeper: for the first time, or what the last one made
 * of it. An error here is the keeper's death, which is heard next.
 */
void talk_ask(struct lease_table *table, struct lease *lease);

/* Never 0, nor that of a request before it. */
uint32_t talk_ticket(struct lease_table *table);

/*
 * A request of this kind is sent next, and it is its answer, and that of no
 * other, that ends the wait which follows. Its ticket. When the keeper dies it
 * is asked again, of the next one; where none has the lease any more the answer
 * is -ECONNRESET, but for what needs no keeper then.
 */
uint32_t talk_expect(struct lease_table *table, struct lease *lease,
		     enum keeper_kind kind);

/* lease->answer, where that is what is waited for. */
void talk_answer(struct lease *lease, uint32_t ticket, int error);

/* No keeper has the lease just now. */
void talk_answer_without(struct lease *lease);

/*
 * Until the keeper has answered, not so long that consents wait for it, and not
 * beyond until_ns: -ETIMEDOUT with a sentence, and lease->awaited is what it
 * was. table->is_keeper_silent then.
 */
int talk_wait_until(struct lease_table *table, struct lease *lease,
		    int64_t until_ns);

/* -ETIMEDOUT with the sentence of that. */
int talk_no_answer(const struct lease_table *table);

/* For what a keeper does at once: 10 s at most, then its answer is none. */
int talk_wait_for_answer(struct lease_table *table, struct lease *lease);

/*
 * Announces that blocks are allocated here; keeper_own_end() is due. 0, or as
 * talk_wait_for_answer(), and nothing is due.
 */
int talk_announce(struct lease_table *table, struct lease *lease);

/*
 * What lease->flush_ticket asks for. Of a lease one FLUSH is on its way at a
 * time: what is asked for meanwhile goes when that is answered.
 */
void talk_flush(struct lease_table *table, struct lease *lease);

/* The keeper has got a shadow that it did not have when it was asked. */
void talk_flush_again(struct lease_table *table, struct lease *lease);

/* The keeper knows lease->consent_ns; or as talk_wait_for_answer(). */
int talk_set_consent(struct lease_table *table, struct lease *lease);

/*
 * A descriptor of the lease's description in lease->fd, from the keeper, which
 * has one; recover_prepare() gives it up again. 0, or -errno with a sentence.
 */
int talk_fetch(struct lease_table *table, struct lease *lease);

/* Hears what comes next, for who waits for something; 200 ms at most. */
void talk_step(struct lease_table *table);

/* Messages that are there; starts another keeper if it is dead and time. */
void talk_hear(struct lease_table *table);

/* poll(2)'s timeout until talk_hear() has something to do by itself. */
int talk_timeout_ms(const struct lease_table *table);

/* Any thread: a consent, to be sent by the engine's. */
void talk_consent(struct lease_table *table, struct lease *lease);

/* Consents that were given meanwhile. */
void talk_send_consents(struct lease_table *table);

#endif
