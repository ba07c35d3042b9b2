/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the keeper says to the program, which may read it late or never: nobody
 * waits for room in the socket. Answers that find none wait in line, as many as
 * the program asked for. Of each file OUTBOX_REPORTS reports wait, in order;
 * when there are more, the oldest that has a later one of its kind (cause, and
 * error if that can be) is added to that: its blocks count there, and it itself
 * is missing in the line, as `generation` tells. So a program that was stopped
 * for an hour hears of everything that has happened, and of the end in detail.
 * What it was asked meanwhile (ASK) stands in the same line, where it was
 * asked: a program whose consent has not been waited for hears so from what
 * follows.
 */
#ifndef DAXMR_LEASE_OUTBOX_H
#define DAXMR_LEASE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "keeper_proto.h"
#include "recall.h"

/* Two of one kind are among any that are more than there are causes, and ASK.
 */
#define OUTBOX_REPORTS 32
_Static_assert(OUTBOX_REPORTS > RECALL_CAUSES, "one is in the line already");

/* A file's reports that are not sent yet. */
struct outbox_slot {
	bool is_waiting;
	unsigned int count;
	unsigned int room;
	struct keeper_message *reports;
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
/* REPORT, or ASK, which has its place in their line. */
void outbox_report(struct outbox *outbox, struct outbox_slot *slot,
		   const struct keeper_message *report);
bool outbox_is_waiting(const struct outbox *outbox);
/* Sends what is waiting, while there is room; the slots that are through to fn.
 */
void outbox_send(struct outbox *outbox, void (*fn)(struct outbox_slot *slot));
void outbox_forget(struct outbox *outbox, struct outbox_slot *slot);

#endif
