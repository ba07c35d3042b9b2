/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One side of a transfer of the trust test: trust_side.h.
 */
#include <errno.h>
#include <unistd.h>

#include "odp_mr.h"
#include "trust_side.h"

/*
 * How far a shifted MR's iova is off, in pages. The MR is longer by as much:
 * rxe takes an iova for an address without looking (rxe_odp_iova_to_index(),
 * seen up to 2026) and would read beyond its page table in the kernel. So it
 * finds only other pages of the same scratch, and shows.
 */
#define SHIFT_PAGES 4

static unsigned int access_flags(const struct loop *loop,
				 const struct side *side)
{
	unsigned int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
			      IBV_ACCESS_REMOTE_READ;

	if (side->kind == SIDE_READONLY)
		return (loop->caps.rc & IBV_ODP_SUPPORT_READ)
			       ? IBV_ACCESS_REMOTE_READ
			       : 0;
	if (loop->attr.orig_attr.atomic_cap != IBV_ATOMIC_NONE &&
	    loop->caps.rc & IBV_ODP_SUPPORT_ATOMIC)
		access |= IBV_ACCESS_REMOTE_ATOMIC;
	return access;
}

int side_open(struct loop *loop, struct side *side, enum side_memory kind,
	      size_t length)
{
	const struct verbs_table *verbs = loop->verbs;
	size_t shift = 0;
	int err;

	side->kind = kind;
	side->access = access_flags(loop, side);
	if (kind == SIDE_SHIFTED) {
		shift = SHIFT_PAGES * (size_t)sysconf(_SC_PAGESIZE);
		length += shift;
	}
	err = scratch_map(&side->scratch, length);
	if (err)
		return loop_fail(loop, -err, "no memory to test with");
	side->iova = (uintptr_t)side->scratch.base + shift;
	if (kind == SIDE_READONLY) {
		err = scratch_protect(&side->scratch, true);
		if (err)
			return loop_fail(loop, -err, "mprotect failed");
	}

	errno = 0;
	if (side_is_odp(side))
		side->mr = odp_mr_register(verbs, loop->pd, side->scratch.base,
					   length, side->iova, side->access);
	else
		side->mr =
			verbs->reg_mr_iova2(loop->pd, side->scratch.base,
					    length, side->iova, side->access);
	if (!side->mr)
		return side_is_odp(side)
			       ? loop_fail(loop, errno,
					   "on-demand memory is not registered")
			       : loop_fail_pinned(
					 loop, errno,
					 "plain memory is not registered");
	return 0;
}

void side_close(struct loop *loop, struct side *side)
{
	if (side->mr)
		loop->verbs->dereg_mr(side->mr);
	scratch_unmap(&side->scratch);
}

int side_prepare(struct loop *loop, struct side *side, enum side_stage stage,
		 enum scratch_letters letters, uint32_t seed)
{
	struct scratch *scratch = &side->scratch;
	bool readonly = side->kind == SIDE_READONLY;
	int err = 0;

	side->prefetched = false;
	if (side_is_odp(side) && stage == STAGE_UNTOUCHED) {
		scratch_expect_untouched(scratch);
		return 0;
	}
	if (side_is_odp(side) && stage == STAGE_REMAPPED)
		err = scratch_remap(scratch);
	else if (side_is_odp(side) && stage == STAGE_DROPPED)
		err = scratch_drop(scratch);
	if (!err && readonly)
		err = scratch_protect(scratch, false);
	if (err)
		return loop_fail(loop, -err, "pages could not be replaced");
	scratch_fill(scratch, letters, seed);
	if (readonly && (err = scratch_protect(scratch, true)))
		return loop_fail(loop, -err, "mprotect failed");
	/* Whether it can prefetch is no question of trust. */
	if (side_is_odp(side) && stage == STAGE_REMAPPED)
		side->prefetched = !odp_mr_prefetch(
			loop->verbs, side->mr, side->iova, ODP_PREFETCH_ALL);
	return 0;
}
