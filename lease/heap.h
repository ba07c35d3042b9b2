/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for what the engine's thread touches when it holds up pages. Not the
 * program's malloc(): that
 * may keep its blocks in the very file that is being staged (an allocator of
 * persistent memory), or be locked by a thread that waits at a page which is
 * held up until the engine is through. This lies in mappings of our own that
 * nobody registers, and its lock is held for a few instructions.
 *
 * So it is with all that this thread does, from its start on: a thread for an
 * errand is there before (errand.h), and /proc is read without stdio and
 * opendir() (lines.h, numbers.h). What the engine's observer does with news
 * (lease.h) is for it to see to.
 *
 * Any thread; not in a signal handler. Fork: the child's is in order, whoever
 * had the lock. What is returned is never given back to the kernel but the
 * large: as much as there was at once. Under AddressSanitizer it is malloc(),
 * so that leaks and what is touched after its end are found.
 */
#ifndef DAXMR_LEASE_HEAP_H
#define DAXMR_LEASE_HEAP_H

#include <stddef.h>

/* Zeroed; NULL: no memory, errno is ENOMEM. */
void *heap_get(size_t count, size_t size);
/* As reallocarray(): what is new is not zeroed. old is valid where it is NULL.
 */
void *heap_more(void *old, size_t count, size_t size);
char *heap_text(const char *text);
/* NULL: nothing. errno is kept. */
void heap_put(void *block);

#endif
