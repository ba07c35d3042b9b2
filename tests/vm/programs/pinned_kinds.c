/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pinned_kinds.h"

#define SIZE	4096U
#define DEPTH	8U /* outstanding on each QP of a shared CQ */
#define SECONDS 20

struct end kinds_local, kinds_peer;
struct ibv_mr *kinds_region;
atomic_bool kinds_are_over;

/* With a CQ of its own. */
static struct end end_of(const struct end *whose, int cqe)
{
	struct end end = {.context = whose->context, .pd = whose->pd};

	end.cq = ibv_create_cq(end.context, cqe, NULL, NULL, 0);
	if (!end.cq)
		die("ibv_create_cq: %s", strerror(errno));
	return end;
}

/* The QPs and the CQ: context and PD are everybody's. */
static void end_drop(struct end *end)
{
	if ((end->qp && ibv_destroy_qp(end->qp)) || ibv_destroy_cq(end->cq))
		die("a QP or CQ cannot be destroyed");
}

static struct ibv_mr *peer_memory(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return end_register(&kinds_peer, at, size, REMOTE_ALL);
}

static void peer_forgets(struct ibv_mr *memory)
{
	void *at = memory->addr;
	size_t size = memory->length;

	if (ibv_dereg_mr(memory) || munmap(at, size))
		die("the peer's memory cannot be given back");
}

/* Not end_wait(): others want the processor as well. False: none came. */
static bool next(struct ibv_cq *cq, struct ibv_wc *wc)
{
	double deadline = now() + SECONDS;
	int n;

	while (!(n = ibv_poll_cq(cq, 1, wc)) && now() < deadline)
		usleep(200);
	if (n < 0)
		die("ibv_poll_cq failed");
	return n;
}

static void must(const struct kind *kind, struct ibv_cq *cq, uint64_t wr_id)
{
	struct ibv_wc wc;

	if (!next(cq, &wc))
		die("%s: no completion %lu in %d s", kind->name, wr_id,
		    SECONDS);
	if (wc.status || wc.wr_id != wr_id)
		die("%s: completion %lu: %s, wr_id %lu", kind->name, wr_id,
		    ibv_wc_status_str(wc.status), wc.wr_id);
}

static void same(const struct kind *kind, const void *a, const void *b,
		 size_t length)
{
	if (memcmp(a, b, length))
		die("%s: operation %lu has not brought what was sent",
		    kind->name, atomic_load(&kind->done));
}

static void post(const struct kind *kind, struct ibv_qp *qp,
		 struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;
	int r = ibv_post_send(qp, wr, &bad);

	if (r)
		die("%s: ibv_post_send: %s", kind->name, strerror(r));
}

/* ibv_wr_start() to ibv_wr_complete(): a write that says nothing, one that
 * does. */
void kind_batches(struct kind *kind)
{
	struct end a = end_of(&kinds_local, 16), b = end_of(&kinds_peer, 16);
	struct ibv_mr *memory = peer_memory(2UL * SIZE);
	const unsigned char *there = memory->addr;
	struct ibv_qp_ex *ex;

	a.send_ops = IBV_QP_EX_WITH_RDMA_WRITE;
	ends_connect(&a, &b);
	ex = ibv_qp_to_qp_ex(a.qp);
	for (uint32_t n = 0; !atomic_load(&kinds_are_over); n++) {
		fill_pattern(kind->area, 2UL * SIZE, 0, n);
		ibv_wr_start(ex);
		for (unsigned int i = 0; i < 2; i++) {
			ex->wr_id = n;
			ex->wr_flags = i ? IBV_SEND_SIGNALED : 0;
			ibv_wr_rdma_write(
				ex, memory->rkey,
				(uintptr_t)(there + (size_t)i * SIZE));
			ibv_wr_set_sge(
				ex, kinds_region->lkey,
				(uintptr_t)(kind->area + (size_t)i * SIZE),
				SIZE);
		}
		if (ibv_wr_complete(ex))
			die("%s: ibv_wr_complete failed", kind->name);
		must(kind, a.cq, n);
		same(kind, there, kind->area, 2UL * SIZE);
		atomic_fetch_add(&kind->done, 1);
	}
	end_drop(&a);
	end_drop(&b);
	peer_forgets(memory);
}

/* Inline and unsignaled, unsignaled from the region, an atomic behind a fence.
 */
