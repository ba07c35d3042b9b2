/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages to the program: outbox.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "outbox.h"

/*
 * False where there is no room; a program that is gone has all the room. What
 * FETCHED sends along may be another file by the time when there is room: who
 * gets it looks.
 */
static bool sent(struct outbox *outbox, const struct keeper_message *message)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)message, sizeof(*message)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (message->kind == KEEPER_FETCHED && !message->error) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &message->fd, sizeof(int));
	}
	if (sendmsg(outbox->socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	/* Not to be passed on for now, or not there any more. */
	if (msg.msg_control && (errno == ETOOMANYREFS || errno == EBADF)) {
		struct keeper_message refused = *message;

		refused.error = -errno;
		return sent(outbox, &refused);
	}
	/* Without memory it is tried again; else there is nobody any more. */
	return errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM;
}

bool outbox_answer(struct outbox *outbox, const struct keeper_message *answer)
{
	struct keeper_message *more;

	if (!outbox->answers_end && sent(outbox, answer))
		return true;
	if (outbox->answers_end == outbox->answers_room) {
		more = reallocarray(outbox->answers,
				    2 * outbox->answers_room + 16,
				    sizeof(*more));
		if (!more)
			return false;
		outbox->answers = more;
		outbox->answers_room = 2 * outbox->answers_room + 16;
	}
	outbox->answers[outbox->answers_end++] = *answer;
	return true;
}

void outbox_refuse(struct outbox *outbox, const struct keeper_message *message,
		   uint32_t kind, int error)
{
	struct keeper_message answer = *message;

	answer.kind = kind;
	answer.error = error;
	outbox_answer(outbox, &answer);
}

static bool has_same_cause(const struct keeper_message *one,
			   const struct keeper_message *other)
{
	return one->kind == other->kind &&
	       (one->kind == KEEPER_ASK ||
		one->report.cause == other->report.cause);
}

static bool is_alike(const struct keeper_message *one,
		     const struct keeper_message *other)
{
	return has_same_cause(one, other) && one->error == other->error;
}

static void add_count(uint32_t *to, uint32_t count)
{
	*to = count > UINT32_MAX - *to ? UINT32_MAX : *to + count;
}

static void add_counts(struct keeper_message *to,
		       const struct keeper_message *from)
{
	add_count(&to->report.theirs, from->report.theirs);
	add_count(&to->report.conflicts, from->report.conflicts);
	add_count(&to->report.beyond, from->report.beyond);
}

static void take_out(struct outbox_slot *slot, unsigned int at)
{
	slot->count--;
	memmove(&slot->reports[at], &slot->reports[at + 1],
		(slot->count - at) * sizeof(slot->reports[0]));
}

/* The oldest that goes with a later one, or with `last`. False: there is none.
 */
static bool fold(struct outbox_slot *slot, struct keeper_message *last,
		 bool (*goes_with)(const struct keeper_message *one,
				   const struct keeper_message *other))
{
	for (unsigned int i = 0; i < slot->count; i++) {
		struct keeper_message *old = &slot->reports[i], *to = last;

		for (unsigned int j = slot->count - 1; j > i; j--)
			if (goes_with(&slot->reports[j], old))
				to = &slot->reports[j];
		if (!goes_with(to, old))
			continue;
		if (old->kind == KEEPER_REPORT)
			add_counts(to, old);
		take_out(slot, i);
		return true;
	}
	return false;
}

static bool has_room(struct outbox_slot *slot)
{
	unsigned int room = slot->room ? 2 * slot->room : 4;
	struct keeper_message *more;

	if (slot->count < slot->room)
		return true;
	if (slot->room == OUTBOX_REPORTS)
		return false;
	more = reallocarray(slot->reports, room, sizeof(*more));
	if (!more)
		return false;
	slot->reports = more;
	slot->room = room;
	return true;
}

/* With no memory at all it may be that nothing is alike: the oldest goes. */
static void keep(struct outbox_slot *slot, const struct keeper_message *report)
{
	struct keeper_message last = *report;

	if (!has_room(slot) && !fold(slot, &last, is_alike) &&
	    !fold(slot, &last, has_same_cause)) {
		if (!slot->count)
			return;
		take_out(slot, 0);
	}
	slot->reports[slot->count++] = last;
}

void outbox_report(struct outbox *outbox, struct outbox_slot *slot,
		   const struct keeper_message *report)
{
	if (!slot->is_waiting && !outbox->answers_end && sent(outbox, report))
		return;
	keep(slot, report);
	if (slot->is_waiting)
		return;
	slot->is_waiting = true;
	slot->previous = NULL;
	slot->next = outbox->slots;
	if (slot->next)
		slot->next->previous = slot;
	outbox->slots = slot;
}

bool outbox_is_waiting(const struct outbox *outbox)
{
	return outbox->answers_end || outbox->slots;
}

void outbox_forget(struct outbox *outbox, struct outbox_slot *slot)
{
	if (!slot->is_waiting)
		return;
	free(slot->reports);
	slot->reports = NULL;
	slot->count = slot->room = 0;
	slot->is_waiting = false;
	if (slot->next)
		slot->next->previous = slot->previous;
	if (slot->previous)
		slot->previous->next = slot->next;
	else
		outbox->slots = slot->next;
}

void outbox_send(struct outbox *outbox, void (*fn)(struct outbox_slot *slot))
{
	while (outbox->answers_sent < outbox->answers_end) {
		if (!sent(outbox, &outbox->answers[outbox->answers_sent]))
			return;
		outbox->answers_sent++;
	}
	outbox->answers_sent = outbox->answers_end = 0;
	while (outbox->slots) {
		struct outbox_slot *slot = outbox->slots;

		while (slot->count) {
			if (!sent(outbox, &slot->reports[0]))
				return;
			take_out(slot, 0);
		}
		outbox_forget(outbox, slot);
		fn(slot);
	}
}
