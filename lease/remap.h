/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All shared mappings of a file in this process made anew from one open file
 * description, under running threads.
 *
 * A mapping keeps the description alive that it was made from, though its
 * descriptor is closed, and the kernel grants a write lease only where there is
 * one description. The same bytes mapped from another description are the same
 * pages at the same addresses: nothing but what /proc calls the mapping's file
 * changes.
 *
 * Each is mapped elsewhere first, with protection, MAP_SYNC, MAP_NORESERVE,
 * protection key and what madvise() said (DONTFORK, DONTDUMP, SEQUENTIAL,
 * RANDOM, HUGEPAGE, NOHUGEPAGE); all that can fail fails there. Then mremap()
 * moves it over the old one in one step: a thread that stores there waits for
 * that step in a page fault, and sees the same page after it. What is locked
 * (mlock) is locked again afterwards, as two of them might exceed the limit.
 *
 * If it fails half way, those that were made anew stay: same file, same bytes.
 *
 * The race: a thread that unmaps one of these ranges, and maps something else
 * there, between our look at it and the step after. mremap() would put the file
 * over the new thing, and Linux has no call that replaces a mapping only if it
 * is still the one that was looked at. So it is looked at again right before:
 * one system call earlier with PROCMAP_QUERY, and on older kernels after the
 * line of maps that shows it. What is left are those microseconds, for a
 * program that unmaps a mapping of this very file while it registers memory of
 * it. One that vanished or changed is left alone, and all are read once more.
 *
 * Not carried over, because it means nothing for a mapped file of ext4 and xfs:
 * a NUMA policy of the mapping (pages of such files follow the thread's).
 * mprotect() may make writable what a read-only description did not allow
 * before.
 */
#ifndef DAXMR_LEASE_REMAP_H
#define DAXMR_LEASE_REMAP_H

#include <stdint.h>

/*
 * From fd's description, which is open for reading and writing. 0, or -errno
 * with a sentence:
 *   -EOPNOTSUPP  a mapping has what cannot be carried over: it is registered
 *                with a userfaultfd, sealed, has guard pages, or a flag that is
 *                not known here; nothing has been changed
 *   -EBUSY       mappings of the file come and go too fast
 *   others       mmap(2), mremap(2), mlock(2), /proc
 */
int remap_file(int fd);

/*
 * The one that addr lies in, as remap_file(), which it becomes where that one
 * cannot be had by itself. The cost of that one does not grow with what else is
 * mapped, of other files and of this.
 */
int remap_at(int fd, uintptr_t addr);

#endif
