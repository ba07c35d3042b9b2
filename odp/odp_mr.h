/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registration with on-demand paging, and prefetch.
 */
#ifndef DAXMR_ODP_MR_H
#define DAXMR_ODP_MR_H

#include <stddef.h>
#include <stdint.h>

#include "verbs_table.h"

#define ODP_PREFETCH_ALL UINT64_MAX

/*
 * Registers the range with all the caller's access flags and
 * IBV_ACCESS_ON_DEMAND. As ibv_reg_mr_iova2(): the MR, or NULL and errno, the
 * kernel's own. Blocks as long as the kernel does. EOPNOTSUPP also where the
 * table has no reg_mr_iova2.
 */
struct ibv_mr *odp_mr_register(const struct verbs_table *verbs,
			       struct ibv_pd *pd, void *addr, size_t length,
			       uint64_t iova, unsigned int access);

/*
 * Faults in the first `bytes` bytes of an ODP MR (ODP_PREFETCH_ALL: all of it)
 * and waits for it. For reading: faulting in for writing would allocate the
 * holes of a sparse file; so the first write to a page still is a fault. EAGAIN
 * is tried again for a bounded time. Returns 0 or -errno; the MR is as good as
 * before either way: what was not prefetched is faulted in on first use.
 * -EOPNOTSUPP: the device, its kernel or its provider cannot (rxe's of
 * rdma-core 44); -EINVAL also from rxe for an MR without
 * IBV_ACCESS_LOCAL_WRITE; -EFAULT: a part of the range is not mapped, or lies
 * beyond its file's end; -EAGAIN: the range changed for a second, all the time.
 */
int odp_mr_prefetch(const struct verbs_table *verbs, struct ibv_mr *mr,
		    uint64_t iova, uint64_t bytes);

#endif
