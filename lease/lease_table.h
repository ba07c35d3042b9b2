/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The leases of an engine, found by file and by id in a time that does not
 * grow with their number. All of it belongs to the engine thread, but what is
 * marked atomic.
 */
#ifndef DAXMR_LEASE_LEASE_TABLE_H
#define DAXMR_LEASE_LEASE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "attach.h"
#include "extent_book.h"
#include "keeper.h"
#include "lease.h"
#include "own_desk.h"
#include "skipped.h"

enum lease_phase {
	LEASE_ACQUIRING,
	LEASE_LIVE,
	LEASE_RELEASING,
	LEASE_ENDED
};

/* range.h: both of whole pages. */
struct lease_region {
	struct lease_region *next;
	uint64_t offset;
	uint64_t end;
	unsigned int refs;
};

/* What of them touches, as one. */
struct lease_range {
	struct lease_range *next;
	uint64_t offset;
	uint64_t end;
	struct attached attached;
};

struct lease {
	struct lease_engine *engine;
	struct lease_table *table;
	struct lease *next; /* of its bucket */
	uint32_t id;	    /* the board's slot */
	unsigned int refs;
	enum lease_phase phase;
	dev_t dev;
	ino_t ino;
	int type;
	unsigned int shadows; /* how many: shadows.h */
	struct lease_terms terms;
	int64_t consent_ns; /* 0: none is asked for */
	struct lease_heard heard;
	int fd;		    /* in the engine's descriptor table, or -1 */
	char *path;	    /* that it had, where fd is -1 (recover.h) */
	bool is_adrift;	    /* no keeper has it, and no fd */
	bool is_lingering;  /* given back, once its shadows can go */
	bool is_left;	    /* RELEASING, and nobody waits for it */
	bool was_told_lost; /* before a keeper said so */
	atomic_bool is_out_of_sight; /* LOST, whatever the board says */
	bool has_closed;	     /* a descriptor with locks: own_locks.c */
	/* talk_expect(): its ticket, 0: nothing is waited for; what it is. */
	uint32_t awaited;
	enum keeper_kind awaited_kind;
	uint32_t awaited_extent; /* KEEPER_ATTACH */
	int answer;		 /* to the last of them */
	uint32_t persist_ticket; /* the last: staged_flush.c; 0: answered */
	int persist_error;	 /* the answer */
	uint32_t flush_ticket;	 /* the last that was asked for */
	uint32_t flushed_ticket; /* the last that was answered */
	uint32_t sent_ticket;	 /* of the FLUSH that is on its way; 0: none */
	bool is_flush_void;	 /* its answer is none: talk_flush_again() */
	int error;		 /* of the last phase */
	uint64_t generation;	 /* of the last report */
	int64_t deadline_ns;	 /* RELEASING */
	struct own *owns; /* announced, in the order of the announcements */
	struct lease_region *regions; /* by offset */
	struct lease_range *ranges;
	struct staged *staged; /* extents with a shadow, by offset: staged.h */
	struct lease_flushed flushed_gone; /* in shadows that are no more */
	struct own_gate gate;
	uint32_t last_extent;
	atomic_bool has_consent;
	_Atomic int64_t asked_ns;  /* the last ASK's deadline */
	_Atomic int64_t agreed_ns; /* that of the ASK that is agreed to */
	struct lease *next_consent;
};

#define TABLE_BUCKET_BITS 14

struct staged_mover;

struct lease_table {
	const struct lease_config *config;
	int pidfd; /* of the program, in the engine's descriptor table */
	struct keeper keeper;
	unsigned int count;
	struct lease *by_id[BOARD_SLOTS];
	struct lease *by_file[1U << TABLE_BUCKET_BITS];
	uint32_t next_id;
	uint32_t ids_end;      /* one past the highest id ever used */
	uint32_t last_ticket;  /* of a request to a keeper */
	uint32_t keepers;      /* so many have been talked to */
	int64_t attach_ns;     /* attach_again(); 0: there is nothing */
	int64_t next_start_ns; /* of a keeper, after one died */
	int64_t unserved_ns;   /* since when none can be started, or 0 */
	bool is_keeper_dead;
	/* A wait for it has ended, and nothing was heard of it since. */
	bool is_keeper_silent;
	bool is_asked;		/* a thread of the program waits for us */
	unsigned int lingering; /* leases: lease_take.h */
	int64_t tidied_ns;	/* when those were last looked at */
	int64_t look_ns;	/* staged_look(), next */
	int64_t sleepers_ns; /* staged_wake_late(), next, and the one after */
	int64_t sleepers_pause_ns;
	unsigned int sleepers_looks;	/* so many */
	unsigned int left;		/* leases: lease_take.h */
	unsigned int adrift;		/* leases */
	int64_t recover_ns;		/* when they are looked for again */
	struct lease *_Atomic consents; /* given, not sent yet */
	int wake_fd; /* readable when a caller has something new */
	struct own_desk own;
	/* staged.h: the thread that waits for us, if one does. */
	const struct staged_mover *mover;
	struct extent_shelf shelf; /* staged.h's */
	struct staged *leaving;	   /* staged.h's: the keeper may have them */
	struct undumped *undumped; /* undumped.h */
	struct skipped skipped;	   /* skipped.h */
	struct crew *crew;	   /* errand.h */
};

/* NULL: there is none. */
struct lease *table_find(struct lease_table *table, dev_t dev, ino_t ino);

/* NULL: no memory, or the board is full. */
struct lease *table_add(struct lease_table *table, dev_t dev, ino_t ino);

/* Closes its descriptor. No consent of it is waiting to be sent. */
void table_remove(struct lease_table *table, struct lease *lease);

/* Of the engine (lease.c), for any thread; signal handlers, too. */
struct own_desk *lease_engine_desk(struct lease_engine *engine);
void lease_engine_wake(struct lease_engine *engine);

/*
 * Has the engine's thread do this, after what others have asked for before: its
 * result, with its sentence. As lease_acquire(); -ESRCH in a forked child.
 */
typedef int lease_engine_fn(struct lease_table *table, void *arg);
int lease_engine_call(struct lease_engine *engine, lease_engine_fn *fn,
		      void *arg);

#endif
