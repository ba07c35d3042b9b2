/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of pinned regions have in common.
 *
 *   pinned.c         they come and go by the program's calls
 *   pinned_place.c   what lies where they are
 *   pinned_own.c     the program's own changes of their files
 *   pinned_thread.c  news, what is due, and the threads that do it
 *   pinned_recall.c  what it does when others want the file
 *   pinned_back.c    what it does when the file is back
 *   pinned_gate.c    the gates of their PDs
 *   pinned_count.c   what daxmr-list(1) says of them
 *   pinned_key.c     rkeys that stay
 *   pinned_window.c  the program's own windows on them
 *   pinned_move.c    ibv_rereg_mr() onto something else
 */
#ifndef DAXMR_PINNED_PARTS_H
#define DAXMR_PINNED_PARTS_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "gate/gate.h"
#include "lease_news.h"
#include "pinned.h"
#include "quiet.h"
#include "window/window_key.h"

/* Which file, and where in it. */
struct pinned_file {
	uint64_t offset;
	uint64_t dev;
	uint64_t ino;
	bool is_dax;
	bool is_read_only; /* not all of it is mapped PROT_WRITE */
	char name[160];	   /* for sentences */
};

/*
 * The program's. Providers have more behind theirs; nobody but they looks
 * there, and they never see this one.
 */
union pinned_seen {
	struct ibv_mr mr;
	char room[512];
};

struct pinned {
	/* Stays for the program when it moves: another region's then. */
	union pinned_seen *seen;

	const struct real_verbs *real;
	struct ibv_context *context;
	struct ibv_pd *pd;
	void *addr;
	size_t length;
	uint64_t iova;
	unsigned int access;
	enum on_recall on_recall;
	struct pinned_file file;
	struct lease *lease;
	int64_t quiesce_ns;
	enum keys keys;

	/* Whoever sets is_busy has these to himself. */
	unsigned int lost;	  /* windows, at the last recall */
	struct pinned_ear *ear;	  /* NULL: nobody listens */
	struct ibv_mr *mr;	  /* the real one; NULL: gone */
	struct window_key key;	  /* mw NULL: the rkey is the MR's */
	struct pinned_gate *gate; /* NULL: open */
	uint64_t told_at; /* the number of the last that it shared; and */
	unsigned int told_severed; /* of how many QPs severed there it knows */
	size_t registered;	   /* of length, from the beginning */
	struct window_pd *binder;  /* of its PD's windows; NULL: none yet */
	int error;		   /* why it could not come back, or 0 */
	int key_error; /* why it reaches too much, too little or is lost, and
			  nobody was told; 0: neither */
	bool is_plain; /* of no file: no lease, never recalled */
	bool is_keyed; /* that, with a key that stays all the same */
	bool keeps_windows; /* the device binds again with the same key */

	/* Under the lock. */
	bool is_busy;
	bool is_entering;    /* it has no MR yet, and waits until it may */
	bool is_held;	     /* the lease is ours */
	bool is_asked;	     /* and somebody waits for our consent */
	bool has_agreed;     /* ON_RECALL_ASK: the program, to that */
	bool is_forced;	     /* the MR goes, and it has not */
	bool is_cut_off;     /* it goes, and its peers with it */
	bool is_own;	     /* and the program itself has opened the file */
	bool may_wait;	     /* and the MR has some time */
	bool must_go;	     /* others have had the file, with the MR there */
	bool is_tried;	     /* to come back, since it is held */
	bool is_stuck;	     /* it could not come back, and nobody is severed */
	bool is_dead;	     /* its context is gone, the program forgot it */
	int64_t leave_ns;    /* not held: when the MR goes */
	int64_t late_ns;     /* since when others had it, and the MR should have
				been gone; 0: not */
	int64_t deadline_ns; /* until then the gate may be closed */
	int64_t retry_ns;    /* when it is to be tried again to come back */
	int64_t pause_ns;    /* before that; 0: it has not failed */
	uint64_t listed;     /* its number in stats.h; 0: none (yet) */
	uint64_t severed;    /* QPs and windows, in all */
	uint64_t new_keys;

	struct lease_listener listener;
	struct pinned *next;
	struct pinned *also; /* who has it: another of the same step */
};

