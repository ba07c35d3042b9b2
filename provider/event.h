/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Channels and their events (daxmr.h).
 *
 *   engine's thread --> event_post() --> a region's node of that kind
 *                                          |  linked at the queue's end
 *   daxmr_event_get() <-- the queue <------+
 *
 * Each region (a source here) has one node of each kind: nothing is allocated
 * when something happens, and no kind can be lost. What happens while its node
 * is queued is added to it, and the node goes to the queue's end; what happens
 * while the program has it, from get to ack, is kept apart and queued at the
 * ack.
 *
 * The descriptor is an eventfd. The engine's thread has a table of descriptors
 * of its own: it signals by a dup there (lease_lend()), so that whatever the
 * program does to its own table is nothing to us.
 */
#ifndef DAXMR_EVENT_H
#define DAXMR_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "daxmr.h"

struct lease_engine;

/* What is added to an event. */
struct event_fact {
	enum daxmr_who who;
	uint64_t blocks;
	int64_t at_ns;
	int64_t deadline_ns;
	int error;
	uint64_t more; /* so often beside the once */
};

struct event_source;

struct event_node {
	struct daxmr_event event; /* the program's, while it is out */
	struct event_source *source;
	struct event_fact fact; /* not seen by anybody yet, */
	uint64_t count;		/* so often */
	uint64_t asked;		/* RECALL: source->asked when it was read */
	bool is_queued;
	bool is_out;
	struct event_node *previous;
	struct event_node *next;
};

struct event_source {
	int pid;
	struct daxmr_channel *channel; /* NULL: nobody wants to know */
	unsigned int out;	       /* events that the program has */
	bool is_done;
	/* It is done, and no event is out any more. */
	void (*free)(struct event_source *source);
	/* How often it was asked for a consent; counted by event_asked(). */
	uint64_t asked;
	uint64_t acked;	       /* so many of them are agreed to */
	unsigned int agreeing; /* threads in agreed() */
	bool is_paused;
	/* The program agrees to all that it was asked up to this count. */
	void (*agreed)(struct event_source *source, uint64_t asked);
	struct event_node nodes[DAXMR_EVENT_KINDS];
};

/* Of a region. */
void event_source_init(struct event_source *source,
		       struct daxmr_channel *channel,
		       struct daxmr_region *region, void *data);

/* Before the engine's thread posts. 0, or -errno with a sentence. */
int event_source_lend(struct event_source *source, struct lease_engine *engine);

/*
 * Nobody posts any more, and what is queued is gone. source->free() now, or by
 * the ack of the last event that the program has.
 */
void event_source_done(struct event_source *source);

/*
 * For who owns the region: agreed() is not being called, nor will be until
 * event_source_resume(), which makes up for it.
 */
void event_source_pause(struct event_source *source);
void event_source_resume(struct event_source *source);

/* Any thread, the engine's too; never waits. */
void event_post(struct event_source *source, enum daxmr_event_kind kind,
		const struct event_fact *fact);

/* DAXMR_EVENT_RECALL with a deadline; which time it is. */
void event_asked(struct event_source *source, const struct event_fact *fact,
		 _Atomic uint64_t *ret_asked);

/* -ESTALE, with its sentence, where it is the parent's. */
int event_check_channel(const struct daxmr_channel *channel);

/* -ESTALE, with its sentence, in a child of who made it. */
int event_check_pid(int pid, const char *what);

#endif
