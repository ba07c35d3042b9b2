/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round of the trust test.
 *
 * A round has two sides, the memory that data comes from and the memory that
 * it goes to. Each is a scratch (trust_mem.h) and an MR. For each stage the
 * memories are brought into their state, the images get what should come out,
 * the messages are sent in one batch, and all of both memories is compared.
 *
 * Through a shared receive queue messages go one by one: which receive request
 * takes which message is only certain so.
 */
#include <endian.h>
#include <string.h>
#include <unistd.h>

#include "trust_bench.h"

#define GRH_BYTES  40
#define UD_LENGTH  256 /* within the MTU of any port */
#define IMM_BASE   0x1b00
#define ATOMIC_ADD 0x0102030405060708u
#define ATOMIC_NEW 0x1112131415161718u

/*
 * A completion is written after the data and so is seen after it. Should a
 * machine order these differently, it has this long before it is called wrong.
 */
#define SETTLE_NS 20000000ull

static bool is_ud(enum link_type link)
{
	return link == LINK_UD || link == LINK_UD_SRQ;
}

static bool has_receive(enum round_op op)
{
	return op == ROUND_SEND || op == ROUND_WRITE_IMM;
}

/* On the requester's side are the sink of a read, and the source of all else.
 */
static bool local_is_to(enum round_op op)
{
	return op == ROUND_READ || op == ROUND_ATOMIC;
}

static bool is_all_plain(const struct round *round)
{
	return round->from == SIDE_PLAIN && round->to == SIDE_PLAIN;
}

/*
 * How long a memory has to be. Plain memory is locked, and an ordinary user may
 * lock no more than 64 KiB.
 */
static size_t side_length(const struct round *round, enum side_memory kind)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (kind != SIDE_PLAIN)
		return SHAPE_PAGES * page;
	return is_all_plain(round) ? page : SHAPE_PACKED_PAGES * page;
}

/*
 * Where the messages lie: the awkward places are for on-demand memory. Where
 * there is none both sides are packed.
 */
static void lay_out(struct bench *bench, uint32_t page)
{
	const struct round *round = bench->round;
	struct side *awkward = &bench->to, *other = &bench->from;
	bool to_local = local_is_to(round->op);
	struct shape_limits at_awkward = {
		.page = page,
		.length = is_ud(round->link)	? UD_LENGTH
			  : is_all_plain(round) ? SHAPE_SHORT
						: UINT32_MAX,
	};
	struct shape_limits at_other = at_awkward;
	bool all_plain = is_all_plain(round);
	uint32_t end = 0, awkward_end = 0;

	if (!side_is_odp(awkward) && side_is_odp(other)) {
		awkward = &bench->from;
		other = &bench->to;
	}
	/* What is addressed by an rkey is in one piece. */
	at_awkward.pieces = bench->loop->sges;
	if (round->op != ROUND_SEND && to_local != (awkward == &bench->to))
		at_awkward.pieces = 1;
	if (round->op == ROUND_READ &&
	    bench->loop->attr.orig_attr.max_sge_rd < 3)
		at_awkward.pieces = 1;
	at_other.pieces = 1;
	if (is_ud(round->link)) {
		if (awkward == &bench->to)
			at_awkward.head = GRH_BYTES;
		else
			at_other.head = GRH_BYTES;
	}

	if (round->op == ROUND_ATOMIC) {
		bench->messages = SHAPE_ATOMICS;
		for (unsigned int i = 0; i < bench->messages; i++) {
			awkward->message[i] = shape_word(&at_awkward, i, true);
			other->message[i] = shape_word(&at_other, i, false);
		}
		return;
	}
	bench->messages = SHAPE_MESSAGES;
	for (unsigned int i = 0; i < bench->messages; i++) {
		awkward->message[i] = shape_awkward(&at_awkward, i);
		if (all_plain)
			awkward->message[i] = shape_packed(
				&at_awkward, awkward->message[i].length,
				&awkward_end);
		other->message[i] = shape_packed(
			&at_other, awkward->message[i].length, &end);
	}
}

/* What the n-th atomic operation of a batch does: some add, some swap. */
static void atomic_wr(unsigned int i, uint64_t old, struct ibv_send_wr *wr,
		      uint64_t *ret_new)
{
	if (i == 0 || i == 3) {
		wr->opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
		wr->wr.atomic.compare_add = ATOMIC_ADD;
		*ret_new = old + ATOMIC_ADD;
		return;
	}
	/* The second compares with another value and so does not swap. */
	wr->opcode = IBV_WR_ATOMIC_CMP_AND_SWP;
	wr->wr.atomic.compare_add = i == 1 ? old : old + 1;
	wr->wr.atomic.swap = ATOMIC_NEW;
	*ret_new = i == 1 ? ATOMIC_NEW : old;
}

