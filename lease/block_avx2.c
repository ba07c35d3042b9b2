/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks, where the processor has AVX2: block.h. */
#include "block_code.h"

const struct block_code block_avx2 = {is_same, take, digest};
