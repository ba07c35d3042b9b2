/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hook does around a call of the program's on a file, once there are
 * leases in this process: finds out by a look at the file whether it is a
 * leased one, and announces the call (own.h) if so.
 *
 * The look is one or two system calls, raw ones: no other interposer, no lock,
 * no memory, errno as it was. Between look and call the name may come to stand
 * for another file: a call that is announced for nothing costs some
 * microseconds, one that is not announced is what any other process's would be.
 *
 * Each that returns true has to be ended, also when the thread is cancelled.
 */
#ifndef DAXMR_FILE_GUARD_H
#define DAXMR_FILE_GUARD_H

#include "own.h"
#include "pinned_own.h"

#define FILE_GUARD_MAX 4

struct file_guard {
	unsigned int count;
	/*
	 * Where there are more files than it has room for: how far it goes. The
	 * rest is another call's, under a guard of its own.
	 */
	unsigned int last; /* guard_closing(): descriptor */
	size_t length;	   /* guard_punching(): from addr on */
	bool is_shadow;	   /* the same */
	bool is_punch;	   /* the same, for guard_end() */
	union {
		struct own own[FILE_GUARD_MAX];
		struct {
			dev_t dev;
			ino_t ino;
		} file[FILE_GUARD_MAX]; /* guard_closing() */
	};
	/* of those in own that change the file */
	struct pinned_own pinned[FILE_GUARD_MAX];
};

/* open(): only one that would break our lease is announced. */
bool guard_opening(struct file_guard *guard, int dir, const char *path,
		   int flags);

/* A change of size or blocks, through a descriptor. */
bool guard_changing(struct file_guard *guard, int fd);

/*
 * Then, of the file's shadows: it may have another size; these bytes of it are
 * zeroes.
 */
static inline void guard_resized(struct file_guard *guard)
{
	guard->own[0].effect = OWN_RESIZED;
}

static inline void guard_zeroed(struct file_guard *guard, uint64_t offset,
				uint64_t length)
{
	guard->own[0].effect = OWN_ZEROED;
	guard->own[0].offset = offset;
	guard->own[0].length = length;
}

/*
 * After a call that had the file handed back has cut it off: others may have
 * changed its size by now, so that does not tell.
 */
static inline void guard_cut(struct file_guard *guard, uint64_t size)
{
	if (!guard->count)
		return;
	guard->own[0].effect = OWN_CUT;
	guard->own[0].offset = size;
}

/* Bytes of the file are to change their places: not under shadows. */
bool guard_shifting(const struct file_guard *guard);

/*
 * The same through mappings (MADV_REMOVE), of guard->length bytes. Where they
 * begin with one that shows a shadow (guard->is_shadow) it is for
 * guard_punch_shadow() alone.
 */
bool guard_punching(struct file_guard *guard, void *addr, size_t length);

/*
 * So much of it as shows one. 0 or a positive errno; -1: it shows none any
 * more, look again.
 */
int guard_punch_shadow(struct file_guard *guard, void *addr, size_t length,
		       size_t *ret_length);

void guard_end(struct file_guard *guard);

/*
 * truncate() breaks a lease as an open does. 1: *ret_error is what it came to
 * (0 or a positive errno), done through the leased description; 0: the call is
 * to be made; -1: it is to be made and ended.
 */
int guard_truncate(struct file_guard *guard, const char *path, int64_t length,
		   int *ret_error);

/*
 * Before descriptors [first, guard->last] are closed: are there leased files
 * with locks among them that go with the last of their descriptors?
 * guard_closed() then.
 */
bool guard_closing(struct file_guard *guard, unsigned int first,
		   unsigned int last);
void guard_closed(const struct file_guard *guard);
/* Has the descriptor's description a flock or an OFD lock? */
bool guard_has_lock(unsigned int fd);

#endif
