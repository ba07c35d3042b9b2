/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asks route.h with facts: what lies at an address, what the device can do and
 * whether it may be trusted, each found out only when it decides.
 */
#ifndef DAXMR_CHOICE_H
#define DAXMR_CHOICE_H

#include "caps.h"
#include "memory.h"
#include "real.h"
#include "route.h"
#include "trust.h"

/* The question and its answer, with room for what they point to. */
struct choice {
	struct route_question question;
	struct memory memory;
	struct odp_caps caps;	/* where question.caps is set */
	struct odp_trust trust; /* where question.trust was asked */
	struct route route;
};

/*
 * Looks at the memory and fills in the question; the device is added by
 * choice_make(). Memory that cannot be looked at is MEMORY_UNKNOWN. With the
 * wish for passthrough it is not looked at.
 */
void choice_open(struct choice *choice, const void *addr, size_t length,
		 unsigned int access, enum strategy wish);

/*
 * Decides: fills in choice->route, never with ROUTE_NEEDS. May run the trust
 * test (trust.h), so it is not to be called with a lock held.
 */
void choice_make(struct choice *choice, const struct real_verbs *real,
		 struct ibv_context *context);

#endif
