/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that others wait for.
 *
 * Who opens a file waits in the kernel until it is flushed, and the keeper for
 * a CPU that the program and its peers may be polling on. While it is in haste
 * it goes before them, where it is allowed to (CAP_SYS_NICE, RLIMIT_NICE): by
 * its nice value and that of its session (sched(7), autogroup), either of which
 * may be the one that counts. Elsewhere it stays as it was.
 */
#ifndef DAXMR_LEASE_HASTE_H
#define DAXMR_LEASE_HASTE_H

#define HASTE_NICE (-10)

void haste_begin(void);
void haste_end(void);

#endif