/* The gate of a PD while it is closed: of all regions that are away. */
struct pinned_gate {
	struct ibv_pd *pd;
	struct gate *gate;
	uint64_t number;   /* 0: one region's own */
	unsigned int told; /* that region: of so many QPs */
	bool is_entered;   /* a post did not end: not to be drained */
	/* Under the lock. */
	unsigned int users;
	unsigned int severed; /* so many of its QPs */
	/* pinned_go()'s. */
	bool is_quiet; /* nothing is outstanding any more */
	bool is_cut;   /* its QPs were cut off, this time */
	struct pinned_gate *next;
};

/* Protects the list and what stands above. Held across fork. */
extern pthread_mutex_t pinned_lock;
extern pthread_cond_t pinned_changed;
extern struct pinned *pinned_all;

/* Without the lock, and without a system call. */
bool pinned_are_there(void);

/*
 * With signals blocked, since a handler may open or cut off a file: it would
 * wait for the thread that it interrupts, or for the engine's, which takes the
 * lock to tell. Not a cancellation point, nor is what is done with the lock.
 */
struct pinned_locked {
	struct still still;
};
void pinned_lock_take(struct pinned_locked *ret);
void pinned_lock_give(const struct pinned_locked *locked);

/* For pinned_changed. 0 or ETIMEDOUT; INT64_MAX: for ever. */
int pinned_wait_locked(int64_t until_ns);

/* In a forked child, whose parent has them. With the lock. */
void pinned_forget_all(void);
void pinned_gate_forget_all(void);
void pinned_own_forget_all(void);

/*
 * QPs were severed: the second thread tells the peers of those that librdmacm
 * has made.
 */
void pinned_disconnect_soon(void);

/* The threads, where there are none yet. 0 or -errno. */
int pinned_start(void);

/*
 * Has the region to himself, as soon as that can be. Without the lock. A thread
 * of the program's has its signals blocked meanwhile, for the same reason.
 */
void pinned_begin(struct pinned *pinned);
/* Two of them, and has none while it waits. */
void pinned_begin_both(struct pinned *pinned, struct pinned *other);
void pinned_end(struct pinned *pinned);

/*
 * Registers so much of it, the way the program did, with an lkey that no region
 * has promised. NULL and errno.
 */
struct ibv_mr *pinned_make_mr(const struct pinned *pinned, size_t length);

/*
 * As ibv_dereg_mr() of its MR and of the key that stays; the region is left. 0
 * or a positive errno: it has its MR still, but no key that stays. By who has
 * it. leave: nothing of it is in the way of others any more, and it is freed.
 */
int pinned_drop_mr(struct pinned *pinned);
void pinned_leave(struct pinned *pinned);

static inline bool pinned_is_of(const struct pinned *pinned, uint64_t dev,
				uint64_t ino)
{
	return pinned->file.dev == dev && pinned->file.ino == ino;
}

/*
 * The key that stays, for who wants one; nothing happens where there is none.
 * check: before anything else; open: before its MR is there, which has these
 * access flags. bind: the program's peers reach that MR by it. Errors with a
 * sentence (window_key.h).
 */
int pinned_key_check(const struct pinned *pinned,
		     const struct region_call *call);
int pinned_key_open(struct pinned *pinned, const struct region_call *call);
unsigned int pinned_mr_access(const struct pinned *pinned);
int pinned_key_bind(struct pinned *pinned, struct ibv_mr *mr, size_t length);

/*
 * By who has both: the old one's key goes on as the other's, if that has one
 * too: peers reach that by it, and the old one no more; or nothing, while
 * others have the file. 0, also without a key; -errno: to be passed back. back:
 * 0, and it is as it was; -ENOKEY: it is gone.
 */
int pinned_key_pass(const struct pinned *pinned, struct pinned *old);
int pinned_key_pass_back(const struct pinned *pinned, struct pinned *old);

/*
 * Peers reach nothing by it. 0; -ENOKEY: the window had to go, and there is no
 * key that stays any more; others: they may still reach the MR, which does not
 * go then. The sentence says why. To be severed in both cases.
 */
int pinned_key_unbind(struct pinned *pinned, struct ibv_mr *mr);

/* Which one piece of one file lies there: 0, or -errno with a sentence. */
int pinned_find_file(uintptr_t start, uintptr_t end, struct pinned_file *ret);

/*
 * How much of it, from the beginning, is still mapped where it was; the program
 * may have mapped something else there. 0, or -errno: it cannot be seen.
 */
int pinned_still_there(const struct pinned *pinned, size_t *ret);

/* Who listens hears it; by who has the region. */
void pinned_tell(struct pinned *pinned, enum pinned_news news, uint64_t blocks,
		 int error);

