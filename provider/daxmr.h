/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr.h: RDMA registration of files in persistent memory.
 *
 * For programs that want to know what becomes of their files: storage daemons.
 * (Others are run by daxmr-run(1) and need none of this but, perhaps,
 * daxmr_errormsg().) Each call has a manual page of its name.
 *
 *   file --mmap--> memory --daxmr_reg_mr()--> region: an MR, its lkey and rkey
 *                                               |
 *                        daxmr_channel <-- events: somebody wants the file, ...
 *
 * A region is a registered range of memory. Where the device can page on
 * demand, and does it right, the MR is on the file itself (odp). Else the file
 * is leased and a copy in memory, the shadow, takes its place in all mappings
 * (staged): addresses stay, and whoever else opens the file waits for a moment,
 * in which what is new in the shadow is written to it. What that promises for
 * coherence and durability is in daxmr(7). Memory that is no file is registered
 * as it is (passthrough).
 *
 * Without libdaxmr-preload.so the library sees none of the program's own calls
 * on its files. While a file is in a staged region the program must not
 *   - change its size or blocks (ftruncate, fallocate) but by daxmr_resize():
 *     that is taken for a change by others, which is found a little later and
 *     merged: events CHANGED, SHRUNK, MERGED. Nothing of the file system's
 *     breaks;
 *   - open it again by its name, which waits until the library has written the
 *     shadow and handed the file back, as for anybody else: events RECALL to
 *     MERGED. A second descriptor that stays open keeps the file away from the
 *     region (state YIELDED) until it is closed: use dup() of the first one;
 *   - read() or write() it through a descriptor, which goes past the shadow: it
 *     reads what was flushed last, and what it writes is a change by others;
 *   - map the range again, or change its mapping (munmap, mremap, mmap over
 *     it): the new mapping shows the file and not the shadow.
 * msync() and fsync() do not reach the shadow: daxmr_flush() does. Of a file in
 * a pinned region all of that goes for the first, the second and the last, and
 * more is at stake: there its own ftruncate() waits for its own MR (fs-dax),
 * for ever, or the device goes on with pages that are no more the file's. Run
 * by daxmr-run(1) a daemon may do all of these; both share one engine.
 *
 * Errors: 0, or -errno, and outputs are untouched; daxmr_errormsg() then has
 * one sentence (not of -EAGAIN and -EINTR of daxmr_event_get()). errno is not
 * changed. No call prints, ends the process or installs a signal handler;
 * DAXMR_LOG says what goes to standard error.
 *
 * Threads: all calls may be made from any thread. A region is its owner's to
 * give up, and to resize: while daxmr_dereg_mr() or daxmr_resize() runs no
 * other call on it may, nor may one follow the first; acks of its events may.
 * Calls that take a lock hold it for moments; where one waits it is said there.
 *
 * fork: regions and channels are the parent's. In the child every call on them
 * returns -ESTALE; registered memory is as after any fork (daxmr(7)). The child
 * may register memory of its own.
 *
 * dlclose: the library stays in the process. Two copies of it in one process
 * (of different builds, say): the second one to lease a file is refused,
 * -EBUSY.
 */
#ifndef DAXMR_H
#define DAXMR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DAXMR_VERSION_MAJOR 0
#define DAXMR_VERSION_MINOR 1
#define DAXMR_VERSION_PATCH 0

/* Of <infiniband/verbs.h>. */
struct ibv_mr;
struct ibv_pd;

struct daxmr_region;
struct daxmr_channel;

/*
 * The version of the library that is running, "0.1.0"; the macros above are
 * those of the header that was compiled with. Never NULL, never to be freed.
 */
const char *daxmr_version(void);

/*
 * Why the last call of daxmr_*(), or the last registration by verbs under
 * daxmr-run(1), failed in this thread: one sentence without a newline that
 * names the file or range, the device, the cause and what to do. Valid until
 * the thread's next such call. Empty, never NULL, when nothing has failed in
 * this thread. errno, as the verb set it, is not changed by this call.
 */
const char *daxmr_errormsg(void);

/*
 * Options. Each 0 stands for what DAXMR_* in the environment says (daxmr(7)),
 * and without that for the default. Names and meanings are those of daxmr
 * run's options: on_shrink here is --on-shrink and DAXMR_ON_SHRINK.
 */
enum daxmr_strategy {
	DAXMR_STRATEGY_DEFAULT,
	DAXMR_STRATEGY_AUTO,
	DAXMR_STRATEGY_PASSTHROUGH,
	DAXMR_STRATEGY_ODP,
	DAXMR_STRATEGY_STAGED,
	DAXMR_STRATEGY_PINNED
};

