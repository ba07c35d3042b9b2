/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the keeper says to the program, which may read it late or never: nobody
 * waits for room in the socket. Answers that find none wait in line, as many as
 * the program asked for; of each file's reports the last one waits.
 */
#ifndef DAXMR_LEASE_OUTBOX_H
#define DAXMR_LEASE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "keeper_proto.h"

/* A file's last report that is not sent yet. */
struct outbox_slot {
	bool is_waiting;
	struct keeper_message report;
	struct outbox_slot *next;
	struct outbox_slot *previous;
};

struct outbox {
	int socket;
	struct keeper_message *answers;
	size_t answers_sent; /* of those, in front */
	size_t answers_end;
	size_t answers_room;
	struct outbox_slot *slots;
};

/* False: no memory to keep it, the conversation is at its end. */
bool outbox_answer(struct outbox *outbox, const struct keeper_message *answer);
/* Answers a message with its own content and an error. */
void outbox_refuse(struct outbox *outbox, const struct keeper_message *message,
		   uint32_t kind, int error);
void outbox_report(struct outbox *outbox, struct outbox_slot *slot,
		   const struct keeper_message *report);
/* Only if there is room now. */
void outbox_try(struct outbox *outbox, const struct keeper_message *message);

bool outbox_is_waiting(const struct outbox *outbox);
/* Sends what is waiting, while there is room; the slots that went to fn. */
void outbox_send(struct outbox *outbox, void (*fn)(struct outbox_slot *slot));
void outbox_forget(struct outbox *outbox, struct outbox_slot *slot);

#endif
