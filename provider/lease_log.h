/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to leases, in the log (log.h). Called by the engine's thread,
 * whose standard error is /dev/null: a line goes to the program's, unless that
 * would make it wait.
 */
#ifndef DAXMR_LEASE_LOG_H
#define DAXMR_LEASE_LOG_H

#include "lease.h"

void lease_log_changed(struct lease *lease, const struct recall_report *report,
		       uint64_t missed);
void lease_log_keeper_died(int error);
void lease_log_shared_fate(const char *text);

#endif
