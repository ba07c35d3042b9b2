/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What people did before daxmr: ON_DEMAND is added to each registration, and
 * nobody asks whether the device can be trusted.
 */
#include <dlfcn.h>

#include <infiniband/verbs.h>

__attribute__((visibility("default"))) struct ibv_mr *
ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
		 unsigned int access)
{
	struct ibv_mr *(*next)(struct ibv_pd *, void *, size_t, uint64_t,
			       unsigned int);

	*(void **)&next = dlvsym(RTLD_NEXT, "ibv_reg_mr_iova2", "IBVERBS_1.8");
	return next(pd, addr, length, iova, access | IBV_ACCESS_ON_DEMAND);
}
