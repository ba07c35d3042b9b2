/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to a leased file, as a table: pure code against a clock and
 * actions that the caller supplies. No descriptor, no thread, no system call
 * in here.
 *
 *            granted            break heard, own open, release asked
 *   FREE ------------> HELD ------------------------------------> BREAKING
 *    ^                 ^ ||                                       ^ |  |  |
 *    |                 | || revoked unheard                       | |  |  |
 *    |                 | |+------------------> LOST <-------------|-+  |  |
 *    |          merged | |                     |  ^     unlocked:   |  |  |
 *    |                 | | changed             |  |     revoked     |  |  |
 *    |                 | | unannounced retaken |  | revoked         |  |  |
 *    |                 | v                     v  |                 |  |  |
 *    |                 +-------------------- MERGING ---------------+  |  |
 *    |                                         ^      break heard,     |  |
 *    |                                 retaken |      own open,        |  |
 *    |                                         |      release asked    |  |
 *    |                                         |                       |  |
 *    |                                      YIELDED <------------------+  |
 *    |                                         |       unlocked: 0        |
 *    +-----------------------------------------+--------------------------+
 *       release asked: from BREAKING unlocked, from YIELDED and LOST at once
 *       where nothing is unwritten, else when it has been retaken and written
 *       (by way of MERGING), or at the release's deadline
 *
 * What each state owns:
 *   FREE      nothing.
 *   HELD      the lease. Nobody else has the file open. Reading and writing it
 *             is ours. What the owner changed himself is settled and what
 *             differs is flushed on demand, both without leaving the state. A
 *             merge that fails, here or in MERGING, holds up no flush. And
 * every flush_ns what differs is written back, which nobody waits for: its
 * pieces come as pace() allows, anything else comes first, and what is told of
 * it are its errors, each once. BREAKING  the lease, until the kernel's time is
 * up: somebody waits, or the owner wants it back. The consent is asked for
 * (what the owner waits for himself is written meanwhile: persist), the
 * merge that was interrupted ended, what differs flushed, the lease unlocked;
 * all within break_ns of hearing the break, and where writing fails within
 * retry_ns of the first error. What isn't written by then stays unwritten: the
 * lease is given back before the kernel takes it, and nobody waits for a disk
 * that is full. A break that comes while the owner's flush is under way begins
 * it anew: who opens sees what was there before. Not so who opens while
 * somebody else is waited for already, of whom the kernel tells nothing: he may
 *             miss what was done after the first one's open and before his.
 *             The owner's is done when nothing more can come (seal); whoever
 *             waits meanwhile gets the file, and it is taken again.
 *   YIELDED   no lease, but it was ours until we gave it back: what was written
 *             was seen by whoever opened. Tried again with growing pauses. What
 *             the owner wants to be durable is written all the same, as far as
 *             nobody else has touched it (persist); and to who only reads
 *             it, every flush_ns, all that differs (write_through), unless
 *             the owner is asked for a consent: he has agreed to a picture.
 *   MERGING   the lease, and a file that others have had or changed.
 *   LOST      no lease: the kernel took it. Tried again as in YIELDED; nothing
 *             may be written to the file before.
 *
 * Pauses: after a yield the lease is left alone for pause_min_ns, twice that if
 * it had been held for less than ten such pauses, and so on up to pause_max_ns:
 * openers that do not wait (O_NONBLOCK) get their turn, however often the file
 * is broken. Each attempt that fails doubles the pause to the next; the news
 * that an opener went brings the next one forward, to pause_min_ns after the
 * last. Where the file is not broken again and again (the pause is
 * RECALL_CALM times pause_min_ns at most) that news ends the pause as well: it
 * is tried at once, and a few times more within pause_min_ns, as the news comes
 * a moment before the file is free. So who opens next waits, and sees what came
 * since. Who does not wait and got nothing has closed nothing: he gets his
 * turn.
 *
 * Own opens: an open by the program itself breaks the lease as anybody's does.
 * It is announced, and the lease handed back before it: without a consent, and
 * without a pause after it. The lease is left alone until the last of those
 * that are at it at the same time is through. A real break meanwhile is served
 * as ever: who comes first opens BREAKING, the other finds it open. So an own
 * open that finds others waiting for a consent waits for it, too: what they get
 * is the picture that was agreed to, and to open the file is no agreement.
 *
 * Not thread-safe: a recall belongs to one thread. Actions are called from
 * recall_run() and the events below, and must not call back into the recall.
 */
#ifndef DAXMR_LEASE_RECALL_H
#define DAXMR_LEASE_RECALL_H

#include <stdbool.h>
#include <stdint.h>

enum recall_state {
	RECALL_FREE,
	RECALL_HELD,
	RECALL_BREAKING,
	RECALL_YIELDED,
	RECALL_MERGING,
	RECALL_LOST,
	RECALL_STATES
};