static unsigned int fill_sges(const struct side *side,
			      const struct message *message,
			      struct ibv_sge *sges)
{
	for (unsigned int i = 0; i < message->pieces; i++)
		sges[i] = (struct ibv_sge){
			.addr = side->iova + message->piece[i].offset,
			.length = message->piece[i].length,
			.lkey = side->mr->lkey,
		};
	return message->pieces;
}

/* Writes into the target's image what message i does there. */
static void expect_message(struct bench *bench, unsigned int i)
{
	const struct message *from = &bench->from.message[i];
	const struct message *to = &bench->to.message[i];

	for (uint32_t n = 0; n < to->length; n++)
		bench->to.scratch.image[message_offset(to, n)] =
			bench->from.scratch.image[message_offset(from, n)];
}

/* What an atomic operation does to both images, and the WR for it. */
static void expect_atomic(struct bench *bench, unsigned int i,
			  struct ibv_send_wr *wr)
{
	uint8_t *word = bench->from.scratch.image +
			message_offset(&bench->from.message[i], 0);
	uint8_t *result = bench->to.scratch.image +
			  message_offset(&bench->to.message[i], 0);
	uint64_t old, new;

	memcpy(&old, word, sizeof(old));
	atomic_wr(i, old, wr, &new);
	memcpy(word, &new, sizeof(new));
	memcpy(result, &old, sizeof(old));
}

static int post_receive(struct bench *bench, unsigned int i)
{
	const struct verbs_table *verbs = bench->loop->verbs;
	struct loop_link *link = &bench->loop->link[bench->round->link];
	struct ibv_recv_wr *bad;
	struct ibv_sge sges[LOOP_SGES];
	struct ibv_recv_wr wr = {
		.wr_id = loop_wr_id(bench->loop, true, i),
		.sg_list = sges,
	};
	int err;

	/* The data of a write with an immediate goes elsewhere. */
	if (bench->round->op == ROUND_SEND)
		wr.num_sge =
			(int)fill_sges(&bench->to, &bench->to.message[i], sges);
	if (link->srq)
		err = verbs->post_srq_recv(link->srq, &wr, &bad);
	else
		err = verbs->post_recv(link->b, &wr, &bad);
	if (err)
		return loop_fail(bench->loop, err, "a receive is refused");
	return 0;
}

