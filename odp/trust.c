/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The trust test: which rounds are run, and what verdict comes of it.
 *
 * First a transfer between plain memories: it finds the address by which the
 * port reaches itself, and without it nothing could be said. Then every round
 * of the table whose operation the device claims for on-demand memory; the
 * first wrong byte ends the test. A round that fails (an error completion,
 * none at all, a limit) takes no part in the verdict but leaves it open: a
 * device that is right wherever it works, and doesn't where it says it does,
 * is not one to put data on. The other rounds are run all the same while there
 * is time: wrong bytes in one of them are worth more than an open verdict.
 *
 * In the end, and only on a device that was right: MRs with an iova that isn't
 * their address. Few programs have these, so they are a verdict of their own.
 *
 * Not tested: XRC, FLUSH and ATOMIC WRITE (ibv_wr_flush(),
 * ibv_wr_atomic_write() of newer rdma-core: not to be had through
 * ibv_post_send()), RAW_PACKET, driver-specific transports and memory windows.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "trust.h"
#include "trust_cases.h"
#include "trust_id.h"
#include "trust_mem.h"
#include "trust_thread.h"

/*
 * On hardware all of it takes some ten milliseconds, in an emulated machine
 * 0.2 seconds, in one whose processors others want too two. A device that does
 * not answer at all costs the patience for one batch (another 50 ms for each
 * further address), one that stops answering in the middle another second at
 * most: after a failure there is little patience left. So the total is only for
 * devices that are slow beyond reason; what it cuts off has no verdict.
 */
#define TOTAL_NS	  6000000000ull
#define PATIENCE_NS	  1000000000ull
#define SHORT_PATIENCE_NS 50000000ull /* once something failed */

#define SEND   IBV_ODP_SUPPORT_SEND
#define RECV   IBV_ODP_SUPPORT_RECV
#define WRITE  IBV_ODP_SUPPORT_WRITE
#define READ   IBV_ODP_SUPPORT_READ
#define ATOMIC IBV_ODP_SUPPORT_ATOMIC
#define SRQ    IBV_ODP_SUPPORT_SRQ_RECV

#define PLAIN	 SIDE_PLAIN
#define ODP	 SIDE_ODP
#define READONLY SIDE_READONLY
#define SHIFTED	 SIDE_SHIFTED

#define ALL  STAGES_ALL
#define SOME (1u << STAGE_UNTOUCHED | 1u << STAGE_DROPPED)
#define ONE  (1u << STAGE_WRITTEN)

static const struct round rounds[] = {
	{LINK_RC, ROUND_WRITE, PLAIN, ODP, ALL, WRITE},
	{LINK_RC, ROUND_READ, ODP, PLAIN, ALL, READ},
	{LINK_RC, ROUND_SEND, ODP, PLAIN, ALL, SEND},
	{LINK_RC, ROUND_SEND, PLAIN, ODP, ALL, RECV},
	{LINK_RC, ROUND_WRITE, ODP, PLAIN, ALL, WRITE},
	{LINK_RC, ROUND_READ, PLAIN, ODP, ALL, READ},
	{LINK_RC, ROUND_ATOMIC, ODP, PLAIN, ALL, ATOMIC},
	{LINK_RC, ROUND_ATOMIC, PLAIN, ODP, ALL, ATOMIC},
	{LINK_RC, ROUND_WRITE_IMM, PLAIN, ODP, SOME, WRITE},
	{LINK_RC, ROUND_SEND, READONLY, PLAIN, SOME, SEND},
	{LINK_RC, ROUND_WRITE, READONLY, PLAIN, SOME, WRITE},
	{LINK_RC, ROUND_READ, READONLY, PLAIN, SOME, READ},
	{LINK_RC, ROUND_SEND, ODP, ODP, SOME, SEND | RECV},
	{LINK_RC, ROUND_WRITE, ODP, ODP, SOME, WRITE},
	{LINK_RC, ROUND_READ, ODP, ODP, SOME, READ},
	{LINK_RC_SRQ, ROUND_SEND, PLAIN, ODP, ALL, SRQ},
	{LINK_UD, ROUND_SEND, ODP, PLAIN, ALL, SEND},
	{LINK_UD, ROUND_SEND, PLAIN, ODP, ALL, RECV},
	{LINK_UD, ROUND_SEND, READONLY, PLAIN, SOME, SEND},
	{LINK_UD_SRQ, ROUND_SEND, PLAIN, ODP, ALL, SRQ},
	{LINK_UC, ROUND_SEND, ODP, PLAIN, ALL, SEND},
	{LINK_UC, ROUND_SEND, PLAIN, ODP, ALL, RECV},
	/* Only an immediate tells that a UC write has come. */
	{LINK_UC, ROUND_WRITE_IMM, ODP, PLAIN, ALL, WRITE},
	{LINK_UC, ROUND_WRITE_IMM, PLAIN, ODP, ALL, WRITE},
};

static const struct round control = {LINK_RC, ROUND_WRITE, PLAIN,
				     PLAIN,   ONE,	   0};

static const struct round shifted_rounds[] = {
	{LINK_RC, ROUND_WRITE, PLAIN, SHIFTED, SOME, WRITE},
	{LINK_RC, ROUND_READ, SHIFTED, PLAIN, SOME, READ},
	{LINK_RC, ROUND_SEND, SHIFTED, PLAIN, SOME, SEND},
};

static bool claimed(const struct loop *loop, const struct round *round)
{
	uint32_t claims = loop->caps.rc;

	if (round->link == LINK_UD || round->link == LINK_UD_SRQ)
		claims = loop->caps.ud;
	if (round->link == LINK_UC)
		claims = loop->caps.uc;
	if (round->op == ROUND_ATOMIC &&
	    loop->attr.orig_attr.atomic_cap == IBV_ATOMIC_NONE)
		return false;
	return (claims & round->needs) == round->needs;
}

