/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leases of this process: one per file (device, inode), however many regions
 * lie in it, counted.
 *
 *   callers            engine thread               daxmr-keeper
 *   (any thread)  -->  the leases, a dup     -->   the table of recall.h,
 *   ask and wait       of each file                on dups of the files
 *
 * The engine has one thread in this process, with a descriptor table of its
 * own (unshare(CLONE_FILES)) and every signal blocked. So nothing of ours is in
 * the program's table: its numbers are its own, close_range() of everything
 * does us no harm, and no close of ours drops its fcntl locks. A file gets from
 * the one table to the other by pidfd_getfd(): its open file description is the
 * program's own, with its flock. Callers wake the thread by SIGSTKFLT, sent to
 * it alone and read by a signalfd; no handler is installed or run. What the
 * thread does with descriptors and mappings it does by raw system calls
 * (raw.h).
 *
 * The keeper is started with the first lease and ends with the last. If it
 * dies the engine starts another, which finds what happened meanwhile.
 *
 * A forked child has no leases: all of this returns -ESRCH there.
 *
 * lease/ logs nothing: a refusal leaves its sentence in reason.h, for the
 * thread that asked.
 */
#ifndef DAXMR_LEASE_LEASE_H
#define DAXMR_LEASE_LEASE_H

#include <stdint.h>
#include <sys/types.h>

#include "policy.h"
#include "recall.h"

struct lease;
struct lease_engine;

/*
 * Told by the engine thread, which waits until they come back. No descriptor
 * of the program means anything there, 0 to 2 are /dev/null. They may call
 * lease_state(), lease_flushed() and lease_consent(), nothing else of this
 * page.
 */
struct lease_observer {
	/*
	 * Each change, in order. `missed` says how many reports right before
	 * this one were left out while the program was stopped. One that is
	 * left out has a later one of the same cause, with its blocks counted
	 * in; it is only the states in between that nobody hears of, and what a
	 * keeper that died had not told yet.
	 */
	void (*changed)(void *arg, struct lease *lease,
			const struct recall_report *report, uint64_t missed);
	/* Somebody wants the file: lease_consent(), or at the deadline anyway.
	 */
	void (*asked)(void *arg, struct lease *lease, int64_t deadline_ns);
	/*
	 * Of each lease that has shadows, about once a second while there are
	 * any: lease_flushed() may have more.
	 */
	void (*looked)(void *arg, struct lease *lease);
	/*
	 * The lease is there no more when this returns, whatever was told of it
	 * before. Not while the engine is stopped.
	 */
	void (*gone)(void *arg, struct lease *lease);
	/* The keeper died; error 0: another has taken over, else why not. */
	void (*keeper_died)(void *arg, int error);
	/* What would end the keeper that has just been started together with
	 * the program: a sentence (fate.h). */
	void (*shared_fate)(void *arg, const char *text);
	void *arg;
};

struct lease_config {
	const char *keeper_path;   /* of daxmr-keeper; copied */
	const char *keeper_socket; /* of one outside; copied; NULL: start one */
	struct lease_observer observer; /* each may be NULL */
	int64_t consent_ns; /* how long a consent is waited for, 0: not asked */
	int64_t pause_min_ns; /* 0: as recall.h has them */
	int64_t pause_max_ns;
	int64_t answer_ns; /* how long the keeper is waited for; 0: 10 s */
	struct lease_terms terms; /* of leases that are asked for without any */
	enum uffd uffd;
};

/* What the engine's thread is called. */
#define LEASE_THREAD_NAME "daxmr-lease"

/* 0, or -errno with a sentence. No keeper is started yet. */
int lease_engine_start(const struct lease_config *config,
		       struct lease_engine **ret);

/* All leases have been released. */
void lease_engine_stop(struct lease_engine *engine);

/*
 * F_RDLCK where the file may never be written through this description, else
 * F_WRLCK.
 */
#define LEASE_TYPE_AUTO (-1)

/* Which file, what of it, and on which terms. */
struct lease_want {
	int fd;		 /* of the program; -1: the mapping at addr */
	uintptr_t addr;	 /* in a shared mapping of the file, where fd is -1 */
	int type;	 /* F_WRLCK, F_RDLCK, LEASE_TYPE_AUTO */
	uint64_t offset; /* in the file */
	uint64_t length;
	/* NULL: whatever the lease has, or the engine's where it is new */
	const struct lease_terms *terms;
};

