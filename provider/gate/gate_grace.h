/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DAXMR_GATE_GRACE_H
#define DAXMR_GATE_GRACE_H

#include <stdint.h>

/*
 * After poll_cq was patched, with the attention of polls set: waits until no
 * other thread can be inside the provider's function by a call that did not go
 * through ours. Such a thread would hand a marker's completion to the program.
 * Nothing marks it, so each has to be seen once to have
 *  - polled through ours, or
 *  - been in a system call (/proc/self/task/TID/syscall): polling is none, or
 *  - had more time on a CPU than any poll takes.
 * 0; -ETIMEDOUT; -errno if the threads cannot be listed.
 */
int gate_grace(int64_t deadline_ns);

#endif
