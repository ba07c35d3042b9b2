/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a round saw, in words.
 */
#include <stdio.h>

#include "trust_bench.h"

static const char *const stage_names[] = {
	[STAGE_UNTOUCHED] = "never touched before",
	[STAGE_WRITTEN] = "written by the CPU before",
	[STAGE_DROPPED] = "after its pages were replaced",
	[STAGE_REMAPPED] = "after it was mapped anew",
};

/* The side that the words are about: the target, where both are on-demand. */
static const struct side *described_side(const struct bench *bench)
{
	if (!side_is_odp(&bench->to) && side_is_odp(&bench->from))
		return &bench->from;
	return &bench->to;
}

/* What is called prefetched was. */
static const char *stage_name(const struct bench *bench, enum side_stage stage)
{
	if (described_side(bench)->prefetched)
		return "prefetched after it was mapped anew";
	return stage_names[stage];
}

char *round_name(const struct round *round, char *text, size_t size)
{
	static const char *const links[] = {
		[LINK_RC] = "RC",     [LINK_RC_SRQ] = "RC", [LINK_UD] = "UD",
		[LINK_UD_SRQ] = "UD", [LINK_UC] = "UC",
	};
	static const char *const ops[] = {
		[ROUND_SEND] = "send",
		[ROUND_WRITE] = "write",
		[ROUND_WRITE_IMM] = "write with immediate",
		[ROUND_READ] = "read",
		[ROUND_ATOMIC] = "atomic",
	};
	const char *op = ops[round->op];

	if (round->op == ROUND_SEND && round->to != SIDE_PLAIN)
		op = link_has_srq(round->link) ? "shared receive" : "receive";
	snprintf(text, size, "%s %s", links[round->link], op);
	return text;
}

/* "from on-demand memory at offset 6000" */
static void describe_memory(const struct bench *bench, unsigned int i,
			    char *text, size_t size)
{
	static const char *const kinds[] = {
		[SIDE_PLAIN] = "plain",
		[SIDE_ODP] = "on-demand",
		[SIDE_READONLY] = "read-only on-demand",
		[SIDE_SHIFTED] = "on-demand (iova not its address)",
	};
	const struct side *side = described_side(bench);
	const char *way = side == &bench->to ? "into" : "from";

	if (side_is_odp(&bench->to) && side_is_odp(&bench->from))
		way = "between two, into";
	snprintf(text, size, "%s %s memory at offset %u", way,
		 kinds[side->kind], message_offset(&side->message[i], 0));
}

/* How many bytes of a message, and which first; the memory is side's. */
static unsigned int message_differs(const struct side *side,
				    const struct message *message,
				    uint32_t *ret_first)
{
	unsigned int wrong = 0;

	for (uint32_t n = 0; n < message->length; n++) {
		uint32_t at = message_offset(message, n);

		if (side->scratch.base[at] == side->scratch.image[at])
			continue;
		if (!wrong++)
			*ret_first = at;
	}
	return wrong;
}

void bench_describe(const struct bench *bench, enum side_stage stage,
		    char *seen, size_t size)
{
	const struct side *side = &bench->to;
	char name[64], memory[96];
	unsigned int wrong = 0, i;
	uint32_t first = 0;

	round_name(bench->round, name, sizeof(name));
	/* Of an atomic also the word may be wrong, where the data comes from.
	 */
	for (int k = 0; k < 2 && !wrong; k++) {
		side = k ? &bench->from : &bench->to;
		for (i = 0; i < bench->messages && !wrong; i++)
			wrong = message_differs(side, &side->message[i],
						&first);
	}
	if (wrong) {
		i--;
		describe_memory(bench, i, memory, sizeof(memory));
		snprintf(seen, size,
			 "%s of %u bytes %s, %s: %u bytes are not as they "
			 "should be, the first at offset %u of the target "
			 "(read 0x%02x, want 0x%02x)",
			 name, side->message[i].length, memory,
			 stage_name(bench, stage), wrong, first,
			 side->scratch.base[first], side->scratch.image[first]);
		return;
	}
	for (int k = 0; k < 2 && !wrong; k++) {
		size_t at = 0;

		side = k ? &bench->from : &bench->to;
		wrong = (unsigned int)scratch_differs(
			&side->scratch, 0, side->scratch.length, &at);
		first = (uint32_t)at;
	}
	describe_memory(bench, 0, memory, sizeof(memory));
	snprintf(seen, size,
		 "%s %s and others, %s: %u bytes changed in the %s that no "
		 "message was for, the first at offset %u",
		 name, memory, stage_name(bench, stage), wrong,
		 side == &bench->to ? "target" : "source", first);
}
