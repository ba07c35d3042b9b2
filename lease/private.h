/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A private copy takes the place of private mappings of a file, for devices
 * that cannot pin a page of the file: the kernel refuses every page of such a
 * mapping, also those that have been written to and are no page of the file any
 * more. What the program sees there is what it saw before, to the last store of
 * each of its threads. It stays so.
 *
 * One chunk after the other:
 *
 *        file's mapping   --a--b----------.
 *                          all pages are   \
 *                          made private,    \ kept by the pipe
 *                          a pipe has them   \
 *        private copy     --------------------c--wait--d--------->
 *                                              moved   filled
 *
 *   a  each page is made a copy of its own (MADV_POPULATE_WRITE): from now on
 *      stores go to this page and no other
 *   b  a pipe gets a reference to each (vmsplice)
 *   c  anonymous memory, trapped (trap.h), is moved over the mapping. That was
 *      the last store to the old pages; who touches the range now waits
 *   d  the old pages are read out of the pipe, with all that was stored in
 *      them till c, and put into the new memory
 *
 * The range is not inherited by children meanwhile: with a page that two
 * processes have the next store would go to another one.
 *
 * Where nobody stores (one thread, or a mapping that is not for writing) the
 * bytes are copied and the copy is moved.
 *
 * What a program can tell: a page that it had not written to shows no more what
 * others write to the file later, which mmap(2) leaves open; the mapping is
 * anonymous in /proc. What a direct read or a device that is under way stores
 * goes to the old page. A program that drops its own changes there meanwhile
 * (MADV_DONTNEED) may have stores after that lost.
 *
 * The engine thread's alone.
 */
#ifndef DAXMR_LEASE_PRIVATE_H
#define DAXMR_LEASE_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "lease_table.h"
#include "staged.h"

/* As lease_privatize(). */
int private_make(const struct lease_table *table, uintptr_t addr, size_t length,
		 const struct staged_mover *mover);

#endif
