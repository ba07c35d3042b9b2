/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The trust test: does this device's ODP put the bytes where they belong?
 *
 * A capability bit is no proof: soft-RoCE's ODP lands every packet at the start
 * of its page and reports success (rxe_odp.c, Linux 6.15 to 7.3). So before a
 * device's ODP gets a user's data it moves known bytes at odd offsets and
 * lengths, path MTU 256, through every operation that its capabilities claim,
 * over loopback QPs in a context and PD of our own, into and out of scratch ODP
 * memory, and the CPU looks at both ends.
 */
#ifndef DAXMR_ODP_TRUST_H
#define DAXMR_ODP_TRUST_H

#include <stdbool.h>

#include "verbs_table.h"

enum odp_verdict {
	ODP_NO_VERDICT, /* could not be tested: port down, no GID, a limit */
	ODP_RIGHT,	/* every byte at its place */
	ODP_WRONG,	/* wrong bytes, seen */
};

struct odp_trust {
	enum odp_verdict verdict;
	uint8_t port;	     /* the port that was used, 0 for none */
	bool from_cache;     /* an earlier test of this boot, not a new one */
	unsigned int cases;  /* how many transfers were looked at */
	unsigned int time_us; /* of the test itself */
	/* one sentence: what was seen, or why nothing could be */
	char seen[256];
};

/* Runs the test now. Never fails: what goes wrong is ODP_NO_VERDICT. */
void odp_trust_test(const struct verbs_table *verbs, struct ibv_device *device,
		    struct odp_trust *ret);

/*
 * The verdict, tested once per device, port, driver and boot: asked again in
 * this process it comes from memory, in another process of this user from a
 * file. ODP_NO_VERDICT is not remembered. Threads that ask at once wait for one
 * test. Not to be called with a lock held.
 */
void odp_trust_get(const struct verbs_table *verbs, struct ibv_device *device,
		   struct odp_trust *ret);

/*
 * Whether ODP may be used after this verdict: right is trusted, wrong never;
 * without a verdict only drivers whose ODP is known to be sound (mlx5).
 */
bool odp_trust_ok(const struct odp_trust *trust, struct ibv_device *device);

const char *odp_verdict_name(enum odp_verdict verdict);

#endif