/*
 * A lease on the file, on the program's own open file description where it has
 * a descriptor of it, else on one that is opened here and that all shared
 * mappings of the file are then made anew from (description.h, remap.h).
 * [offset, offset + length) gets written blocks of its own (allocate.h), also
 * where the file is leased already, and again whenever others have had the
 * file in between; for a read lease nothing is allocated.
 * Returns 0; the lease is HELD, or it was another region's before and is in any
 * state. Or -errno with a sentence, and nothing has changed, but that mappings
 * may have been made anew:
 *   -EBUSY       others have it open or mapped, or this program has by another
 *                description, each is named as far as /proc shows them; it has
 *                a lease of the other type or on other terms, or of another
 *                program; a lock would be lost with the descriptor's file that
 *                only a mapping keeps open
 *   -EBADF       fd is no descriptor of the program; F_WRLCK: it is not open
 *                for reading and writing; F_RDLCK: it is open for writing, or
 *                the mapping's was
 *   -EFAULT      nothing is mapped at addr
 *   -EINVAL      at addr there is no file, or a private mapping of one; not a
 *                regular file; leases are switched off on this machine
 *   -ENOENT      the mapped file has been deleted, renamed or replaced, and no
 *                descriptor is open on it; the keeper's executable is not there
 *   -EOPNOTSUPP  neither ext4 nor xfs; a mapping that cannot be made anew
 *                (userfaultfd, mseal, guard pages); blocks shared with another
 *                file that cannot be unshared
 *   -EACCES      neither the file's owner nor CAP_LEASE; it must not be opened
 *                again
 *   -EPERM, -ENOSYS  the program's descriptor cannot be had (seccomp)
 *   -EMFILE      no descriptor left for the engine, or for the keeper
 *   -ENOSPC, -EDQUOT  no blocks for the range
 *   -ERANGE      the range goes beyond the end of the file
 *   -ENOMEM      no memory
 *   -ETIMEDOUT   the keeper does not answer (10 s): it is stopped, or waits for
 *                a frozen file system
 *   -ESRCH       in a forked child
 *   others of    keeper_start(), mmap(2), open(2)
 * Blocks: some milliseconds, and as long as blocks are allocated; on a frozen
 * file system until it is thawed, and so do all that ask meanwhile. Signals are
 * blocked in the calling thread, and it is no cancellation point; so in all
 * that waits below.
 */
int lease_acquire(struct lease_engine *engine, const struct lease_want *want,
		  struct lease **ret);

/*
 * One count less, of the range that was acquired: where no other has asked for
 * it, it is not looked after any more. The last count flushes, gives the file
 * back, and returns when that is done, at deadline_ns (CLOCK_MONOTONIC) at the
 * latest, and after 10 min. 0, or -errno with a sentence: what kept it from
 * being written. The lease is gone in any case; the file is later with
 *   -EAGAIN      a shadow has to stay while others have the file
 *   -ETIMEDOUT   the keeper has not answered until 2 s after deadline_ns (it is
 *                stopped, or waits for a frozen file system)
 * -EINVAL: such a range was not acquired, and nothing has changed.
 */
int lease_release(struct lease *lease, uint64_t offset, uint64_t length,
		  int64_t deadline_ns);

/*
 * A shadow takes the place of all shared mappings of [offset, offset + length)
 * of a leased file, and the keeper carries what happens there to the file
 * (staged.h). With a read lease it can only be read, as the mappings before:
 * mprotect() of it says EACCES; nothing has to be written or held up. Counted:
 * regions may overlap. The calling thread moves mappings. 0, or -errno with a
 * sentence and the file is mapped as before:
 *   -EPERM       other threads run, and what they do in system calls cannot be
 *                held up (userfaultfd), and has to be (config.uffd): the
 *                sentence names the remedy
 *   -EOPNOTSUPP  the kernel's userfaultfd is too old; a mapping has what cannot
 *                be made anew; a thread waits there for a mutex that hands
 *                on priorities (swap_sleepers.h)
 *   -EBUSY       another userfaultfd of the program watches the range
 *   -EAGAIN      mappings of the file come and go
 *   -EMFILE      no descriptors left: two for each extent
 *   -ENOMEM      no memory, or too many mappings
 *   -EIO         the file cannot be read
 *   -ETIMEDOUT   the keeper does not answer (10 s)
 */
int lease_stage(struct lease *lease, uint64_t offset, uint64_t length);

/*
 * Maps the shadows of [offset, offset + length), whole pages that the caller
 * has staged, over what lies at addr: for reading and writing, whatever the
 * file allows. For a device alone: who knows the address could change what
 * nobody can write. No child has it. The caller unmaps it (munmap) before the
 * range is unstaged. 0, or -errno with a sentence and some may be mapped:
 *   -ENOENT      a part has no shadow
 *   -ENOMEM      no memory, or too many mappings
 *   -ESRCH       in a forked child
 */
int lease_alias(struct lease *lease, uint64_t offset, uint64_t length,
		uintptr_t addr);

/*
 * One count less. Where it was the last all is flushed and the file mapped
 * back. 0, or -errno with a sentence, and the shadow stays until that can be
 * done: -EAGAIN others have the file now; -ETIMEDOUT, -EIO it could not be
 * written.
 */
int lease_unstage(struct lease *lease, uint64_t offset, uint64_t length);

