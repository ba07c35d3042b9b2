/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stand-in for libmlx5.so.1: its two versions of mlx5dv_init_obj(), which
 * tell apart which one was called and for what.
 */
#ifndef DAXMR_TESTS_DIRECT_H
#define DAXMR_TESTS_DIRECT_H

#include <infiniband/mlx5dv.h>

struct direct_control {
	unsigned int calls; /* of MLX5_1.2 */
	unsigned int old_calls;
	uint64_t type; /* of the last one */
	int refuse;    /* errno, or 0 */
};

struct direct_control *direct_control(void);

#endif