void kind_chains(struct kind *kind)
{
	struct end a = end_of(&kinds_local, 16), b = end_of(&kinds_peer, 16);
	struct ibv_mr *memory = peer_memory(2UL * SIZE);
	unsigned char *there = memory->addr;
	uint64_t word, *before = (uint64_t *)(kind->area + SIZE);

	a.max_inline_data = sizeof(word);
	ends_connect(&a, &b);
	for (uint64_t n = 0; !atomic_load(&kinds_are_over); n++) {
		struct ibv_sge sges[] = {
			/* inline: nobody looks at its key */
			{(uintptr_t)&word, sizeof(word), kinds_region->lkey},
			{(uintptr_t)kind->area, SIZE, kinds_region->lkey},
			{(uintptr_t)before, 8, kinds_region->lkey},
		};
		struct ibv_send_wr wrs[3] = {
			{.opcode = IBV_WR_RDMA_WRITE,
			 .send_flags = IBV_SEND_INLINE,
			 .wr.rdma = {(uintptr_t)there + SIZE, memory->rkey}},
			{.opcode = IBV_WR_RDMA_WRITE,
			 .wr.rdma = {(uintptr_t)there, memory->rkey}},
			{.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
			 .send_flags = IBV_SEND_SIGNALED,
			 .wr.atomic = {.remote_addr =
					       (uintptr_t)there + SIZE + 8,
				       .compare_add = 1,
				       .rkey = memory->rkey}},
		};

		for (size_t i = 0; i < 3; i++) {
			wrs[i].wr_id = n;
			wrs[i].sg_list = &sges[i];
			wrs[i].num_sge = 1;
			wrs[i].next = i < 2 ? &wrs[i + 1] : NULL;
		}
		word = ~n;
		*before = UINT64_MAX;
		fill_pattern(kind->area, SIZE, 0, (uint32_t)n);
		post(kind, a.qp, wrs);
		must(kind, a.cq, n);
		same(kind, there, kind->area, SIZE);
		same(kind, there + SIZE, &word, sizeof(word));
		same(kind, before, &n, sizeof(n));
		atomic_fetch_add(&kind->done, 1);
	}
	end_drop(&a);
	end_drop(&b);
	peer_forgets(memory);
}

/* Two QPs, kept full, and a CQ that has room for what is outstanding, no more.
 */
void kind_shared_cq(struct kind *kind)
{
	struct end a[2] = {end_of(&kinds_local, 2 * DEPTH)}, b[2];
	struct ibv_mr *memory = peer_memory(2UL * SIZE);
	unsigned long posted[2] = {0}, completed[2] = {0};
	struct ibv_wc wc;

	a[1] = a[0];
	fill_pattern(kind->area, 2UL * SIZE, 0, 1);
	for (size_t i = 0; i < 2; i++) {
		b[i] = end_of(&kinds_peer, 16);
		a[i].max_send_wr = DEPTH;
		ends_connect(&a[i], &b[i]);
	}
	while (!atomic_load(&kinds_are_over) || completed[0] < posted[0] ||
	       completed[1] < posted[1]) {
		for (size_t i = 0; i < 2; i++)
			while (!atomic_load(&kinds_are_over) &&
			       posted[i] - completed[i] < DEPTH) {
				struct ibv_sge sge = {
					(uintptr_t)(kind->area + i * SIZE),
					SIZE, kinds_region->lkey};
				struct ibv_send_wr wr = {
					.wr_id = posted[i]++,
					.sg_list = &sge,
					.num_sge = 1,
					.opcode = IBV_WR_RDMA_WRITE,
					.send_flags = IBV_SEND_SIGNALED,
					.wr.rdma = {(uintptr_t)memory->addr +
							    i * SIZE,
						    memory->rkey}};

				post(kind, a[i].qp, &wr);
			}
		if (!next(a[0].cq, &wc))
			die("%s: no completion in %d s", kind->name, SECONDS);
		for (size_t i = 0; i < 2; i++)
			if (wc.qp_num == a[i].qp->qp_num &&
			    (wc.status || wc.wr_id != completed[i]++))
				die("%s: completion %lu: %s, wr_id %lu",
				    kind->name, completed[i] - 1,
				    ibv_wc_status_str(wc.status), wc.wr_id);
		atomic_fetch_add(&kind->done, 1);
	}
	for (size_t i = 0; i < 2; i++)
		if (completed[i])
			same(kind, (char *)memory->addr + i * SIZE,
			     kind->area + i * SIZE, SIZE);
	if (ibv_destroy_qp(a[1].qp))
		die("%s: ibv_destroy_qp failed", kind->name);
	end_drop(&a[0]);
	end_drop(&b[0]);
	end_drop(&b[1]);
	peer_forgets(memory);
}

