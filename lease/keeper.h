/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program's side of its keeper (keeper_main.c): start it, talk to it, look
 * at the board. What they say is in keeper_proto.h.
 *
 * A struct keeper belongs to one thread; only keeper_state() may be called by
 * any. No signal handler, no child that wait() finds, all descriptors
 * close-on-exec.
 */
#ifndef DAXMR_LEASE_KEEPER_H
#define DAXMR_LEASE_KEEPER_H

#include <stdint.h>
#include <sys/types.h>

#include "board.h"
#include "extent_book.h"
#include "keeper_proto.h"
#include "policy.h"
#include "recall.h"
#include "unsent.h"

struct keeper {
	int socket; /* -1: none is running */
	int board_fd;
	pid_t pid; /* 0: none, or one that cannot be seen from here */
	struct board_slot *board;
	int received_fd;      /* came with the last message, or -1 */
	const char *listener; /* keepers come from there; NULL: from here */
	struct unsent unsent;
};

/* Makes the board; no keeper yet. 0, or -errno with a sentence. */
int keeper_init(struct keeper *keeper);

/*
 * Starts one (path: the executable), or has one started by keeper->listener
 * (keeper_connect.h), and waits until it is ready, 10 s at most.
 * Leases of one before are to be handed over by keeper_adopt(). 0, or -errno
 * with a sentence, and none is running.
 */
int keeper_start(struct keeper *keeper, const char *path);

/*
 * Closes the socket and the board: the keeper gives everything back and ends.
 * A board that is mapped stays so until then.
 */
void keeper_done(struct keeper *keeper);

/* Where a lease is asked for by keeper_acquire() and keeper_adopt(). */
struct keeper_request {
	uint32_t id; /* a slot of the board that no lease has */
	uint32_t ticket;
	int fd;	  /* the keeper gets a dup */
	int type; /* F_WRLCK, F_RDLCK */
	int64_t consent_ns;
	int64_t pause_min_ns; /* 0: as recall.h has them */
	int64_t pause_max_ns;
	unsigned int shadows; /* adopt: will be attached next */
	uint32_t flush_ms;    /* 0: on demand only */
	uint32_t flush_cpu;   /* 0: FLUSH_CPU */
	enum on_conflict on_conflict;
	enum on_shrink on_shrink;
};

/*
 * These send and do not wait for the answer, nor for room: what finds none is
 * kept and sent later, in its order. 0, or -errno: -EPIPE the keeper is dead.
 */
int keeper_acquire(struct keeper *keeper, const struct keeper_request *request);
int keeper_adopt(struct keeper *keeper, const struct keeper_request *request);
int keeper_release(struct keeper *keeper, uint32_t id, int64_t deadline_ns);
/* To the ASK with this deadline; to another that has come since it is none. */
int keeper_consent(struct keeper *keeper, uint32_t id, int64_t asked_ns);
/* How long a consent is waited for from the next break on. */
int keeper_ask(struct keeper *keeper, uint32_t id, int64_t consent_ns,
	       uint32_t ticket);

/*
 * Around a call of the program's own. The answer to begin is KEEPER_OWN_READY
 * with the same id, kind and ticket; the call is made after that. end has
 * begin's kind.
 */
int keeper_own_begin(struct keeper *keeper, uint32_t id, enum keeper_own kind,
		     uint32_t ticket);
int keeper_own_end(struct keeper *keeper, uint32_t id, enum keeper_own kind);

/*
 * Drops the flock and OFD locks of the leased description, for a program that
 * has none of it any more; no answer.
 */
int keeper_unlock(struct keeper *keeper, uint32_t id);

/* A range of the file that the keeper looks after. */
struct keeper_extent {
	uint32_t id;	 /* the lease's */
	uint32_t extent; /* its number among those of the lease */
	uint32_t ticket;
	uint64_t offset;
	uint64_t length;
	int shadow_fd; /* the keeper gets dups; both, or -1 */
	struct extent_place page;
};

/*
 * The answer to attach is KEEPER_ATTACHED, to detach KEEPER_DETACHED; where its
 * ticket is 0 there is none.
 */
int keeper_attach(struct keeper *keeper, const struct keeper_extent *extent);
int keeper_detach(struct keeper *keeper, uint32_t id, uint32_t extent,
		  uint32_t ticket);

/* A pass over all shadows of the file, now or when it is ours again. */
int keeper_flush(struct keeper *keeper, uint32_t id, uint32_t ticket);

/* What is in its shadows there becomes durable: KEEPER_PERSISTED. */
int keeper_persist(struct keeper *keeper, uint32_t id, uint64_t offset,
		   uint64_t end, uint32_t ticket);

/* A descriptor of the file: KEEPER_FETCHED, then keeper_received_fd(). */
int keeper_fetch(struct keeper *keeper, uint32_t id, uint32_t ticket);

/*
 * poll(2)'s events of keeper->socket: keeper_receive() has something to do, of
 * which the first is to send what is kept and has room.
 */
short keeper_events(const struct keeper *keeper);

/*
 * The next message; timeout_ms as poll(2). 0, or -errno: -ETIMEDOUT none came,
 * -EPIPE the keeper is dead, -EPROTO it speaks otherwise (*ret untouched).
 */
int keeper_receive(struct keeper *keeper, int timeout_ms,
		   struct keeper_message *ret);

/*
 * That came with the last message: the caller's from now on. -1: none came, or
 * there was no room for it.
 */
int keeper_received_fd(struct keeper *keeper);

/* What the keeper wrote last. */
enum recall_state keeper_state(const struct keeper *keeper, uint32_t id);
uint64_t keeper_reports(const struct keeper *keeper, uint32_t id);

#endif
