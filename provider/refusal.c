/* SPDX-License-Identifier: BSD-2-Clause */
#include "refusal.h"

const char *refusal_name(unsigned int refusal)
{
	static const char *const names[REFUSALS] = {
		[REASON_OTHER] = "other",
		[REASON_MEMORY] = "memory",
		[REASON_DESCRIPTORS] = "descriptors",
		[REASON_NO_SPACE] = "no-space",
		[REASON_TIMEOUT] = "timeout",
		[REASON_BUSY] = "open-elsewhere",
		[REASON_NOT_OWNER] = "not-owner",
		[REASON_FILE_SYSTEM] = "file-system",
		[REASON_LEASES_OFF] = "leases-off",
		[REASON_TERMS] = "other-policies",
		[REASON_REFLINK] = "reflink",
		[REASON_PRIVILEGE] = "userfaultfd",
		[REASON_UNSEEN] = "unseen",
		[REASON_KEEPER] = "keeper",
		[REFUSAL_KERNEL] = "kernel",
		[REFUSAL_LOCKED] = "kernel-memory",
		[REFUSAL_UNMAPPED] = "unmapped",
		[REFUSAL_PROTECTION] = "protection",
		[REFUSAL_SEVERAL] = "several-memories",
		[REFUSAL_NO_ODP] = "no-odp",
		[REFUSAL_ODP_ACCESS] = "odp-access",
		[REFUSAL_ODP_UNTRUSTED] = "odp-untrusted",
		[REFUSAL_ODP_UNTESTED] = "odp-untested",
		[REFUSAL_ODP_IOVA] = "odp-iova",
		[REFUSAL_FLUSH_PERSISTENT] = "flush-persistent",
		[REFUSAL_STAGE_MAX] = "stage-max",
		[REFUSAL_MEMLOCK] = "memlock",
		[REFUSAL_CGROUP] = "cgroup",
		[REFUSAL_BREAK_TIME] = "lease-break-time",
		[REFUSAL_WINDOW] = "window",
	};

	return names[refusal < REFUSALS ? refusal : REASON_OTHER];
}