/* What a message of the peer's says: which one it is. */
#define RECEIVES 16U

static void receive_into(struct ibv_srq *srq, struct ibv_mr *memory,
			 uint64_t at)
{
	struct ibv_sge sge = {(uintptr_t)memory->addr + at * 8, 8,
			      memory->lkey};
	struct ibv_recv_wr wr = {.wr_id = at, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	if (ibv_post_srq_recv(srq, &wr, &bad))
		die("ibv_post_srq_recv failed");
}

/*
 * A peer that gives up where there is no receive for some 60 ms, and one of its
 * messages after each receive; they are in ordinary memory, and so is what this
 * end sends by another QP of the PD: none of it is held up.
 */
void kind_shared_receives(struct kind *kind)
{
	struct end a = end_of(&kinds_local, 2 * RECEIVES);
	struct end b = end_of(&kinds_peer, 16);
	struct ibv_srq_init_attr init = {
		.attr = {.max_wr = RECEIVES, .max_sge = 1}};
	static uint64_t slots[RECEIVES], said;
	struct ibv_mr *heard = end_register(&kinds_local, slots, sizeof(slots),
					    IBV_ACCESS_LOCAL_WRITE);
	struct ibv_mr *saying =
		end_register(&kinds_peer, &said, sizeof(said), 0);
	struct ibv_wc wc;

	a.srq = ibv_create_srq(a.pd, &init);
	if (!a.srq)
		die("ibv_create_srq: %s", strerror(errno));
	for (uint64_t i = 0; i < RECEIVES; i++)
		receive_into(a.srq, heard, i);
	a.min_rnr_timer = 20; /* 10 ms */
	b.rnr_retry = 6;
	ends_connect(&a, &b);
	for (said = 0; !atomic_load(&kinds_are_over); said++) {
		struct ibv_sge sge = {(uintptr_t)&said, 8, saying->lkey};
		struct ibv_send_wr wr = {.wr_id = said,
					 .sg_list = &sge,
					 .num_sge = 1,
					 .opcode = IBV_WR_SEND,
					 .send_flags = IBV_SEND_SIGNALED};

		post(kind, b.qp, &wr);
		must(kind, b.cq, said);
		if (!next(a.cq, &wc) || wc.status || slots[wc.wr_id] != said)
			die("%s: message %lu: %s", kind->name, said,
			    ibv_wc_status_str(wc.status));
		receive_into(a.srq, heard, wc.wr_id);
		atomic_fetch_add(&kind->done, 1);
	}
	end_drop(&b);
	if (ibv_destroy_qp(a.qp) || ibv_destroy_srq(a.srq))
		die("%s: the QP or SRQ cannot be destroyed", kind->name);
	a.qp = NULL;
	end_drop(&a);
	if (ibv_dereg_mr(heard) || ibv_dereg_mr(saying))
		die("%s: ibv_dereg_mr failed", kind->name);
}

/*
 * Receives posted into the region, which may be gone when the message comes:
 * both ends hear of it then, connect anew, and the next message arrives.
 */
void kind_receives(struct kind *kind)
{
	struct end a = end_of(&kinds_local, 64), b = end_of(&kinds_peer, 64);
	struct ibv_mr *memory = peer_memory(SIZE);
	struct ibv_wc sent, heard;

	ends_connect(&a, &b);
	for (uint32_t n = 0; !atomic_load(&kinds_are_over); n++) {
		struct ibv_sge sge = {(uintptr_t)memory->addr, SIZE,
				      memory->lkey};
		struct ibv_send_wr wr = {.wr_id = n,
					 .sg_list = &sge,
					 .num_sge = 1,
					 .opcode = IBV_WR_SEND,
					 .send_flags = IBV_SEND_SIGNALED};

		fill_pattern(memory->addr, SIZE, 0, n);
		end_post_recv(&a, kinds_region, kind->area, SIZE);
		if (n % 8 == 0) /* a recall may come between the two */
			usleep(20000);
		post(kind, b.qp, &wr);
		if (!next(b.cq, &sent))
			die("%s: message %u is not answered", kind->name, n);
		if (!sent.status && !next(a.cq, &heard))
			die("%s: message %u is not heard of", kind->name, n);
		if (sent.status || heard.status) {
			atomic_fetch_add(&kind->failed, 1);
			ends_connect(&a, &b);
			continue;
		}
		same(kind, kind->area, memory->addr, SIZE);
		atomic_fetch_add(&kind->done, 1);
	}
	end_drop(&a);
	end_drop(&b);
	peer_forgets(memory);
}