/* What happens when somebody wants a staged or pinned file. */
enum daxmr_on_recall {
	DAXMR_ON_RECALL_DEFAULT, /* yield; pinned: what the environment says */
	DAXMR_ON_RECALL_YIELD,	 /* it is written and handed over at once */
	/*
	 * The program is asked: event RECALL, which it acks when it has paused,
	 * or after quiesce_ms. (For pinned regions see below.) What is in the
	 * region then, to the byte, is what the other one gets, and it stays
	 * so: until he closes the file nothing goes there but by daxmr_flush(),
	 * so what is new is durable only then. Needs a channel.
	 *
	 * Pinned: the program stops its work on the region by itself, so it
	 * needs no daxmr-run(1). Before the ack it posts nothing more that
	 * names the region, has the completions of all that did, and peers have
	 * been told to leave it alone. Then the MR goes, whoever wants the file
	 * has it, and both keys are 0 until event RETAKEN: with the new ones
	 * (daxmr_region_info()) it goes on. Where no ack comes by the event's
	 * deadline_ns, three quarters of quiesce_ms, nobody waits any longer:
	 * event SEVERED, error -ETIMEDOUT, the MR is gone, and what is under
	 * way fails with errors. No queue pair is touched by daxmr, so this is
	 * also the way for those that the program drives by direct verbs
	 * (mlx5dv_init_obj()), which are cut off otherwise.
	 */
	DAXMR_ON_RECALL_ASK,
	/*
	 * pinned alone: the queue pairs of the region's protection domain are
	 * cut off at once, event SEVERED, and nothing is waited for.
	 */
	DAXMR_ON_RECALL_SEVER
};

/* What becomes of a pinned region's rkey when others have had the file. */
enum daxmr_keys {
	DAXMR_KEYS_DEFAULT,
	DAXMR_KEYS_CHANGE, /* it is another one */
	/*
	 * It stays: it is that of a memory window. -EOPNOTSUPP where the device
	 * has none that does, or not for this region (daxmr(7)).
	 */
	DAXMR_KEYS_WINDOW
};

/* A block of 4 KiB was changed by others and here. */
enum daxmr_on_conflict {
	DAXMR_ON_CONFLICT_DEFAULT,
	DAXMR_ON_CONFLICT_OURS,
	DAXMR_ON_CONFLICT_THEIRS,
	DAXMR_ON_CONFLICT_ERROR
};

/* Something is stored where others have cut the file off. */
enum daxmr_on_shrink {
	DAXMR_ON_SHRINK_DEFAULT,
	DAXMR_ON_SHRINK_EXTEND,
	DAXMR_ON_SHRINK_DISCARD,
	DAXMR_ON_SHRINK_ERROR
};

#define DAXMR_FLUSH_OFF	   UINT32_MAX	    /* flush_ms: on demand only */
#define DAXMR_PREFETCH_OFF UINT64_MAX	    /* prefetch: none */
#define DAXMR_PREFETCH_ON  (UINT64_MAX - 1) /* prefetch: all of it */

/*
 * Grows at its end. `size` is sizeof(struct daxmr_options), the rest 0 where
 * nothing else is wanted; a library that is older takes it as long as what it
 * does not know is 0.
 *
 *   struct daxmr_options options = {.size = sizeof(options)};
 */
struct daxmr_options {
	size_t size;
	/* For messages, at most DAXMR_NAME_MAX bytes; copied. */
	const char *name;
	/* Of which the region's events come; NULL: none are wanted. */
	struct daxmr_channel *channel;
	void *data; /* the program's own: in each of its events */
	enum daxmr_strategy strategy;
	enum daxmr_on_recall on_recall;
	enum daxmr_on_conflict on_conflict; /* these four are the file's: */
	enum daxmr_on_shrink on_shrink;	    /* all regions in it have the */
	uint32_t flush_ms;		    /* same, or -EBUSY */
	uint32_t flush_cpu;		    /* percent of one CPU */
	uint32_t quiesce_ms;  /* on_recall ask: the deadline; default 1000.
				 pinned: how long the work is held up */
	enum daxmr_keys keys; /* pinned; the others' keys never change */
	uint64_t prefetch;    /* odp: bytes from the start */
	uint64_t stage_max;   /* bytes in shadows of this process, with these */
};

#define DAXMR_NAME_MAX 63

/*
 * Registers [addr, addr + length) of this process. access: IBV_ACCESS_*.
 * options: NULL, or see above. 0 and *ret; or
 *   -EINVAL      options that make no sense, or that this library is too old
 *                for; those of ibv_reg_mr()
 *   -EBUSY       others have the file open; the file is in a region with
 *                other policies; another copy of this library is at work
 *   -EOPNOTSUPP  what lies there cannot be registered in this way
 *   -ENOSYS      no libibverbs is loaded
 *   -ENOMEM      no memory, or none that may be pinned
 *   -EMFILE, -ENFILE  no descriptor left: each piece of a file takes one
 *   -EAGAIN      threads map and unmap there all the time
 *   -EFAULT      nothing is mapped there, or only for reading
 *   -ERANGE      beyond the end of the file
 *   -EACCES      the file is another user's
 *   -EPERM       threads, and no userfaultfd that holds up system calls
 *   -ENOENT, -ETIMEDOUT  no keeper can be reached, or it does not answer
 *   -ESTALE      the channel is the parent process's
 *   others of ibv_reg_mr() and of the file system (-ENOSPC, -EIO)
 * Waits while the file is copied, and for others that change it. An MR that
 * the region has must be given up by daxmr_dereg_mr() alone.
 */
