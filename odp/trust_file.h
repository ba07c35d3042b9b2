/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Verdicts that outlast a process: a file per device, of this user, for this
 * boot.
 *
 * Where: /run/daxmr/ for root, $XDG_RUNTIME_DIR/daxmr/ for others, nowhere for
 * programs that have neither (and setuid ones). Both are gone with the boot.
 *
 * What: odp-trust-DEVICE, text:
 *
 *	daxmr odp trust 1
 *	<the device's identity, trust_id.h, some lines>
 *	verdict right
 *	iova right
 *	port 1
 *	cases 432
 *	time_us 61250
 *	seen 432 transfers by ...
 *	end
 *
 * Whoever could write it could make a device trusted that corrupts data. So
 * the folder and the file have to be this user's own and writable by nobody
 * else, neither may be a symbolic link, and all of it has to be exactly so:
 *with any doubt there is no verdict in it, and the test is run again. A file is
 * written beside its place and renamed into it: there are no halves.
 */
#ifndef DAXMR_ODP_TRUST_FILE_H
#define DAXMR_ODP_TRUST_FILE_H

#include <stdbool.h>

#include "trust.h"

/* False, and *ret untouched, where there is none to be believed. */
bool trust_file_load(const char *device_name, const char *identity,
		     struct odp_trust *ret);

/* What cannot be written isn't: the next process tests for itself. */
void trust_file_store(const char *device_name, const char *identity,
		      const struct odp_trust *trust);

/*
 * For tests: the folder, in the place of the rule above; NULL for the rule. It
 * is made if it isn't there, its parent has to be.
 */
void trust_file_set_folder(const char *path);

#endif