/* Why something was reported. */
enum recall_cause {
	RECALL_GRANTED,
	RECALL_BREAK_HEARD,
	RECALL_RELEASE_ASKED,
	RECALL_OWN_OPEN,    /* the program opens the file once more */
	RECALL_CHANGED,	    /* not by the program, as far as it said */
	RECALL_FLUSHED,	    /* all of it, and unlocked */
	RECALL_OUT_OF_TIME, /* unlocked, not all of it flushed: error */
	RECALL_WRITTEN,	    /* all of it, HELD goes on */
	RECALL_REVOKED,	    /* the kernel took the lease */
	RECALL_RETAKEN,
	RECALL_MERGED,
	RECALL_RELEASED,     /* error: what kept it from being written, or 0 */
	RECALL_FLUSH_FAILED, /* the state stays, it is tried again */
	RECALL_MERGE_FAILED, /* the same */
	RECALL_TAKE_FAILED,  /* the same; never for -EAGAIN: others have it */
	RECALL_UNWATCHED,    /* changes that are not announced go unseen */
	RECALL_SHRUNK,	     /* others have cut the file off */
	RECALL_GROWN,	     /* again, for what was stored beyond its end */
	RECALL_DROPPED,	     /* that was stored beyond its end */
	RECALL_UNATTACHED,   /* error: a keeper that comes after one that died
				cannot have a shadow, what is in it is not
				written until it can; 0: it has it */
	RECALL_RANGE_UNATTACHED, /* the same of blocks that it is to allocate
				    again when others have had the file */
	RECALL_CAUSES
};

struct recall_report {
	enum recall_state from;
	enum recall_state to; /* from == to: news, not a change */
	enum recall_cause cause;
	int error;	  /* -errno, or 0 */
	int64_t at_ns;	  /* when, on the caller's clock */
	int64_t spent_ns; /* how long it had been in `from` */
	/*
	 * RECALL_MERGED, _RELEASED: blocks since the last such report that only
	 * others changed, and that both did. The caller's to fill in.
	 */
	uint32_t theirs;
	uint32_t conflicts;
	/* RECALL_SHRUNK, _GROWN, _DROPPED: blocks. The caller's, too. */
	uint32_t beyond;
	/*
	 * RECALL_WRITTEN, _FLUSHED: what was in the shadows when the flush with
	 * this ticket was asked for is in the file; 0: none was. The caller's.
	 */
	uint32_t flushed;
};

/* Tickets of flushes grow, beyond their largest number too. */
static inline bool recall_asked_after(uint32_t ticket, uint32_t other)
{
	return (int32_t)(ticket - other) > 0;
}

/* Is `flushed` the answer to that flush, or to one that was asked for later? */
static inline bool recall_has_flushed(uint32_t flushed, uint32_t ticket)
{
	return flushed && !recall_asked_after(ticket, flushed);
}

/*
 * flush and merge do one piece at a time, of some milliseconds: > 0 there is
 * more, 0 all is done, -errno it failed and is tried again after a pause.
 * Those marked (NULL) may be left out.
 */
struct recall_actions {
	/* A clock that never goes back (CLOCK_MONOTONIC), in ns. */
	int64_t (*now)(void *arg);
	/* Takes the lease: 0, -EAGAIN where somebody else has the file, ... */
	int (*take)(void *arg);
	/* Gives it back: 0 it was ours till now, -errno it had been revoked. */
	int (*unlock)(void *arg);
	/* 0 the lease is ours, 1 and is being broken; -errno it isn't. */
	int (*check)(void *arg);
	/* What differs goes to the file. (NULL) */
	int (*flush)(void *arg);
	/* What others did and what we have become one. (NULL) */
	int (*merge)(void *arg);
	/*
	 * The same of the part that was asked for. is_lent: others have the
	 * file. It is the caller who is told what became of it. (NULL)
	 */
	int (*persist)(void *arg, bool is_lent);
	void (*restart_persist)(void *arg); /* (NULL) */
	/*
	 * All of it, while others have the file and none of them writes; where
	 * they do, or nobody knows: 0. As flush: pieces, pace(). (NULL)
	 */
	int (*write_through)(void *arg);
	/* The next piece is a pass's first: what was looked at has changed. */
	void (*restart_flush)(void *arg); /* (NULL) */
	void (*restart_merge)(void *arg); /* (NULL) */
	/* When the next piece of a write-back may run; now at the earliest. */
	int64_t (*pace)(void *arg); /* (NULL: at once) */
	/*
	 * All is written that the owner had when he wanted the file back. Can
	 * more come? 0: no. > 0: from now on no more can, what has come till
	 * now is to be flushed. -errno: it can. (NULL: no)
	 */
	int (*seal)(void *arg);
	/* Would anything be lost if it were dropped now? (NULL: no) */
	bool (*has_unwritten)(void *arg);
	/* Asks for the consent; recall_consent() or the deadline. (NULL) */
	void (*ask_consent)(void *arg, int64_t deadline_ns);
	void (*tell)(void *arg, const struct recall_report *report);
};

