/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why registrations fail, to be counted: a name for each reason that somebody
 * can do something about. Beside the errno, which is the program's and tells
 * less, and the sentence, which tells all and cannot be added up.
 *
 * Those of lease/ are its own (enum reason_kind), with the same numbers; the
 * rest is here. A registration's is reason_kind() of the thread when it has
 * failed.
 */
#ifndef DAXMR_REFUSAL_H
#define DAXMR_REFUSAL_H

#include "reason.h"

enum refusal {
	REFUSAL_KERNEL = REASON_KINDS, /* the device's driver, with its errno */
	REFUSAL_LOCKED,		       /* by the kernel: ENOMEM */
	REFUSAL_UNMAPPED,
	REFUSAL_PROTECTION,
	REFUSAL_SEVERAL, /* kinds of memory, or files */
	REFUSAL_NO_ODP,
	REFUSAL_ODP_ACCESS,
	REFUSAL_ODP_UNTRUSTED,
	REFUSAL_ODP_UNTESTED,
	REFUSAL_ODP_IOVA,
	REFUSAL_FLUSH_PERSISTENT,
	REFUSAL_STAGE_MAX,
	REFUSAL_MEMLOCK,
	REFUSAL_CGROUP,
	REFUSAL_BREAK_TIME,
	REFUSAL_WINDOW,
	REFUSALS
};

/* "open-elsewhere", "no-odp", ...; daxmr-list(1) has what they mean. */
const char *refusal_name(unsigned int refusal);

#endif
