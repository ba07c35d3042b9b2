/* SPDX-License-Identifier: BSD-2-Clause */
/* What registration and change of a region have in common. */
#ifndef DAXMR_REGION_PARTS_H
#define DAXMR_REGION_PARTS_H

#include "choice.h"
#include "stage.h"

/* Shadows for the files in the range; NULL and errno, with the sentence. */
struct stage *region_stage(const struct choice *choice,
			   const struct ibv_context *context, const void *addr,
			   size_t length);

#endif
