/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registration with on-demand paging, and prefetch.
 *
 * What a prefetch is built on:
 *
 * - sge.addr is an address in the MR's own numbering, the iova, and not the
 *   process's: mlx5 takes iova off it again (drivers/infiniband/hw/mlx5/odp.c,
 *   pagefault_mr(), Linux 5.8 to 6.19). rxe takes it for the process's address
 *   (drivers/infiniband/sw/rxe/rxe_odp.c, rxe_ib_prefetch_sg_list(), as of
 *   2026), as its data path does: both are right where iova is the address, and
 *   elsewhere an rxe MR is of no use at all (trust.h, iova_right).
 * - sge.length is 32 bits, so a big MR takes several pieces. One call per
 * piece: both drivers work on the list in order, stop at the first that fails
 * and do not say which.
 * - The caller waits, IBV_ADVISE_MR_FLAG_FLUSH: without the flag the kernel
 *   says 0 and drops errors.
 * - PREFETCH, never PREFETCH_WRITE: that one faults for writing, which in a
 *   sparse file allocates every hole and could fill the file system. Where the
 *   pages are is then known, and not that they may be written to.
 * - rxe refuses an MR without LOCAL_WRITE with EINVAL
 *   for every advice (lookup_mr() is asked for IB_ACCESS_LOCAL_WRITE): there
 *   is no prefetch of read-only memory on it.
 * - EAGAIN from mlx5: the pages were invalidated while they were being mapped.
 */
#include <errno.h>
#include <stdbool.h>
#include <time.h>

#include "odp_mr.h"

/* A multiple of every page size; well under what fits in sge.length. */
#define PIECE_BYTES ((uint64_t)1 << 30)

#define RETRY_NS     1000000000ull /* how long EAGAIN is borne, per piece */
#define PAUSE_MIN_NS 50000ull
#define PAUSE_MAX_NS 20000000ull

struct ibv_mr *odp_mr_register(const struct verbs_table *verbs,
			       struct ibv_pd *pd, void *addr, size_t length,
			       uint64_t iova, unsigned int access)
{
	if (!verbs->reg_mr_iova2) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	return verbs->reg_mr_iova2(pd, addr, length, iova,
				   access | IBV_ACCESS_ON_DEMAND);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int prefetch_piece(const struct verbs_table *verbs, struct ibv_mr *mr,
			  struct ibv_sge *sge)
{
	uint64_t deadline = now_ns() + RETRY_NS;
	uint64_t pause = PAUSE_MIN_NS;

	for (;;) {
		int err =
			verbs->advise_mr(mr->pd, IBV_ADVISE_MR_ADVICE_PREFETCH,
					 IBV_ADVISE_MR_FLAG_FLUSH, sge, 1);
		struct timespec ts = {.tv_nsec = (long)pause};

		if (!err)
			return 0;
		if (err != EAGAIN)
			return err > 0 ? -err : -EIO;
		if (now_ns() >= deadline)
			return -EAGAIN;
		nanosleep(&ts, NULL); /* a signal only shortens the pause */
		if (pause < PAUSE_MAX_NS)
			pause *= 2;
	}
}

int odp_mr_prefetch(const struct verbs_table *verbs, struct ibv_mr *mr,
		    uint64_t iova, uint64_t bytes)
{
	int saved_errno = errno;
	uint64_t done = 0;
	int err = 0;

	if (bytes > mr->length)
		bytes = mr->length;
	while (done < bytes && !err) {
		uint64_t length = bytes - done;
		struct ibv_sge sge = {.addr = iova + done, .lkey = mr->lkey};

		if (length > PIECE_BYTES)
			length = PIECE_BYTES;
		sge.length = (uint32_t)length;
		err = prefetch_piece(verbs, mr, &sge);
		done += length;
	}
	errno = saved_errno;
	return err;
}
