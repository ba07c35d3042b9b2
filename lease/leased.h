/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One leased file in the keeper: the table of recall.h on the kernel's lease,
 * the board and the socket.
 */
#ifndef DAXMR_LEASE_LEASED_H
#define DAXMR_LEASE_LEASED_H

#include <signal.h>
#include <stdbool.h>

#include "board.h"
#include "keeper_proto.h"
#include "recall.h"

/*
 * Breaks are told by this signal; when the queue is full the kernel sends SIGIO
 * in its place.
 */
#define LEASED_SIGNAL SIGRTMIN

/* What all files of a keeper share. */
struct leased_shared {
	int socket;
	int inotify;	/* -1: none to be had, pauses will do */
	int break_time; /* /proc/sys/fs/lease-break-time, or -1 */
	struct board_slot *board;
	struct leased *active; /* the list of those with something due */
	unsigned int unsent;   /* files with something in `unsent` */
};

/* One message of each kind can wait for room in the socket. */
enum leased_unsent {
	UNSENT_ANSWER,
	UNSENT_REPORT,
	UNSENT_KINDS
};

struct leased {
	struct leased_shared *shared;
	struct recall recall;
	uint32_t id;
	int fd;
	int type;
	int watch; /* inotify, while it is not ours; or -1 */
	int64_t due_ns;
	bool is_active;
	struct leased *next;
	struct leased *previous;
	bool has_report; /* of the step that is being done */
	struct keeper_message report;
	unsigned int unsent; /* bits of enum leased_unsent */
	struct keeper_message waiting[UNSENT_KINDS];
};

/*
 * Takes the lease as `message` (ACQUIRE, ADOPT) says and answers it. fd is the
 * file's from then on. NULL: it was refused, and fd closed.
 */
struct leased *leased_new(struct leased_shared *shared,
			  const struct keeper_message *message, int fd);
void leased_free(struct leased *leased);

/* A signal came for it. False: not for this file, nothing breaks it. */
bool leased_break_heard(struct leased *leased);
/* A break may have come. */
void leased_look(struct leased *leased);
void leased_consent(struct leased *leased);
void leased_opener_gone(struct leased *leased);
void leased_release(struct leased *leased, int64_t deadline_ns);
/* Does what is due; the file may be FREE then. */
void leased_run(struct leased *leased);
/* Sends what found the socket full. False: it is full again. */
bool leased_send_waiting(struct leased *leased);

int64_t leased_now(void);

#endif