/* The reason gets the round's name in front of it. */
static void name_failure(const struct loop *loop, const struct round *round,
			 struct odp_trust *trust)
{
	char name[64];

	if (trust->seen[0])
		return; /* the first is the one to tell */
	snprintf(trust->seen, sizeof(trust->seen), "%s: %s",
		 round_name(round, name, sizeof(name)), loop->reason);
}

/* By which address does plain memory come over? */
static enum round_result run_control(struct loop *loop, struct odp_trust *trust)
{
	enum round_result result = ROUND_FAILED;

	for (unsigned int i = 0; i < loop->addresses; i++) {
		loop->used_address = i;
		loop->patience_ns = i ? SHORT_PATIENCE_NS : PATIENCE_NS;
		loop->reason[0] = '\0';
		result = round_run(loop, &control, trust->seen,
				   sizeof(trust->seen), &trust->cases);
		if (result != ROUND_FAILED)
			break;
	}
	return result;
}

static bool run_shifted(struct loop *loop)
{
	char seen[256];
	unsigned int cases = 0;

	loop->patience_ns = PATIENCE_NS;
	for (size_t i = 0;
	     i < sizeof(shifted_rounds) / sizeof(shifted_rounds[0]); i++)
		if (claimed(loop, &shifted_rounds[i]) &&
		    round_run(loop, &shifted_rounds[i], seen, sizeof(seen),
			      &cases) != ROUND_RIGHT)
			return false;
	return cases;
}

static void run_rounds(struct loop *loop, struct odp_trust *trust)
{
	unsigned int failures = 0, right = 0;

	switch (run_control(loop, trust)) {
	case ROUND_RIGHT:
		break;
	case ROUND_WRONG: /* on-demand or not, this is no device for data */
		trust->verdict = ODP_WRONG;
		return;
	case ROUND_FAILED:
		snprintf(trust->seen, sizeof(trust->seen),
			 "port %u does not send to itself: %s", loop->port,
			 loop->reason);
		return;
	}

	loop->patience_ns = PATIENCE_NS;
	for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
		char seen[sizeof(trust->seen)];

		if (!claimed(loop, &rounds[i]))
			continue;
		loop->reason[0] = '\0';
		switch (round_run(loop, &rounds[i], seen, sizeof(seen),
				  &trust->cases)) {
		case ROUND_RIGHT:
			right++;
			break;
		case ROUND_WRONG:
			trust->verdict = ODP_WRONG;
			memcpy(trust->seen, seen, sizeof(seen));
			return;
		case ROUND_FAILED:
			name_failure(loop, &rounds[i], trust);
			failures++;
			if (loop_now_ns() >= loop->deadline_ns)
				return;
			loop->patience_ns = SHORT_PATIENCE_NS;
			break;
		}
	}
	if (failures)
		return;
	if (!right) {
		snprintf(trust->seen, sizeof(trust->seen),
			 "the device claims no operation on on-demand memory "
			 "that could be tested");
		return;
	}
	trust->verdict = ODP_RIGHT;
	trust->iova_right = run_shifted(loop);
	snprintf(trust->seen, sizeof(trust->seen),
		 "%u transfers by %u operations put every byte where it "
		 "belongs%s",
		 trust->cases, right,
		 trust->iova_right ? ""
				   : " (not so where the iova is not the "
				     "address)");
}

struct test {
	const struct verbs_table *verbs;
	struct ibv_device *device;
	struct odp_trust trust;
	struct loop loop;
};

static void run_test(void *arg)
{
	struct test *test = arg;
	struct odp_trust *trust = &test->trust;
	struct loop *loop = &test->loop;

	if (loop_open(loop, test->verbs, test->device, TOTAL_NS))
		snprintf(trust->seen, sizeof(trust->seen), "%s", loop->reason);
	else
		run_rounds(loop, trust);
	trust->port = loop->port;
	loop_close(loop);
	trust->time_us =
		(unsigned int)((loop_now_ns() - loop->start_ns) / 1000);
}

void odp_trust_test(const struct verbs_table *verbs, struct ibv_device *device,
		    struct odp_trust *ret)
{
	int saved_errno = errno, err = ENOMEM;
	struct test *test = memory_map(sizeof(*test)); /* all zeroes */

	if (test) {
		test->verbs = verbs;
		test->device = device;
		err = -thread_run(run_test, test);
	}
	if (err) {
		*ret = (struct odp_trust){.verdict = ODP_NO_VERDICT};
		snprintf(ret->seen, sizeof(ret->seen),
			 "no thread to test with: %s (errno %d)",
			 strerrordesc_np(err) ?: "?", err);
	} else {
		*ret = test->trust;
	}
	memory_unmap(test, sizeof(*test));
	errno = saved_errno;
}

bool odp_trust_ok(const struct odp_trust *trust, struct ibv_device *device)
{
	switch (trust->verdict) {
	case ODP_RIGHT:
		return true;
	case ODP_WRONG:
		return false;
	default:
		return device_driver_is_sound(device);
	}
}

bool odp_trust_iova_ok(const struct odp_trust *trust, struct ibv_device *device)
{
	if (trust->verdict == ODP_RIGHT)
		return trust->iova_right;
	return odp_trust_ok(trust, device);
}

const char *odp_verdict_name(enum odp_verdict verdict)
{
	switch (verdict) {
	case ODP_RIGHT:
		return "right";
	case ODP_WRONG:
		return "wrong";
	default:
		return "no verdict";
	}
}
