/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nothing of ours between verbs and the kernel: libibverbs reads from the
 * channels that completions are waited for at, and some of its drivers write
 * to post. Both call read() and write() as anybody, so they come through our
 * hooks; but what they read and write is their own and never a leased file, and
 * needs no look at what it is.
 *
 * Such a call is told by where it returns to, and only what is certain counts:
 *
 *  - the place is in the code of libibverbs or of one of its drivers, by their
 *    names. They are held as long as the process lives, so that nothing else
 *    can ever lie there;
 *  - the instruction before it is that library's own call of the function. A
 *    function of the program's that the library calls back (allocators of
 *    parent domains, of mlx5dv) may end in a jump to read(), which returns to
 *    the library as well: but there a pointer has been called.
 *
 * Everything else is looked at as ever: verbs that are linked into the program,
 * calls through another interposer, machines other than x86-64.
 */
#ifndef DAXMR_FILE_VERBS_H
#define DAXMR_FILE_VERBS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Places found to be certain, each where its address says; 0: none. */
#define FILE_VERBS_PLACES 64

extern _Atomic uintptr_t file_verbs_places[FILE_VERBS_PLACES];

static inline _Atomic uintptr_t *file_verbs_place(uintptr_t back)
{
	return &file_verbs_places[(back ^ back >> 6) % FILE_VERBS_PLACES];
}

bool file_verbs_look_at(const void *hook, uintptr_t back);

/*
 * Has verbs' own code called `hook`, to return to `back`? Ten instructions once
 * it has been told, some hundred before: no lock, no system call, in signal
 * handlers as well. The code stays there and does not change, so a place that
 * was certain once is so for ever.
 */
static inline bool file_verbs_have_called(const void *hook, const void *back)
{
	return atomic_load_explicit(file_verbs_place((uintptr_t)back),
				    memory_order_relaxed) == (uintptr_t)back ||
	       file_verbs_look_at(hook, (uintptr_t)back);
}

/*
 * Finds them, before or after which others have been loaded: after each
 * registration as long as there are shadows, for a device has its driver by
 * then. No system call where nothing has been loaded since the last time.
 * errno is kept. Takes locks of the loader's: not in signal handlers.
 */
void file_verbs_find(void);

#endif
