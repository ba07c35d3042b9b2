/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The argument of ibv_reg_mr_ex() (rdma-core 58, libibverbs/verbs.h), which
 * Debian 12's header does not have yet. Later versions append members and mask
 * bits: a mask with a bit that is not below says that there is more than we can
 * copy, and such a call is passed on as it is.
 */
#ifndef DAXMR_MR_INIT_ATTR_H
#define DAXMR_MR_INIT_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_INIT_ATTR_IOVA (1 << 0)
#define MR_INIT_ATTR_ADDR (1 << 1)
#define MR_INIT_ATTR_DMAH (1 << 4)

struct ibv_mr_init_attr {
	size_t length;
	int access;
	uint64_t comp_mask;
	uint64_t iova;
	void *addr;
	int fd;
	uint64_t fd_offset;
	void *dmah;
};

/* Whether it registers an address range and has nothing we do not know. */
static inline bool mr_init_attr_is_range(const struct ibv_mr_init_attr *attr)
{
	return (attr->comp_mask & MR_INIT_ATTR_ADDR) &&
	       !(attr->comp_mask &
		 ~(uint64_t)(MR_INIT_ATTR_ADDR | MR_INIT_ATTR_IOVA |
			     MR_INIT_ATTR_DMAH));
}

#endif
