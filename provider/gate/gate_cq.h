/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CQs that a drain takes completions from. What it took waits in the record,
 * and the program's ibv_poll_cq() gets it first. Markers are for nobody but us:
 * whoever reaps one, program or drain, strikes it off here.
 *
 * Lock order: the one of gate_mark.h, then a record's. A record's is held while
 * the CQ is polled, so that no completion is on its way between two threads and
 * their order stays.
 */
#ifndef DAXMR_GATE_CQ_H
#define DAXMR_GATE_CQ_H

#include <pthread.h>

#include "gate.h"

struct gate_cq_ex;

struct gate_marker {
	bool is_done; /* reaped */
	bool is_left; /* nobody waits for it: the record frees it */
	uint32_t qp_num;
	struct gate_marker *next;
};

enum gate_cq_kind {
	GATE_CQ_UNKNOWN,
	GATE_CQ_PLAIN, /* read by ibv_poll_cq() alone */
	GATE_CQ_READ,  /* extended, and read through ours */
	GATE_CQ_OWN    /* extended, and left as it is */
};

struct gate_cq {
	struct ibv_cq *cq;
	struct ibv_context *context;
	/* With the lock of gate_mark.h; kind never changes once known. */
	unsigned int refs;
	enum gate_cq_kind kind;
	pthread_mutex_t lock;
	bool is_going;	 /* ibv_destroy_cq() has begun */
	bool is_touched; /* a marker was to come there, or we took something */
	unsigned int directs; /* how often the program got at its ring */
	/* posted, and not seen yet; their addresses are their wr_ids */
	struct gate_marker *markers;
	/* cqe before gate_cq_widen() made it larger, and after (0: never). */
	int narrow, wide;
	struct ibv_wc *kept; /* first at first, count of them, room for more */
	size_t first, count, room;
	struct gate_cq_ex *ex; /* NULL: not GATE_CQ_READ (gate_cq_ex.h) */
	struct gate_cq *next;
};

typedef int (*gate_poll_cq_fn)(struct ibv_cq *cq, int count, struct ibv_wc *wc);

/* The function that stands for the provider's, and the other way. */
gate_poll_cq_fn gate_poll_cq_for_locked(gate_poll_cq_fn original);
gate_poll_cq_fn gate_poll_cq_original(gate_poll_cq_fn ours);

/* The CQ's record; NULL: it has none. */
struct gate_cq *gate_cq_find_locked(const struct ibv_cq *cq);

/* Grows when a record is not found any more. */
uint64_t gate_cq_unlinked(void);

/* The CQ's record, made if need be, with a reference. NULL: no memory. */
struct gate_cq *gate_cq_get(struct ibv_cq *cq);
struct gate_cq *gate_cq_ref_locked(struct gate_cq *record);
void gate_cq_put(struct gate_cq *record);

/*
 * Before the marker is posted; and when nobody waits for it any more. It is
 * freed, or, if it was posted and may come yet, kept out of the program's sight
 * until it comes. False: the program reads the CQ's ring itself, and it must
 * not be posted.
 */
bool gate_cq_expect(struct gate_cq *record, struct gate_marker *marker);
void gate_cq_unexpect(struct gate_cq *record, struct gate_marker *marker,
		      bool was_posted);

/* How many markers may still come. */
long gate_cq_expected(struct gate_cq *record);

/*
 * Room for so many beside all that it has for the program, which may use all of
 * that: made larger once, and again when there are more, or the program itself
 * has changed its size. False: the device does not.
 */
bool gate_cq_widen(struct gate_cq *record, const struct gate_verbs *verbs,
		   long markers);

/*
 * Takes what is in the CQ. 0; -ENOMEM: some is left in it; -EBUSY: all is, the
 * program reads its ring itself.
 */
int gate_cq_reap(struct gate_cq *record);

/* For gate_direct.h, likewise. */
int gate_cq_direct_begin(struct ibv_cq *cq);
void gate_cq_direct_undo(struct ibv_cq *cq);
bool gate_cq_is_direct(struct gate_cq *record);

/* For ibv_poll_cq(). is_idle: nothing is kept, nothing expected. */
int gate_cq_poll(struct gate_cq *record, gate_poll_cq_fn original, int count,
		 struct ibv_wc *wc, bool *ret_is_idle);

/* Whether the marker was seen, or never will be: the CQ is gone. */
bool gate_cq_has_seen(struct gate_cq *record, const struct gate_marker *marker);

/* After a QP was reset or destroyed: what was taken of it goes. */
void gate_cq_drop(const struct ibv_context *context, uint32_t qp_num);

/* Whether some record has something to give, or to hold back. */
bool gate_cq_are_busy_locked(void);

/* The context is closed. */
void gate_cq_forget_locked(const struct ibv_context *context);

#endif
