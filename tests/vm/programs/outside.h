/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be seen of a leased file from outside of daxmr, for the rig's test
 * programs: by /proc, and by the inode, whatever name it has.
 */
#ifndef DAXMR_TESTS_OUTSIDE_H
#define DAXMR_TESTS_OUTSIDE_H

#include <stdbool.h>
#include <sys/types.h>

/* Does anybody have a lease on it that is not being broken? */
bool outside_is_leased(ino_t inode);

/*
 * The file is mapped at addr, in this process, again: waits for at most 20 s.
 * Others may have had it when the last MR went.
 */
bool outside_comes_back(ino_t inode, const void *addr);

#endif