/*
 * What was stored in the shadows of this range before the call is in the file,
 * durable, when it returns 0; also while others have it open (RECALL_YIELDED).
 * Whole blocks (4 KiB) are compared and written, and only those of the range.
 * Else, with a sentence:
 *   -EIO        a block of it is in conflict (on_conflict error), until shadow
 *               and file are the same there, or the region is unstaged, which
 *               leaves the file as it is; or others have the file and have
 *               changed a block of it that is to be written, until they close
 *               it; or it cannot be written. All other blocks are in the file
 *   -ENOSPC, -EDQUOT  the same for want of room
 *   -EAGAIN     the kernel has taken the lease (RECALL_LOST)
 *   -ETIMEDOUT  the keeper has not answered for 30 s
 */
int lease_flush(struct lease *lease, uint64_t offset, uint64_t length);

/*
 * The same of all that is in its shadows, as soon as the file is ours: begun,
 * and not waited for. The observer hears RECALL_WRITTEN, or RECALL_FLUSHED
 * where it is handed over, or why not; that which recall_has_flushed() with
 * this ticket is the answer, also where another keeper had to be asked. -ESRCH
 * in a forked child.
 */
int lease_flush_soon(struct lease *lease, uint32_t ticket);

/* For as many files as there are: what was stored before is meant. Never 0. */
uint32_t lease_flush_ticket(void);

/*
 * The same of whatever file it is, which may be one of the memfds that are
 * shadows (shadows.h): the offset is in that then. 0 also where there is
 * nothing in a shadow.
 */
int lease_flush_file(struct lease_engine *engine, dev_t dev, ino_t ino,
		     uint64_t offset, uint64_t length);

/*
 * Of a memfd that is a shadow (shadows.h): where in its file it begins.
 * -ENOENT, with a sentence: it is none, or none any more.
 */
int lease_find_shadow(struct lease_engine *engine, dev_t dev, ino_t ino,
		      uint64_t *ret_offset);

/*
 * A private copy takes the place of all private mappings of files in [addr,
 * addr + length), whole pages, as far as they lie in it (private.h): memory
 * that a device can pin, with what was there and with the same protection and
 * flags. No store of any thread is lost, and there is nothing to be undone. No
 * lease is needed, and what else lies in the range is left alone. The calling
 * thread moves mappings. 0, or -errno with a sentence; what has been copied by
 * then stays so:
 *   -EFAULT      something is not mapped, or is beyond the end of its file
 *   -EPERM, -EOPNOTSUPP, -ENOSYS, -EBUSY, -EAGAIN  as lease_stage()
 *   -EMFILE      no descriptors left: three
 *   -ENOMEM      no memory, or too many mappings
 *   -ESRCH       in a forked child
 *   others of    mmap(2), madvise(2), vmsplice(2), /proc
 */
int lease_privatize(struct lease_engine *engine, uintptr_t addr, size_t length);

/*
 * A descriptor of the program's for its observer: what it is in the engine's
 * table, which is the one of thread *ret_tid alone, until it is taken back. 0,
 * or -errno with a sentence: -EBADF, -EMFILE, -EPERM (seccomp), -ESRCH in a
 * forked child.
 */
int lease_lend(struct lease_engine *engine, int fd, int *ret_fd,
	       pid_t *ret_tid);
void lease_take_back(struct lease_engine *engine, int fd);

/* What the keeper said last. Any thread, at any time; reads memory only. */
enum recall_state lease_state(const struct lease *lease);

/*
 * How much has happened to it: grows with each report, also those that the
 * observer has still to be told. As lease_state(), for comparison only.
 */
uint64_t lease_reports(const struct lease *lease);

/*
 * How long the file is now, whoever has it. 0; -EBUSY, or others: there is no
 * descriptor of it just now, with a sentence; -ESRCH in a forked child. Not for
 * an observer.
 */
int lease_size(struct lease *lease, uint64_t *ret);

/* Which file it is on. */
void lease_file(const struct lease *lease, dev_t *ret_dev, ino_t *ret_ino);

/*
 * From the next break on a consent is waited for so long; 0: not asked for. 0,
 * or -errno with a sentence: -ESRCH in a forked child, -ETIMEDOUT the keeper
 * does not answer, and does it later. Not for an observer, which waits for
 * nobody.
 */
int lease_ask(struct lease *lease, int64_t consent_ns);

/* Those that it was taken on. */
const struct lease_terms *lease_terms(const struct lease *lease);

/*
 * What the keeper has done in the lease's shadows since there is a lease, in
 * blocks of 4 KiB: those that it looked at, wrote, and could not write.
 */
struct lease_flushed {
	uint64_t compared;
	uint64_t copied;
	uint64_t failed;
};

/* For an observer. */
void lease_flushed(const struct lease *lease, struct lease_flushed *ret);

/* What an observer keeps of a lease, as long as that is; all 0 at first. */
struct lease_heard {
	struct recall_report last;
	int64_t asked_ns; /* the deadline, where there is no answer yet */
	void *first;	  /* of those that it tells */
	void *counted;	  /* what is counted of it */
};
struct lease_heard *lease_heard(struct lease *lease);

/* Agrees that the file goes, in answer to `asked`. Any thread, never waits. */
void lease_consent(struct lease *lease);

#endif
