/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What program and keeper say to each other: messages of one size over a
 * SOCK_SEQPACKET socketpair, descriptors by SCM_RIGHTS. A request has a ticket
 * of the program's choice, and its answer the same: of many answers that are
 * alike it is the one to that request. 0: nobody waits for it in particular.
 *
 *   program                                   keeper
 *      |  (starts it)                            |
 *      |  HELLO, pidfd, board ---------------->  |  only to one that listens
 *      |  <------------------------- READY error |  with its pid, or refused
 *      |  ACQUIRE id, file ------------------->  |
 *      |  <--------------- REPORT (FREE to HELD) |
 *      |  <---------------------- ACQUIRED error |
 *      |  ADOPT id, file --------------------->  |  of a keeper that died
 *      |  <---------------------- ACQUIRED error |
 *      |  <------------------------------ REPORT |  each change, with times
 *      |  <--------------------- ASK, a deadline |  may the file go?
 *      |  CONSENT, that deadline ------------->  |
 *      |  CONSENT_NS id, a time ------------->  |  from the next break on
 *      |  <-------------------- CONSENT_NS error |
 *      |  OWN_BEGIN id, what ---------------->  |  before a call of its own
 *      |  <--------------------- OWN_READY error |  now it may be made
 *      |  OWN_END id, what ------------------>  |  and has been
 *      |  ATTACH id, extent, shadow, book ---->  |
 *      |  <---------------------- ATTACHED error |
 *      |  DETACH id, extent ----------------->  |
 *      |  <---------------------- DETACHED error |  if it has a ticket
 *      |  FLUSH id, ticket ------------------>  |
 *      |  <-------- REPORT (RECALL_WRITTEN, ...) |  if it is ours; or later
 *      |  PERSIST id, range ----------------->  |  a part of it, also while
 *      |  <--------------------- PERSISTED error |  others have the file
 *      |  UNLOCK id -------------------------->  |  flock and OFD locks
 *      |  FETCH id -------------------------->  |
 *      |  <------------------ FETCHED error, file |
 *      |  RELEASE id, a deadline ------------->  |
 *      |  <------------------ REPORT (..., FREE) |  the id is free again
 *      |  (closes the socket, or dies)           |  gives all back, ends
 *
 * Calls of the program's own on a leased file (enum keeper_own). An open breaks
 * the lease whoever makes it: the file is handed back before, and not retaken
 * until the program is through, though several threads may be at it. A change
 * leaves the lease: what inotify tells between OWN_READY and OWN_END is not
 * taken for somebody else's doing, and where there are shadows nothing is
 * flushed (leased.h). Each OWN_BEGIN is answered once, by
 * OWN_READY of the same id and kind; error: what could not be written (-ENOSPC,
 * -ETIMEDOUT), the file is handed back all the same; -ESRCH there is no such
 * lease. An OWN_END without its OWN_BEGIN (of a keeper that died) means
 * nothing.
 *
 * After DETACHED the keeper neither reads nor writes the extent's shadow and
 * page. It does nothing else for a DETACH: who wants it flushed has that done
 * before. One with a ticket that the program has taken back (extent_page.h)
 * changes nothing, and is answered with -ECANCELED.
 *
 * FLUSH has tickets that grow. RECALL_WRITTEN and RECALL_FLUSHED have that of
 * the last FLUSH that was heard before the pass began which they are the end
 * of: what was in the shadows when that was sent is in the file. Of FLUSH that
 * a keeper that died has not answered so the next one hears again.
 *
 * What was in the shadows of a range before PERSIST was sent is in the file and
 * durable when PERSISTED comes, with its ticket and error 0; -EBUSY: others
 * have the file, and have changed blocks of it that are to be stored. One that
 * comes before the answer to another takes that one's range with it, and the
 * answer has the ticket of the last.
 *
 * The engine allocates ranges itself, which inotify tells too: that is an own
 * change that ACQUIRE has begun.
 *
 * An extent is a range of the file that the program has registered: its blocks
 * are allocated again whenever others have had the file. With two descriptors,
 * the shadow and where its page is (extent_book.h), what differs goes into the
 * file before it is handed back. What was attached to a keeper that died has to
 * be attached again: until as many shadows are as ADOPT has announced the file
 * is not handed back, though somebody waits.
 *
 * The keeper never waits for the program: reports that find the socket full are
 * sent when there is room, and where they are too many some are added to later
 * ones (outbox.h); `generation` counts them all. A message of another size or
 * version ends the conversation.
 */