/* So many QPs and windows were severed with it, so many new keys given to it.
 */
void pinned_count(struct pinned *pinned, uint64_t severed, uint64_t new_keys);

/* Where it was asked, and has somebody to be told: he is asked. */
void pinned_ask_locked(const struct pinned *pinned);

/* They had it, and may still, with its MR there. */
bool pinned_others_have_it(const struct pinned *pinned);

/* How much of it, from the beginning, is in the file. */
size_t pinned_surviving(const struct pinned *pinned);

/* Whether a call is under way that its MR would be in the way of. */
bool pinned_own_is_there_locked(const struct pinned *pinned);

/*
 * Closes the gate of its PD for the region, or joins those that have. Only by
 * pinned_go(). 0, also where a post did not end until until_ns; -errno of
 * gate_close(). Alone: one of its own, if it has none, that nobody joins.
 * Opening needs no closed gate; any thread that has the region.
 */
int pinned_gate_close(struct pinned *pinned, int64_t until_ns);
int pinned_gate_close_alone(struct pinned *pinned, int64_t until_ns);
void pinned_gate_open(struct pinned *pinned);

/*
 * gate_sever() of all QPs or what is left, the peers of librdmacm's are told
 * soon; how many. And how many were severed there, for whichever region that
 * was, since the last time that this one was told.
 */
unsigned int pinned_gate_sever(struct pinned_gate *gate, bool all);
unsigned int pinned_gate_news(struct pinned *pinned);
/* What it is for other regions, while this one was away. */
void pinned_tell_severed(struct pinned *pinned);

/*
 * The program's posts of its lkey, and its binds of windows, go with this MR
 * from now on; NULL: with none. As gate_key_promise(). By who has the region.
 * Nothing happens for who has no gate: his lkey does not stay.
 */
int pinned_promise(struct pinned *pinned, struct ibv_mr *mr);

/* Windows that could not be kept, for the log. */
#define PINNED_LOST_NAMED 16
struct pinned_lost {
	bool are_silent; /* the device has not unbound one that we asked for */
	unsigned int count;
	struct {
		uint32_t before; /* rkeys */
		uint32_t after;
	} named[PINNED_LOST_NAMED];
};

/*
 * Whether the access flags let there be windows, and the device keeps the keys
 * of those that are bound again. May run a test: without locks, and without the
 * region.
 */
bool pinned_windows_test(const struct pinned *pinned, unsigned int access);

/*
 * A device that has not answered before is asked again. By all that go
 * together, before the first of them is bound to anything: it may be silent
 * once for all of them and not for each.
 */
void pinned_windows_forgive(struct pinned *pinned);

/*
 * ibv_dereg_mr() for others that wait: no window is in the way, however many
 * are lost. 0 or a positive errno: something else is.
 */
int pinned_dereg_mr(struct pinned *pinned, struct pinned_lost *lost);

/* There is an MR again, and its gate is closed: what was unbound is bound. */
void pinned_windows_bind(struct pinned *pinned);

/* A window that the program has bound may be on its MR. */
bool pinned_may_have_window(const struct pinned *pinned);

/* The region goes, its PD does: nothing is known of windows any more. */
void pinned_windows_leave(struct pinned *pinned);

/* What the threads do, with the region to themselves. */
void pinned_go(struct pinned *first); /* and all that go with it */
void pinned_come_back(struct pinned *pinned);

/*
 * By who waits in pinned_go() for those that go: what else is due for the
 * thread that MRs go by, but of those that are to go only such as have less
 * time or have nothing to wait for. All that is over before the first of those
 * that wait has to be gone.
 */
void pinned_do_urgent(const struct pinned *waiting);
void pinned_sever_stuck(struct pinned *pinned);

/*
 * The program is asked, and has stopped its work or does not mind what becomes
 * of it: no gate is closed, and no lkey promised.
 */
static inline bool pinned_is_programs(const struct pinned *pinned)
{
	return pinned->on_recall == ON_RECALL_ASK;
}

/*
 * What the program sees is this MR, or none, from now on; the lkey stays where
 * it is promised.
 */
void pinned_show(struct pinned *pinned);

/* Functions of its listener: of the engine's thread. */
void pinned_hear(struct lease_listener *listener,
		 const struct recall_report *report, uint64_t missed);
void pinned_hear_asked(struct lease_listener *listener, int64_t deadline_ns);

#endif
