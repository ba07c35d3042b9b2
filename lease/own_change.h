/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A change that the program makes itself to a file which has shadows: the
 * shadows follow.
 *
 *   the program's thread        file      shadow    keeper
 *   own_begin                   old       old       stands still (leased.h)
 *   the call                    zeroes    old
 *   own_end: own_change_follow  zeroes    zeroes
 *                               zeroes    zeroes    settles: blocks for the
 *                                                   range again
 *
 * What is cut off and what is punched become zeroes in the shadow, byte for
 * byte in the pages it has: a device's pins stay. Beyond the end of the file a
 * load is no SIGBUS then but a zero, and a growth brings zeroes to light. A
 * peer or a thread that stores there meanwhile comes before or after, as on the
 * file itself; what comes after the zeroes is flushed as ever.
 *
 * The digests (extent_page.h) go along: a block's base is now what stands in
 * the file, so that neither the flush nor the merge takes the zeroes for
 * anybody's change. A block that only partly became zeroes is read from the
 * file for that while the file is ours, and left as it is else: both sides have
 * the same zeroes. What the keeper has not stood still for (a call that took
 * long, while others wanted the file) has no digest afterwards: the zeroes are
 * ours, whatever the file has.
 *
 * A write that makes the file longer stores in the shadow first, beyond the
 * end, and its caller is told of success when the file has grown: so the file's
 * end is followed with nobody inside its gate (own_gate.h), or the zeroes would
 * go over what was written. The engine waits for that while it serves others,
 * and no longer than for any who are inside.
 *
 * A program that is killed between its call and own_end: what only the file has
 * is taken for a change by others, and stays.
 *
 * The engine thread's alone.
 */
#ifndef DAXMR_LEASE_OWN_CHANGE_H
#define DAXMR_LEASE_OWN_CHANGE_H

#include "lease_table.h"
#include "own.h"

/* So many blocks have gone from shadows of the file to the file. */
uint64_t own_change_copied(const struct lease *lease);

/*
 * Between begin and end: what own_truncate() and own_punch() ask for. The
 * caller is told by own_desk_finish().
 */
void own_change_truncate(struct lease_table *table, struct own *own);
void own_change_punch(struct lease_table *table, struct own *own);

/*
 * At the end, own->effect. Where no descriptor of the file is to be had the
 * keeper's merge brings the shadow what the file has.
 */
void own_change_follow(const struct lease_table *table, const struct own *own);

/* Whether that takes nobody inside the gate. */
bool own_change_moves_end(const struct own *own);

#endif