static int post_message(struct bench *bench, unsigned int i)
{
	static const enum ibv_wr_opcode opcode[] = {
		[ROUND_SEND] = IBV_WR_SEND,
		[ROUND_WRITE] = IBV_WR_RDMA_WRITE,
		[ROUND_WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM,
		[ROUND_READ] = IBV_WR_RDMA_READ,
	};
	const struct round *round = bench->round;
	struct loop_link *link = &bench->loop->link[round->link];
	bool to_local = local_is_to(round->op);
	const struct side *local = to_local ? &bench->to : &bench->from;
	const struct side *remote = to_local ? &bench->from : &bench->to;
	uint64_t remote_addr =
		remote->iova + remote->message[i].piece[0].offset;
	struct ibv_send_wr *bad;
	struct ibv_sge sges[LOOP_SGES];
	struct ibv_send_wr wr = {
		.wr_id = loop_wr_id(bench->loop, false, i),
		.sg_list = sges,
		.num_sge = (int)fill_sges(local, &local->message[i], sges),
		.send_flags = IBV_SEND_SIGNALED,
	};
	int err;

	if (round->op == ROUND_ATOMIC) {
		expect_atomic(bench, i, &wr);
		wr.wr.atomic.remote_addr = remote_addr;
		wr.wr.atomic.rkey = remote->mr->rkey;
	} else {
		expect_message(bench, i);
		wr.opcode = opcode[round->op];
	}
	if (is_ud(round->link)) {
		wr.wr.ud.ah = link->ah;
		wr.wr.ud.remote_qpn = link->b->qp_num;
		wr.wr.ud.remote_qkey = LOOP_QKEY;
	} else if (round->op != ROUND_SEND && round->op != ROUND_ATOMIC) {
		wr.wr.rdma.remote_addr = remote_addr;
		wr.wr.rdma.rkey = remote->mr->rkey;
	}
	if (round->op == ROUND_WRITE_IMM)
		wr.imm_data = htobe32(IMM_BASE + i);
	if (has_receive(round->op) && post_receive(bench, i))
		return -1;
	err = bench->loop->verbs->post_send(link->a, &wr, &bad);
	if (err)
		return loop_fail(bench->loop, err, "a request is refused");
	return 0;
}

/* Messages [first, end) have completed: did the completions say so rightly? */
static int check_receives(struct bench *bench, unsigned int first,
			  unsigned int end)
{
	for (unsigned int i = first; i < end; i++) {
		const struct message *message = &bench->to.message[i];
		const struct ibv_wc *wc = &bench->received[i].wc;
		uint32_t offset = message->piece[0].offset;

		if (wc->byte_len != message->length + message->head)
			return loop_fail(
				bench->loop, 0,
				"%u bytes are said to have come, not %u",
				wc->byte_len, message->length + message->head);
		if (bench->round->op == ROUND_WRITE_IMM &&
		    wc->imm_data != htobe32(IMM_BASE + i))
			return loop_fail(bench->loop, 0,
					 "an immediate came wrong");
		/* What is in a GRH, and what part of it, is up to the device.
		 */
		memcpy(bench->to.scratch.image + offset,
		       bench->to.scratch.base + offset, message->head);
	}
	return 0;
}

static int send_all(struct bench *bench)
{
	struct loop *loop = bench->loop;
	bool receives = has_receive(bench->round->op);
	unsigned int step =
		link_has_srq(bench->round->link) ? 1 : bench->messages;

	for (unsigned int first = 0; first < bench->messages; first += step) {
		loop_new_batch(loop);
		for (unsigned int i = first; i < first + step; i++)
			if (post_message(bench, i))
				return -1;
		if (loop_wait(loop, bench->sent, bench->received, first,
			      first + step, receives))
			return -1;
		if (receives && check_receives(bench, first, first + step))
			return -1;
	}
	return 0;
}

static bool looks_right(const struct bench *bench)
{
	uint64_t deadline = loop_now_ns() + SETTLE_NS;
	size_t first;

	while (scratch_differs(&bench->from.scratch, 0,
			       bench->from.scratch.length, &first) ||
	       scratch_differs(&bench->to.scratch, 0, bench->to.scratch.length,
			       &first))
		if (loop_now_ns() >= deadline)
			return false;
	return true;
}

static enum round_result run_stage(struct bench *bench, enum side_stage stage,
				   char *seen, size_t size)
{
	struct loop *loop = bench->loop;
	enum side_stage from_stage = stage;

	/* Zeroes moved onto zeroes would show nothing. */
	if (stage == STAGE_UNTOUCHED && side_is_odp(&bench->to))
		from_stage = STAGE_WRITTEN;
	if (side_prepare(loop, &bench->from, from_stage, SCRATCH_PAYLOAD,
			 2 * loop->batch) ||
	    side_prepare(loop, &bench->to, stage, SCRATCH_GUARD,
			 2 * loop->batch + 1))
		return ROUND_FAILED;
	if (loop_link(loop, bench->round->link))
		return ROUND_FAILED;
	if (send_all(bench))
		return ROUND_FAILED;
	*bench->cases += bench->messages;
	if (looks_right(bench))
		return ROUND_RIGHT;
	bench_describe(bench, stage, seen, size);
	return ROUND_WRONG;
}

enum round_result round_run(struct loop *loop, const struct round *round,
			    char *seen, size_t size, unsigned int *cases)
{
	struct bench *bench = memory_map(sizeof(*bench)); /* all zeroes */
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	enum round_result result = ROUND_RIGHT;

	if (!bench) {
		loop_fail(loop, 0, "no memory to test with");
		return ROUND_FAILED;
	}
	bench->loop = loop;
	bench->round = round;
	bench->cases = cases;
	if (side_open(loop, &bench->from, round->from,
		      side_length(round, round->from)) ||
	    side_open(loop, &bench->to, round->to,
		      side_length(round, round->to)))
		result = ROUND_FAILED;
	else
		lay_out(bench, page);
	for (int stage = 0; stage < STAGE_COUNT && result == ROUND_RIGHT;
	     stage++)
		if (round->stages & 1u << stage)
			result = run_stage(bench, (enum side_stage)stage, seen,
					   size);
	/* What is still under way must not see the memory go. */
	if (result == ROUND_FAILED)
		loop_unlink(loop, round->link);
	side_close(loop, &bench->to);
	side_close(loop, &bench->from);
	memory_unmap(bench, sizeof(*bench));
	return result;
}