#ifndef DAXMR_LEASE_KEEPER_PROTO_H
#define DAXMR_LEASE_KEEPER_PROTO_H

#include <stdint.h>

#define KEEPER_VERSION 14

/* Of the process. */
#define KEEPER_NAME "daxmr-keeper"

/* Descriptors that the keeper is started with. */
enum keeper_fd {
	KEEPER_SOCKET_FD = 3,
	KEEPER_PIDFD_FD, /* of the program */
	KEEPER_BOARD_FD, /* board.h */
	KEEPER_FDS_END
};

enum keeper_kind {
	KEEPER_READY = 1,
	KEEPER_HELLO,
	KEEPER_ACQUIRE,
	KEEPER_ADOPT,
	KEEPER_ACQUIRED,
	KEEPER_REPORT,
	KEEPER_ASK,
	KEEPER_CONSENT,
	KEEPER_RELEASE,
	KEEPER_OWN_BEGIN,
	KEEPER_OWN_READY,
	KEEPER_OWN_END,
	KEEPER_ATTACH,
	KEEPER_ATTACHED,
	KEEPER_DETACH,
	KEEPER_FLUSH,
	KEEPER_UNLOCK,
	KEEPER_FETCH,
	KEEPER_FETCHED,
	KEEPER_PERSIST,
	KEEPER_PERSISTED,
	KEEPER_CONSENT_NS,
	KEEPER_DETACHED,
};

/* What the program is about to do itself. */
enum keeper_own {
	KEEPER_OWN_OPEN,      /* open, for writing or with O_TRUNC */
	KEEPER_OWN_OPEN_READ, /* open for reading: breaks no read lease */
	KEEPER_OWN_WRITE,     /* write to it, nothing of what has a shadow */
	KEEPER_OWN_CHANGE,   /* change size or blocks through the description */
	KEEPER_OWN_ALLOCATE, /* the engine's; ACQUIRE has begun one */
	KEEPER_OWNS
};

/* Descriptors of a message, at most: ATTACH's shadow and book. */
#define KEEPER_MESSAGE_FDS 2

struct keeper_message {
	uint16_t version;
	uint16_t kind;	 /* enum keeper_kind */
	uint32_t ticket; /* of a request; its answer's; REPORT: FLUSH's */
	uint32_t id;
	/* READY, ACQUIRED, REPORT, OWN_READY, ATTACHED, FETCHED, PERSISTED:
	 * -errno or 0 */
	int32_t error;
	union {
		int32_t pid;	     /* READY */
		int64_t deadline_ns; /* ASK, CONSENT to it, RELEASE */
		int64_t consent_ns;  /* CONSENT_NS, beside it; 0: ask no more */
		int32_t fd;	     /* FETCHED: the keeper's, sent along */
		struct {
			int64_t consent_ns;
			int64_t pause_min_ns;
			int64_t pause_max_ns;
			int32_t type;	  /* F_WRLCK, F_RDLCK */
			uint32_t shadows; /* ADOPT: are attached next */
			uint32_t flush_ms;
			uint8_t flush_cpu;   /* percent */
			uint8_t on_conflict; /* enum on_conflict */
			uint8_t on_shrink;   /* enum on_shrink */
		} acquire;		     /* ACQUIRE, ADOPT */
		struct {
			int64_t at_ns;
			int64_t spent_ns;
			uint64_t generation;
			uint32_t from;
			uint32_t to;
			uint32_t cause;
			uint32_t theirs; /* RECALL_MERGED, _RELEASED */
			uint32_t conflicts;
			uint32_t beyond; /* RECALL_SHRUNK, _GROWN, _DROPPED */
		} report;
		uint32_t own; /* OWN_BEGIN, OWN_READY, OWN_END */
		struct {
			uint64_t offset; /* both of whole pages */
			uint64_t length;
			uint64_t page_at; /* ATTACH: in its book */
			uint32_t id;	  /* the program's number for it */
		} extent; /* ATTACH, ATTACHED, DETACH: only its id */
		struct {
			uint64_t offset; /* of the file */
			uint64_t end;
		} persist;
		char room[48];
	};
};

_Static_assert(sizeof(struct keeper_message) == 64, "of one size");

#endif
