/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One leased file in the keeper: the table of recall.h on the kernel's lease,
 * the board, the registered ranges and the socket.
 *
 * Unannounced changes. While the file is ours its watch is armed (IN_MODIFY).
 * News of a change that the program has not announced is a change by others;
 * news while a pass of the merge or a flush is under way, which may be of the
 * keeper's own making, is a reason for one more pass of the merge. After a
 * change the watch rests, so that a program that writes its file at full speed
 * does not keep the keeper busy: for REST_MIN, twice that if it goes on, up to
 * REST_MAX, and for a multiple of what the pass took. Then it is armed again
 * and the file settled silently: what happened meanwhile is made good and not
 * told. What inotify does not tell of (stores through a child's mapping) the
 * flush finds: it leaves it alone, and that is a change by others as well.
 *
 * What the engine allocates for a region more changes nothing. News of it may
 * hide somebody else's: all is settled for that, but not for each region anew,
 * of which there may be thousands: once, LATE after the first.
 *
 * Write-back. All files of a keeper share its part of one CPU (flush_cpu): when
 * SPENT of it has been used up, whoever has a pass under way or wants to begin
 * one leaves the CPU alone for as long as makes it that part. So a pass that
 * costs more than its part takes longer, and the next one comes later.
 *
 * Haste. Who opens the file waits for its flush: when that takes longer than
 * HURRY_NS the keeper goes before others (haste.h) until the file is given
 * back. Nobody waits for a write-back or a merge, for which it does not.
 *
 * A change of the program's own is two steps where the file has shadows: the
 * file is changed, and the shadow follows (own_change.h). Between the two
 * nothing is flushed or merged, or the shadow's old bytes would go over what
 * has just been punched or cut off. Who waits for the file waits for that, too;
 * CHANGE_NS at most, and what is flushed then is made good when the shadow has
 * followed.
 */
#ifndef DAXMR_LEASE_LEASED_H
#define DAXMR_LEASE_LEASED_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "board.h"
#include "due.h"
#include "extents.h"
#include "keeper_proto.h"
#include "outbox.h"
#include "recall.h"
#include "setlease.h"
#include "watch.h"

/*
 * Breaks are told by this signal; when the queue is full the kernel sends SIGIO
 * in its place.
 */
#define LEASED_SIGNAL SIGRTMIN

/* What all files of a keeper share. */
struct leased_shared {
	struct outbox outbox;
	struct watches watches;
	struct due due;
	struct setlease_info info;
	int break_time; /* /proc/sys/fs/lease-break-time, or -1 */
	struct board_slot *board;
	/* No write-back before; spent on them since, of the keeper's CPU. */
	int64_t write_back_ns;
	int64_t write_back_spent_ns;
	struct leased *hurried; /* for which the keeper is in haste */
	bool is_unwatched_told;
	bool is_broken; /* the conversation cannot go on */
};

/* An OWN_BEGIN that is not answered yet. */
struct leased_waiting {
	enum keeper_own kind;
	uint32_t ticket;
};

struct leased {
	struct leased_shared *shared;
	struct recall recall;
	struct extents extents;
	uint32_t id;
	int fd;
	int type;
	struct due_entry due;
	struct outbox_slot slot;
	bool has_report; /* of the step that is being done */
	struct keeper_message report;
	int64_t looked_ns;	/* when it was last seen to be ours */
	int64_t quiet_ns;	/* and not to be broken, or before that */
	unsigned int flush_cpu; /* percent */
	bool has_written_back;	/* in this step */

	bool is_lent_to_readers; /* YIELDED: as far as it is known */
	bool is_writing_through; /* a pass is under way */
	/* FLUSH: of the last, and of the last that the pass goes for. */
	uint32_t flush_ticket;
	uint32_t pass_ticket;
	/* A part of it that is to be durable; its ticket. */
	bool is_persisting;
	uint32_t persist_ticket;
	uint64_t persist_offset;
	uint64_t persist_end;

	struct watch watch;
	int unwatched_error; /* still to be told */
	bool has_news;	     /* since the pass began */
	bool has_met_others; /* the flush did, and it is still to be told */
	bool has_own_news;   /* while the engine was allocating */
	int64_t settle_ns;   /* when all is settled for that; 0: it need not */
	int passes;	     /* that news has made */
	bool is_resting;
	int64_t rest_ns;
	int64_t rest_until_ns; /* RECALL_NEVER: while a pass is under way */
	int64_t armed_ns;

	bool is_orphan;
	unsigned int shadows_due;     /* to be attached, after ADOPT */
	unsigned int at[KEEPER_OWNS]; /* that the program is at */
	int64_t change_ns; /* since when a change is waited for; 0: it isn't */
	struct leased_waiting *waiting; /* for OWN_READY */
	unsigned int waiting_count;
	unsigned int waiting_room;
	int own_error;
	off_t own_size; /* before its changes; -1: nobody knows */
};

/*
 * Takes the lease as `message` (ACQUIRE, ADOPT) says and answers it. fd is the
 * file's from then on. NULL: it was refused, and fd closed.
 */
struct leased *leased_new(struct leased_shared *shared,
			  const struct keeper_message *message, int fd);
void leased_free(struct leased *leased);

/* A signal came for it; nothing where nothing breaks it. */
void leased_break_heard(struct leased *leased);
/* A break may have come. */
void leased_look(struct leased *leased);
/* To what was asked with this deadline. */
void leased_consent(struct leased *leased, int64_t asked_ns);
/* The caller has read the watches before both. */
void leased_own_begin(struct leased *leased, enum keeper_own kind,
		      uint32_t ticket);
void leased_own_end(struct leased *leased, enum keeper_own kind);
/* Answered; the descriptors stay the caller's. */
void leased_attach(struct leased *leased, const struct keeper_message *message,
		   const int *fds);
/* 0, or -ECANCELED: extents_let_go(). */
int leased_detach(struct leased *leased, uint32_t extent, uint32_t ticket);
/* Drops flock and OFD locks of the description. */
void leased_unlock(struct leased *leased);
/* Of who only wants it flushed the ticket is the last one again. */
void leased_flush_now(struct leased *leased, uint32_t ticket);
/* Answered when it is done. */
void leased_persist(struct leased *leased,
		    const struct keeper_message *message);
/* Answered with the descriptor. */
void leased_fetch(struct leased *leased, uint32_t ticket);
/* There is nobody any more who is at anything. */
void leased_owner_gone(struct leased *leased);
void leased_release(struct leased *leased, int64_t deadline_ns);
/* News was lost: any may have come. */
void leased_news_lost(struct leased *leased);
void leased_watch_told(struct watch *watch, uint32_t mask);
/* Does what is due; the file may be FREE then. */
void leased_run(struct leased *leased);

struct leased *leased_of_due(struct due_entry *entry);
struct leased *leased_of_slot(struct outbox_slot *slot);

#endif
