/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A leased file (own_lease.h) that is mapped and has a shadow: what is stored
 * in the mapping is in the file when it has been made durable, and not before.
 */
#ifndef DAXMR_TESTS_OWN_STAGED_H
#define DAXMR_TESTS_OWN_STAGED_H

#include "own_lease.h"

extern char *own_map; /* all of the file */

/* After own_setup(); false: files cannot be staged here, said why. */
bool own_stage(void);
void own_unstage(void);

/* What stands in the file itself, whatever is mapped. */
void own_check_file(size_t offset, const void *bytes, size_t length,
		    const char *what);

/* Others have the file from here to there; they read, or write too. */
void own_lend(int flags);
/* They have written this when it returns. */
void own_lend_written(const char *text, size_t offset);
void own_take_back(void);

#endif