int daxmr_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access,
		 const struct daxmr_options *options,
		 struct daxmr_region **ret);

/*
 * The MR goes; a staged file is written and mapped in its place again, waited
 * for (5 s), and later by itself while others have it (the log says so). 0, and
 * the region is gone, with the events that nobody has read; one that is not
 * acked yet stays until it is. Or, and the region stays:
 *   -EBUSY   a window is bound, as ibv_dereg_mr() says
 *   -ESTALE  in a forked child
 *   others of ibv_dereg_mr()
 */
int daxmr_dereg_mr(struct daxmr_region *region);

/* How the lease on a region's file stands; of several the farthest from HELD.
 */
enum daxmr_state {
	DAXMR_STATE_NONE,     /* neither staged nor pinned */
	DAXMR_STATE_HELD,     /* nobody else has the file */
	DAXMR_STATE_BREAKING, /* somebody waits; it is being written */
	DAXMR_STATE_MERGING,  /* what others did is merged */
	DAXMR_STATE_YIELDED,  /* others have it */
	DAXMR_STATE_LOST      /* the kernel took it, before all was written */
};

/* Grows at its end: `size` is set by who asks. */
struct daxmr_info {
	size_t size;
	const char *name; /* "", never NULL; the region's */
	void *addr;
	size_t length;
	struct ibv_mr *mr;
	uint32_t lkey;		      /* pinned, where the program is asked, */
	uint32_t rkey;		      /* and of all pinned: 0 while away */
	enum daxmr_strategy strategy; /* the one that was chosen */
	enum daxmr_state state;
};

/* 0, -EINVAL (size), -ESTALE. Never waits. */
int daxmr_region_info(const struct daxmr_region *region,
		      struct daxmr_info *ret);

/* Since the registration. Grows at its end: `size` is set by who asks. */
struct daxmr_stats {
	size_t size;
	uint64_t recalls; /* somebody wanted the file */
	uint64_t yielded; /* and got it */
	uint64_t retaken;
	uint64_t merged;
	uint64_t lost;
	uint64_t theirs;    /* blocks of 4 KiB that others changed */
	uint64_t conflicts; /* blocks that both did */
	uint64_t cut_off;   /* blocks that others cut off */
	uint64_t grown;	    /* blocks beyond the end, which were kept */
	uint64_t dropped;   /* blocks beyond the end, which were not */
	uint64_t flush_errors;
	uint64_t consents_late; /* asked, and no ack before the deadline */
	uint64_t yielded_ns;	/* others have had it, lost too, in all */
};

/* 0, -EINVAL (size), -ESTALE. Never waits. */
int daxmr_region_stats(const struct daxmr_region *region,
		       struct daxmr_stats *ret);

/*
 * What is in [offset, offset + length) of the region is made durable. 0: what
 * was stored there before the call, by the CPU or by a peer whose operation was
 * complete, survives a power cut. DAXMR_FLUSH_NOWAIT: it is begun, for all of
 * the file; event FLUSHED or FLUSH_ERROR says what became of it. FLUSHED counts
 * each such call of the region once, in their order: the first so many are
 * done. Else waits for the copy.
 *   -EINVAL      not within the region; flags
 *   -EOPNOTSUPP  a passthrough region: only its owner knows what makes such
 *                memory durable
 *   -EIO         a block is in conflict, or others have changed what is to be
 *                written; or it cannot be written
 *   -ENOSPC, -EDQUOT  no room
 *   -EAGAIN      the kernel took the lease: again after event MERGED
 *   -ETIMEDOUT   the file system, or a keeper that is stopped, does not answer
 *                (30 s)
 *   -ESTALE      in a forked child
 */
#define DAXMR_FLUSH_NOWAIT 1U
int daxmr_flush(struct daxmr_region *region, size_t offset, size_t length,
		unsigned int flags);

/*
 * The file that fd is open on gets file_size bytes (fd -1: no file changes),
 * and the region is [addr, addr + length) from then on. Where length differs
 * there is a new MR, with other keys, and the old one is gone when this
 * returns: peers have to be told (daxmr_region_info()). To have both for a
 * while, register the longer range as a second region.
 *
 * Growing: the file first. The mapping must reach that far already: map more
 * than the file has from the start, which is allowed. Shrinking: the file last.
 * Errors are those of ftruncate(2) and daxmr_reg_mr(); the region is as before,
 * the file may have grown. -ESTALE in a forked child.
 */
