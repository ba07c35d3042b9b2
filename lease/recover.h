/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptions that the keeper alone had, after its death.
 *
 * The engine's table has the program's soft limit on descriptors, and the
 * program may lease more files than that: the descriptor of a lease is kept
 * only below it, with some spare for what the engine reads in /proc. What is
 * above lives in the keeper, which raises its limit to the hard one.
 *
 * If the keeper dies, a description above lives on in a descriptor or mapping
 * of the program, with its lease, or has gone with the keeper:
 *   - a descriptor of the program that is open on the file is taken, first of
 *     all one whose fdinfo shows the lease: as if nothing had been;
 *   - else the file is opened again, by the path it had or a mapping shows, and
 *     its mappings are made anew. A description that only a mapping keeps alive
 *     still has the lease, of which nobody hears any more: opening says
 *     EWOULDBLOCK until the kernel's lease-break time is over, so it is tried
 *     again. Until then the lease counts as LOST, and the next keeper, which
 *     goes on from the board, finds that it was.
 */
#ifndef DAXMR_LEASE_RECOVER_H
#define DAXMR_LEASE_RECOVER_H

#include "lease_table.h"

/* Closes the engine's descriptor of a lease where the program may need it. */
void recover_prepare(struct lease *lease);

/* A keeper died, or has not taken it: the next recover_run() sees to it. */
void recover_begin(struct lease_table *table, struct lease *lease);

/* Nobody serves it any more: counts as LOST until a keeper has it again. */
void recover_tell_lost(struct lease *lease);

/*
 * Tries what is due. A lease that was found is laid before the keeper; one that
 * is being released and cannot be had any more has ended.
 */
void recover_run(struct lease_table *table);

/* poll(2)'s timeout until recover_run() has something to do. */
int recover_timeout_ms(const struct lease_table *table);

#endif
