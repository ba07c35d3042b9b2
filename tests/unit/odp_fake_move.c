/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the fake device moves bytes, and how it does when it is broken.
 *
 * A message goes packet by packet, a packet piece by piece (scatter/gather
 * elements), a piece page by page: mr_copy() is where most faults are, as in
 * rxe.
 *
 * A page that was replaced is told from one that was stored to by holding on to
 * the page itself: vmsplice() puts the page into a pipe, not its bytes. What
 * the pipe then gives is what is in the old page now.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "odp_fake_verbs.h"

/* One request under way. */
struct move {
	const struct fake_qp *qp;
	const struct ibv_send_wr *wr;
	bool both_odp;
	bool srq;
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static bool is_odp(const struct fake_mr *mr)
{
	return mr->access & IBV_ACCESS_ON_DEMAND;
}

static void hold_page(struct fake_mr *mr, size_t page)
{
	struct iovec iov = {mr->base + page * page_size(), page_size()};

	if (!mr->held) {
		mr->pages = (mr->length + page_size() - 1) / page_size();
		mr->held = calloc(mr->pages, sizeof(*mr->held));
	}
	if (mr->held[page][0])
		return;
	/* As a device that is going to write faults it: its own page. */
	if (mr->access & IBV_ACCESS_LOCAL_WRITE)
		*(volatile uint8_t *)iov.iov_base =
			*(volatile uint8_t *)iov.iov_base;
	if (pipe2(mr->held[page], O_CLOEXEC) ||
	    vmsplice(mr->held[page][1], &iov, 1, 0) != (ssize_t)page_size())
		abort();
}

void fake_forget_pages(struct fake_mr *mr)
{
	for (size_t i = 0; mr->held && i < mr->pages; i++) {
		if (!mr->held[i][0])
			continue;
		close(mr->held[i][0]);
		close(mr->held[i][1]);
	}
	free(mr->held);
	mr->held = NULL;
}

/* Reads the held page without letting go of it. */
static void old_page(struct fake_mr *mr, size_t page, uint8_t *bytes)
{
	int copy[2];

	if (pipe2(copy, O_CLOEXEC) ||
	    tee(mr->held[page][0], copy[1], page_size(), 0) !=
		    (ssize_t)page_size() ||
	    read(copy[0], bytes, page_size()) != (ssize_t)page_size())
		abort();
	close(copy[0]);
	close(copy[1]);
}

/* To or from pages as they were first seen. Whether it was done so. */
static bool stale_copy(struct fake_mr *mr, size_t at, uint8_t *data, size_t n,
		       bool to_mr)
{
	size_t page = at / page_size();
	uint8_t *bytes = malloc(page_size());
	bool stale;

	hold_page(mr, page);
	old_page(mr, page, bytes);
	stale = memcmp(bytes, mr->base + page * page_size(), page_size()) != 0;
	if (stale && !to_mr)
		memcpy(data, bytes + at % page_size(), n);
	/* Written to the old page: nobody will ever see it. */
	free(bytes);
	return stale;
}

/* FAKE_STALE_ZERO: an untouched page was mapped read-only; stores replace it.
 */
static bool zero_copy(struct fake_mr *mr, size_t at, uint8_t *data, size_t n)
{
	size_t page = at / page_size();

	if (!mr->held) {
		mr->pages = (mr->length + page_size() - 1) / page_size();
		mr->held = calloc(mr->pages, sizeof(*mr->held));
	}
	if (!mr->held[page][1]) {
		bool zero = !mr->base[at] &&
			    !memcmp(mr->base + at, mr->base + at + 1, n - 1);

		mr->held[page][1] = zero ? 2 : 1;
	}
	if (mr->held[page][1] != 2)
		return false;
	memset(data, 0, n);
	return true;
}

/* Whether this access is one that the device's fault is about. */
static bool at_fault(const struct move *move, const struct fake_mr *mr,
		     bool to_mr, bool remote)
{
	enum ibv_wr_opcode opcode = move->wr->opcode;

	if (!is_odp(mr))
		return fake.fault == FAKE_PLAIN_WRONG;
	switch (fake.fault) {
	case FAKE_PAGE_START:
		return true;
	case FAKE_READ_WRONG:
		return opcode == IBV_WR_RDMA_READ;
	case FAKE_UD_WRONG:
	case FAKE_READ_ERRORS_UD_WRONG:
		return move->qp->qp.qp_type == IBV_QPT_UD;
	case FAKE_SRQ_WRONG:
		return move->srq && to_mr;
	case FAKE_SOURCE_WRONG:
		return !to_mr && !remote;
	case FAKE_SINK_WRONG:
		return to_mr;
	case FAKE_READONLY_WRONG:
		return !(mr->access & IBV_ACCESS_LOCAL_WRITE);
	case FAKE_UNPREFETCHED_WRONG:
		return !mr->prefetched;
	case FAKE_PREFETCHED_WRONG:
		return mr->prefetched;
	case FAKE_REMAPPED_WRONG:
		return mr->advised;
	case FAKE_IMM_WRONG:
		return opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
	case FAKE_BOTH_ODP_WRONG:
		return move->both_odp;
	default:
		return false;
	}
}

/* The memory at that address of the MR; NULL outside of it. */
static uint8_t *mr_memory(const struct fake_mr *mr, uint64_t addr,
			  size_t length)
{
	uint64_t at = addr - mr->iova;

	if (addr < mr->iova || at > mr->length || length > mr->length - at)
		return NULL;
	if (fake.fault == FAKE_IOVA_AS_ADDRESS && is_odp(mr))
		return (uint8_t *)(uintptr_t)addr;
	return mr->base + at;
}

static void mr_copy(const struct move *move, struct fake_mr *mr, uint64_t addr,
		    uint8_t *data, size_t length, bool to_mr, bool remote)
{
	bool page_start = at_fault(move, mr, to_mr, remote);
	uint8_t *memory = mr_memory(mr, addr, length);

	while (length) {
		size_t offset = (uintptr_t)memory % page_size();
		uint8_t *place = page_start ? memory - offset : memory;
		size_t n = page_size() - offset;

		if (n > length)
			n = length;
		if (fake.fault == FAKE_STALE_PAGE && is_odp(mr) &&
		    mr->access & IBV_ACCESS_LOCAL_WRITE &&
		    stale_copy(mr, (size_t)(memory - mr->base), data, n, to_mr))
			goto next;
		if (fake.fault == FAKE_STALE_ZERO && is_odp(mr) && !to_mr &&
		    zero_copy(mr, (size_t)(memory - mr->base), data, n))
			goto next;
		if (to_mr && is_odp(mr) && fake.fault == FAKE_LAST_BYTE_LOST &&
		    offset + n == page_size())
			memcpy(place, data, n - 1);
		else if (to_mr)
			memcpy(place, data, n);
		else
			memcpy(data, place, n);
		if (to_mr && is_odp(mr) && fake.fault == FAKE_EXTRA_BYTE &&
		    n == length)
			place[n] = 0x55;
	next:
		memory += n;
		length -= n;
		/* The second of the two bugs in one function of rxe. */
		if (!page_start)
			data += n;
	}
}

/* [at, at + length) of what the elements make up. -1: not in their MRs. */
static int sges_copy(const struct move *move, const struct ibv_sge *sges,
		     int count, size_t at, uint8_t *data, size_t length,
		     bool to_mr)
{
	for (int i = 0; i < count && length; i++) {
		struct fake_mr *mr = fake_find_mr(sges[i].lkey);
		uint64_t addr = sges[i].addr + at;
		size_t n = sges[i].length;

		if (at >= n) {
			at -= n;
			continue;
		}
		n -= at;
		at = 0;
		if (n > length)
			n = length;
		if (!mr || !mr_memory(mr, addr, n))
			return -1;
		if (fake.fault == FAKE_LATER_SGES_WRONG && i && is_odp(mr))
			addr = sges[0].addr;
		mr_copy(move, mr, addr, data, n, to_mr, false);
		data += n;
		length -= n;
	}
	return length ? -1 : 0;
}

static int remote_copy(const struct move *move, uint64_t addr, uint32_t rkey,
		       uint8_t *data, size_t length, bool to_mr)
{
	unsigned int needed =
		to_mr ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ;
	struct fake_mr *mr = fake_find_mr(rkey);

	if (!mr || !(mr->access & needed) || !mr_memory(mr, addr, length))
		return -1;
	mr_copy(move, mr, addr, data, length, to_mr, true);
	return 0;
}

static void complete(struct fake_cq *cq, uint64_t wr_id,
		     enum ibv_wc_status status, uint32_t length, __be32 imm)
{
	cq->wc[cq->head++ % (4 * FAKE_QUEUE)] = (struct ibv_wc){
		.wr_id = wr_id,
		.status = status,
		.byte_len = length,
		.imm_data = imm,
	};
}

static int move_atomic(const struct move *move)
{
	const struct ibv_send_wr *wr = move->wr;
	struct fake_mr *mr = fake_find_mr(wr->wr.atomic.rkey);
	uint64_t old, new;
	uint8_t *word;

	word = mr ? mr_memory(mr, wr->wr.atomic.remote_addr, 8) : NULL;
	if (!word || !(mr->access & IBV_ACCESS_REMOTE_ATOMIC))
		return -1;
	memcpy(&old, word, sizeof(old));
	new = old;
	if (wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
		new += wr->wr.atomic.compare_add;
	else if (old == wr->wr.atomic.compare_add ||
		 (fake.fault == FAKE_COMPARE_WRONG && is_odp(mr)))
		new = wr->wr.atomic.swap;
	if (fake.fault == FAKE_ATOMIC_WRONG && is_odp(mr))
		new ++;
	memcpy(word, &new, sizeof(new));
	return sges_copy(move, wr->sg_list, wr->num_sge, 0, (uint8_t *)&old, 8,
			 true);
}

static int move_packet(const struct move *move, const struct fake_recv *recv,
		       size_t at, size_t n)
{
	const struct ibv_send_wr *wr = move->wr;
	size_t head = move->qp->qp.qp_type == IBV_QPT_UD ? FAKE_GRH : 0;
	uint8_t data[FAKE_MTU] = {0};

	if (wr->opcode == IBV_WR_RDMA_READ) {
		if (remote_copy(move, wr->wr.rdma.remote_addr + at,
				wr->wr.rdma.rkey, data, n, false))
			return -1;
		return sges_copy(move, wr->sg_list, wr->num_sge, at, data, n,
				 true);
	}
	if (sges_copy(move, wr->sg_list, wr->num_sge, at, data, n, false))
		return -1;
	if (fake.fault == FAKE_DROPS_SECOND_PACKET && at == FAKE_MTU)
		return 0;
	if (wr->opcode == IBV_WR_SEND)
		return sges_copy(move, recv->sge, recv->sges, head + at, data,
				 n, true);
	return remote_copy(move, wr->wr.rdma.remote_addr + at, wr->wr.rdma.rkey,
			   data, n, true);
}

static bool touches_two_odp(const struct ibv_send_wr *wr,
			    const struct fake_recv *recv)
{
	struct fake_mr *local = fake_find_mr(wr->sg_list[0].lkey);
	struct fake_mr *other = fake_find_mr(wr->wr.rdma.rkey);

	if (recv && recv->sges)
		other = fake_find_mr(recv->sge[0].lkey);
	return local && other && is_odp(local) && is_odp(other);
}

static bool says_error(const struct ibv_send_wr *wr)
{
	if (fake.fault == FAKE_ERRORS) {
		struct fake_mr *mr = fake_find_mr(wr->sg_list[0].lkey);

		return mr && is_odp(mr);
	}
	return (fake.fault == FAKE_READ_ERRORS ||
		fake.fault == FAKE_READ_ERRORS_UD_WRONG) &&
	       wr->opcode == IBV_WR_RDMA_READ;
}

int fake_move(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
	bool ud = qp->qp.qp_type == IBV_QPT_UD;
	struct fake_qp *peer =
		fake_find_qp(ud ? wr->wr.ud.remote_qpn : qp->peer);
	struct move move = {.qp = qp, .wr = wr};
	struct fake_recv *recv = NULL;
	size_t head = ud ? FAKE_GRH : 0, length = 0;
	uint8_t grh[FAKE_GRH];
	int err = 0;

	if (qp->state != IBV_QPS_RTS || !peer || wr->num_sge > (int)qp->max_sge)
		return EINVAL;
	if (fake.fault == FAKE_SILENT ||
	    (fake.working_gid >= 0 && !ud && qp->gid_index != fake.working_gid))
		return 0;
	for (int i = 0; i < wr->num_sge; i++)
		length += wr->sg_list[i].length;
	if (says_error(wr)) {
		complete(qp->cq, wr->wr_id, IBV_WC_REM_ACCESS_ERR, 0, 0);
		return 0;
	}
	if (wr->opcode == IBV_WR_SEND ||
	    wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM) {
		struct fake_recvs *recvs =
			peer->srq ? &peer->srq->recvs : &peer->recvs;

		if (recvs->tail == recvs->head)
			return 0;
		recv = &recvs->recv[recvs->tail++ % FAKE_QUEUE];
		move.srq = peer->srq;
	}
	move.both_odp = touches_two_odp(wr, recv);

	if (recv && head) {
		memset(grh, 0xab, sizeof(grh));
		err = sges_copy(&move, recv->sge, recv->sges, 0, grh, head,
				true);
	}
	if (wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD ||
	    wr->opcode == IBV_WR_ATOMIC_CMP_AND_SWP)
		err = move_atomic(&move);
	else
		for (size_t at = 0; at < length && !err; at += FAKE_MTU)
			err = move_packet(&move, recv, at,
					  length - at < FAKE_MTU ? length - at
								 : FAKE_MTU);
	if (recv)
		complete(peer->cq, recv->wr_id,
			 err ? IBV_WC_LOC_PROT_ERR : IBV_WC_SUCCESS,
			 (uint32_t)(length + head) -
				 (fake.fault == FAKE_SHORT_LENGTH),
			 wr->imm_data);
	complete(qp->cq, wr->wr_id,
		 err ? IBV_WC_REM_ACCESS_ERR : IBV_WC_SUCCESS, 0, 0);
	return 0;
}
