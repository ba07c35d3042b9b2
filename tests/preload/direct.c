/* SPDX-License-Identifier: BSD-2-Clause */
#include "direct.h"

#define EXPORT __attribute__((visibility("default")))

static struct direct_control control;

EXPORT struct direct_control *direct_control(void)
{
	return &control;
}

EXPORT int mlx5dv_init_obj(struct mlx5dv_obj *obj, uint64_t type)
{
	(void)obj;
	control.calls++;
	control.type = type;
	return control.refuse;
}

int direct_old_init_obj(struct mlx5dv_obj *obj, uint64_t type);

EXPORT int direct_old_init_obj(struct mlx5dv_obj *obj, uint64_t type)
{
	(void)obj;
	control.old_calls++;
	control.type = type;
	return control.refuse;
}
__asm__(".symver direct_old_init_obj, mlx5dv_init_obj@MLX5_1.0");