int daxmr_resize(struct daxmr_region *region, int fd, uint64_t file_size,
		 size_t length);

/*
 * Events. Each kind of a region is in the queue once: what happens again before
 * it was read is counted in it, and it goes to the queue's end. So none is
 * lost, the queue is bounded, and the last ones say how things stand.
 *
 * They are of staged and pinned regions. Of odp there are none but those that
 * daxmr_flush() leads to: the kernel serves others without us. A daemon that
 * has to know of its file's size there watches the file by inotify(7),
 * IN_MODIFY, which says that somebody has set it but not when he wants to;
 * that goes for all strategies.
 */
enum daxmr_event_kind {
	DAXMR_EVENT_RECALL = 1,	 /* somebody wants the file and waits */
	DAXMR_EVENT_YIELDED,	 /* others have it, and see all of it */
	DAXMR_EVENT_RETAKEN,	 /* it is ours again; pinned: the MR is there,
				    with the rkey of daxmr_region_info() */
	DAXMR_EVENT_MERGED,	 /* blocks: that others had changed */
	DAXMR_EVENT_CONFLICT,	 /* blocks: that both had */
	DAXMR_EVENT_CHANGED,	 /* somebody changed it without asking for it */
	DAXMR_EVENT_SHRUNK,	 /* blocks: that others cut off */
	DAXMR_EVENT_GROWN,	 /* blocks: beyond its end, for which it grew */
	DAXMR_EVENT_BEYOND_EOF,	 /* blocks: beyond its end, which are dropped */
	DAXMR_EVENT_FLUSHED,	 /* what DAXMR_FLUSH_NOWAIT asked for is done;
				    count: by so many calls */
	DAXMR_EVENT_FLUSH_ERROR, /* error; it is tried again */
	DAXMR_EVENT_LOST,	 /* error; the kernel took it, nothing more is
				    written before it is retaken and merged */
	DAXMR_EVENT_SEVERED,	 /* pinned: peers have been cut off; error: what
				    kept the MR from coming back, or 0;
				    -ETIMEDOUT: the program was asked, and has
				    not acked in time; -ENOKEY: an rkey that was
				    to stay is lost, RETAKEN comes with another.
				    on_shrink error: they reach nothing; error:
				    why the window could not follow the file;
				    -EBUSY: it could not be taken away either,
				    they may reach what they did before */
	DAXMR_EVENT_KINDS
};

enum daxmr_who {
	DAXMR_WHO_NOBODY, /* it is no recall */
	DAXMR_WHO_OTHERS, /* another process: the kernel does not say which,
			     nor is it looked for: that would cost who waits */
	DAXMR_WHO_SELF	  /* this one opens the file again */
};

/* The library's, from get to ack. May grow at its end. */
struct daxmr_event {
	enum daxmr_event_kind kind;
	enum daxmr_who who;
	struct daxmr_region *region;
	void *data;	     /* of the options */
	uint64_t count;	     /* how often since the last one was read */
	uint64_t blocks;     /* of 4 KiB, in all */
	int64_t at_ns;	     /* when, the last time: CLOCK_MONOTONIC */
	int64_t deadline_ns; /* RECALL: the ack counts until then; 0: as well
				without it */
	int error;	     /* -errno, or 0 */
};

/* 0; -EMFILE, -ENFILE, -ENOMEM, others of eventfd2(2). */
int daxmr_channel_open(struct daxmr_channel **ret);

/* -EBUSY: a region has it; -ESTALE in a forked child. */
int daxmr_channel_close(struct daxmr_channel *channel);

/*
 * A descriptor for poll(2) and epoll(7), readable while there are events;
 * nothing else may be done with it. -ESTALE in a forked child.
 */
int daxmr_channel_fd(const struct daxmr_channel *channel);

/*
 * The first event. Waits timeout_ms for one; -1: for ever; 0: not at all.
 * Several threads may wait; each event is one's alone, and is to be acked. 0;
 * -EAGAIN none came; -EINTR a signal did; -ESTALE in a forked child.
 */
int daxmr_event_get(struct daxmr_channel *channel, int timeout_ms,
		    struct daxmr_event **ret);

/*
 * It has been dealt with, by whatever thread, and is not to be touched any
 * more. Of a RECALL with a deadline: the file may go. Never waits. 0, -ESTALE.
 */
int daxmr_event_ack(struct daxmr_event *event);

/* "recall", "beyond-eof": for messages. "unknown", never NULL. */
const char *daxmr_event_name(enum daxmr_event_kind kind);

#ifdef __cplusplus
}
#endif

#endif
