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
 *
 * What it found wrong stays wrong: a device that puts one byte astray is not
 * asked how often.
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
	uint8_t port;	 /* the port that was used, 0 for none */
	bool from_cache; /* an earlier test of this boot, not a new one */
	/*
	 * Right also where an MR's iova is not its address. Known only where
	 * the verdict is ODP_RIGHT. rxe takes one for the other: an access to
	 * such an MR reads beyond a table in the kernel, and was seen to
	 * crash it (7.2.12, rxe_check_pagefault()).
	 */
	bool iova_right;
	unsigned int cases;   /* how many transfers were looked at */
	unsigned int time_us; /* of the test itself */
	/* one sentence: what was seen, or why nothing could be */
	char seen[256];
};

/*
 * Runs the test now. Never fails: what goes wrong is ODP_NO_VERDICT.
 *
 * Needs a port that is up, a thread, and memory that may be locked: four pages
 * of its own at a time, and what the device's driver locks for a CQ, two QPs
 * and an SRQ (soft-RoCE: nothing). Makes a context, a PD and QPs of its own and
 * takes everything down again, prints nothing, keeps errno. Takes 0.2 seconds
 * with soft-RoCE in an emulated machine, one on a device that does not answer,
 * at most six.
 *
 * It runs on a thread of its own (trust_thread.h), for which the caller waits,
 * uncancelled: libibverbs needs more stack than a caller may have.
 */
void odp_trust_test(const struct verbs_table *verbs, struct ibv_device *device,
		    struct odp_trust *ret);

/*
 * The verdict, tested once per device, port, driver and boot: asked again in
 * this process it comes from memory, in another process of this user from a
 * file. Threads that ask at once wait for one test. Not to be called with a
 * lock held. After a fork the child asks the file, or tests again.
 *
 * ODP_NO_VERDICT is never written down, and in this process it is believed for
 * ten times as long as the test took, so that a program that registers again
 * and again on a device that does not answer is not held up each time. The same
 * goes for any verdict on a device that sysfs does not show.
 *
 * Every answer is for the device as it is now: a driver that was unloaded and
 * loaded again is tested again (trust_id.h), at the cost of one stat(). Needs
 * little stack: a thread with PTHREAD_STACK_MIN can ask.
 */
void odp_trust_get(const struct verbs_table *verbs, struct ibv_device *device,
		   struct odp_trust *ret);

/*
 * Whether ODP may be used after this verdict: right is trusted, wrong never.
 * Without a verdict only drivers on a list, which has mlx5 on it and no other:
 * its paging is done by hardware that has been in production since 2014, and
 * what keeps the test from a verdict there (a port that is down, a virtual
 * function without a GID, a limit on memory, a slow fault) says nothing of its
 * paging. The driver is the one that sysfs names, for devices that are that
 * driver's own (not soft devices on top of them).
 */
bool odp_trust_ok(const struct odp_trust *trust, struct ibv_device *device);

/*
 * The same for an MR whose iova is not its address. One may be used only if
 * this says so. (A difference that is not a multiple of the page size the
 * kernel refuses itself: EINVAL, ib_uverbs_reg_mr().)
 */
bool odp_trust_iova_ok(const struct odp_trust *trust,
		       struct ibv_device *device);

const char *odp_verdict_name(enum odp_verdict verdict);

#endif