struct recall_policy {
	int64_t consent_ns; /* how long a consent is waited for; 0: not asked */
	int64_t break_ns;   /* from the break to the unlock, at most */
	int64_t retry_ns;   /* of that after the first error, at most */
	int64_t pause_min_ns;
	int64_t pause_max_ns;
	int64_t flush_ns; /* from one write-back to the next; 0: none */
};

#define RECALL_NEVER	 INT64_MAX
#define RECALL_PAUSE_MIN (10 * 1000000LL)
#define RECALL_PAUSE_MAX (1000 * 1000000LL)
#define RECALL_RETRY	 (1000 * 1000000LL)
#define RECALL_CALM	 8
#define RECALL_GONE	 200000LL /* between attempts after an opener went */

struct recall {
	const struct recall_actions *actions; /* may be exchanged */
	void *arg;
	struct recall_policy policy;

	enum recall_state state;
	int64_t since_ns[RECALL_STATES]; /* when each was last entered */
	uint64_t breaks;
	uint64_t refused; /* transitions that the table does not have */

	bool must_merge;	/* others had the file since the last merge */
	bool must_settle;	/* HELD: the owner changed it */
	bool must_flush;	/* HELD: on demand */
	bool is_pass_begun;	/* of a flush that is waited for */
	bool is_flush_late;	/* demanded when it was */
	bool must_persist;	/* a part, on demand */
	bool is_writing_back;	/* a pass every flush_ns is under way */
	bool is_merge_stuck;	/* it failed: what is demanded goes first */
	bool is_broken;		/* by others, since it was last held */
	unsigned int own_opens; /* that the program is at */
	bool has_consent;
	bool is_releasing;
	int64_t consent_deadline_ns;
	int64_t break_deadline_ns; /* RECALL_NEVER: nobody waits */
	int64_t give_up_ns;	   /* a retry_ns after the first error */
	int64_t release_deadline_ns;

	int64_t taken_ns; /* when it was last granted or retaken */
	int64_t pause_ns; /* after a yield */
	int64_t retry_pause_ns;
	int64_t retry_ns; /* when to take or to try a piece again */
	int64_t leave_ns; /* until then it is not taken again */
	int64_t tried_ns; /* when it was last tried to take it */
	int last_error;	  /* of the last piece or attempt */

	int64_t write_begun_ns; /* the last write-back, or a flush of all */
	int64_t write_due_ns;	/* the next one, or its next piece */
	int64_t write_pause_ns; /* after one that failed */
	int write_error;	/* of the last one */
};

/* FREE, nothing due. The actions stay the caller's. */
void recall_init(struct recall *recall, const struct recall_actions *actions,
		 void *arg, const struct recall_policy *policy);

/*
 * Goes on where another keeper left off: in its last state, entered since_ns.
 * What has happened since is for recall_look() to find. Where somebody waits
 * for the file the consent is asked for anew: what the other one was told died
 * with it.
 */
void recall_adopt(struct recall *recall, enum recall_state state,
		  int64_t since_ns, bool must_merge);

/* Events. What means nothing in a state changes nothing. */

/* The lease was taken for the first time. -EINVAL unless FREE. */
int recall_granted(struct recall *recall);
void recall_break_heard(struct recall *recall);
void recall_consent(struct recall *recall);
/* Somebody closed the file. */
void recall_opener_gone(struct recall *recall);
/* A break may have gone unheard: looks by check(). */
void recall_look(struct recall *recall);
/* The program is about to open the file; has been through with that. */
void recall_own_begin(struct recall *recall);
void recall_own_end(struct recall *recall);
/* Somebody else changed it under the lease. */
void recall_changed(struct recall *recall);
/* The owner changed it. */
void recall_settle(struct recall *recall);
/* A part more is to be looked after from now on; what is settled stays so. */
void recall_settle_more(struct recall *recall);
/* Told, and nothing else. */
void recall_news(struct recall *recall, enum recall_cause cause, int error);
/* What differs goes to the file as soon as it is ours, which it stays. */
void recall_flush_now(struct recall *recall);
/* A part of it: persist() knows which. Also where others have the file. */
void recall_persist_now(struct recall *recall);
/* The owner wants it back, at the deadline whatever is unwritten. */
void recall_release(struct recall *recall, int64_t deadline_ns);

/*
 * Does what is due, at most one piece of flushing or merging. Returns when to
 * call again: a time that has come already where there is more to do, else the
 * next deadline, or RECALL_NEVER.
 */
int64_t recall_run(struct recall *recall);

/* Does the table have this transition? */
bool recall_may_go(enum recall_state from, enum recall_state to);

const char *recall_state_name(enum recall_state state);

#endif
